"""Spec and base as files: not there, no YAML, no mapping."""

from __future__ import annotations

from bad_input.case import BASE, DROP, HEAD, SWEEP, Case

# fmt: off
FILES = [
    Case("spec_list", f"{SWEEP}: ", ("mapping", "list"), text="- base: base.yaml\n"),
    Case("spec_empty", f"{SWEEP}: ", ("mapping", "nothing"), text=""),
    Case("spec_text", f"{SWEEP}: ", ("mapping",), text="hello"),
    Case("spec_binary", f"{SWEEP}: ", ("utf-8",), text=b"\xff\xfe\x00\x01"),
    Case("spec_control_character", f"{SWEEP}", ("YAML",), text="name: a\x07b\n"),
    Case("spec_unclosed", f"{SWEEP}, line 3, column 1: ", ("YAML",), text="base: base.yaml\nruns: [a, b\n"),
    Case("spec_tab", f"{SWEEP}, line 2, column 1: ", ("YAML", "'\\t'"), text="objective:\n\tmetric: val/acc\n"),
    Case("spec_bad_indent", f"{SWEEP}, line 2, column ", ("YAML",), text="n_trials: 4\n  name: x\n"),
    Case("spec_duplicate_key", f"{SWEEP}, line 3, column 1: ", ("'n_trials'", "twice"),
         text="n_trials: 4\nseeds: 1\nn_trials: 5\n"),
    Case("spec_duplicate_key_deep", f"{SWEEP}, line 3, column 3: ", ("'lr'", "twice"),
         text="space:\n  lr: 1\n  lr: 2\n"),
    Case("spec_unknown_alias", f"{SWEEP}, line 1, column 7: ", ("YAML", "nowhere"), text="base: *nowhere\n"),
    Case("spec_unknown_tag", f"{SWEEP}, line 1, column 7: ", ("YAML", "python/name:os.system"),
         text="base: !!python/name:os.system\n"),
    Case("spec_list_as_key", f"{SWEEP}, line 1, column ", ("YAML",), text="? [1, 2]\n: 3\n"),
    Case("spec_mapping_as_key", f"{SWEEP}, line 1, column ", ("YAML",), text="base: {{a: 1}: 2}\n"),
    Case("spec_number_as_key", f"{SWEEP}: ", ("1",), text="1: 2\n"),
    Case("spec_in_itself", "given/sweep.yaml, line 5, column 8: ", ("recursive",), text=HEAD + "space: &s {a: *s}\n"),
    Case("base_missing_key", "base: ", ("must be given",), spec={"base": DROP}),
    Case("base_missing_file", "given/nowhere.yaml: ", ("No such file",), spec={"base": "nowhere.yaml"}),
    Case("base_is_folder", "given: ", ("directory",), spec={"base": "."}),
    Case("base_null_byte", "given/ba", ("null",), spec={"base": "ba\0se.yaml"}),
    Case("base_list", "base: ", ("mapping", "[1, 2]"), spec={"base": [1, 2]}),
    Case("base_number", "base: ", ("5",), spec={"base": 5}),
    Case("base_not_yaml", f"{BASE}, line 2, column 8: ", ("YAML",), base_text="data: {}\nmodel: }\n"),
    Case("base_file_list", f"{BASE}: ", ("mapping", "list"), base_text="[1]\n"),
    Case("base_in_itself", f"{BASE}, line 1, column 8: ", ("recursive",), base_text="model: &m {network: *m}\n"),
]
