"""Options of `sweeps launch`, run folders, storages."""

from __future__ import annotations

from bad_input.case import DROP, LR, RUN_DIR, WIDTH, Case, between
from bad_input.folders import (
    begun_study,
    broken_sweep_folder,
    damaged_journal,
    file_in_place,
    lock_is_folder,
    other_directions,
    other_folder,
    sweep_folder,
    used_folder,
)

# fmt: off
COMMAND_LINE = [
    Case("set_without_value", "--set: ", ("dotted.key=value", "'data.batch_size'"), args=("--set", "data.batch_size")),
    Case("set_without_key", "--set: ", ("dotted.key=value", "'=8'"), args=("--set", "=8")),
    Case("set_dots", "data.", ("no such key",), args=("--set", "data..batch_size=8")),
    Case("set_not_yaml", "--set data.batch_size", ("YAML", "column"), args=("--set", "data.batch_size=[8")),
    Case("set_group", "data: ", ("mapping", "8"), args=("--set", "data=8")),
    Case("set_below_value", "data.batch_size", ("int", "x"), args=("--set", "data.batch_size.x=8")),
    Case("set_epochs", "trainer.max_epochs: ", ("int", "many"), args=("--set", "trainer.max_epochs=many")),
    Case("n_trials_not_yaml", "--n_trials", ("YAML",), args=("--n_trials=[",)),
    Case("run_dir_empty", "--run_dir: ", ("empty",), args=("--run_dir=",)),
    Case("set_unclear", "trainer: ", ("mapping",), args=("--set", "trainer=2")),
    Case("extend_nothing", "--extend: ", ("20", "+10", "'0'"), args=("--extend", "0")),
    Case("extend_by_nothing", "--extend: ", ("20", "+10", "'+0'"), args=("--extend", "+0")),
    Case("extend_by_less", "--extend: ", ("20", "+10", "'-5'"), args=("--extend=-5",)),
    Case("extend_text", "--extend: ", ("20", "+10", "'long'"), args=("--extend", "long")),
    Case("extend_empty", "--extend: ", ("20", "+10", "''"), args=("--extend=",)),
    Case("extend_half", "--extend: ", ("20", "+10", "'2.5'"), args=("--extend", "2.5")),
    Case("extend_best_none", "--extend_best: ", ("1 or more", "'0'"), args=("--extend", "9", "--extend_best", "0")),
    Case("extend_best_text", "--extend_best: ", ("1 or more", "'all'"), args=("--extend", "9", "--extend_best", "all")),
    Case("extend_best_alone", "--extend_best: ", ("must come with --extend",), args=("--extend_best", "3")),
    Case("wandb_online_without_key", "--wandb: ", ("online", "key"), args=("--wandb", "online")),
]

# What the slots of this machine, or its packages, do not allow.
LAUNCHES = [
    Case("slot_cpus_beyond", "slot.cpus: ", ("this machine", "got 5000"), spec={"slot": {"cpus": 5000}}),
    Case("workers_beyond", "workers: ", ("slot.cpus=1", "got 5000", "auto"), spec={"slot": {"cpus": 1}},
         args=("--workers", "5000")),
    Case("ray_missing", "--engine: ", ("ray", "pip install 'lit-sweeps[ray]'"), args=("--engine", "ray"), lacks="ray"),
]

FOLDERS = [
    Case("below_a_file", "given/base.yaml/run: ", ("folder", "given/base.yaml"),
         args=("--run_dir", "given/base.yaml/run")),
    Case("is_a_file", f"{RUN_DIR}: ", ("folder",), setting=file_in_place),
    Case("proc", "/proc/nope: ", ("written",), args=("--run_dir", "/proc/nope")),
    Case("sys", "/sys/nope/run: ", ("written",), args=("--run_dir", "/sys/nope/run")),
    Case("null_device", "/dev/null/run: ", ("folder", "/dev/null"), args=("--run_dir", "/dev/null/run")),
    Case("too_long", "", ("xxxxxxxx",), args=("--run_dir", "x" * 300)),
    Case("of_something_else", f"{RUN_DIR}: ", ("no spec.yaml", "--run_dir"), setting=other_folder),
    Case("in_use", f"{RUN_DIR}: ", ("in use", "process "), setting=used_folder),
    Case("spec_broken", f"{RUN_DIR}/spec.yaml, line ", ("YAML",), setting=broken_sweep_folder),
    Case("other_base", "base: ", ("began with", "data.batch_size: 8 is not 16", "--run_dir"),
         base={"data.batch_size": 8}, setting=sweep_folder),
    Case("other_base_set", "base: ", ("began with", "data.batch_size: 8 is not 16"),
         args=("--set", "data.batch_size=8"), setting=sweep_folder),
    Case("other_space", "space: ", ("began with", LR, "0.2", "0.1"), space={LR: between(1e-3, 0.2, log=True)},
         setting=sweep_folder),
    Case("more_space", "space: ", ("began with", WIDTH), space={WIDTH: between(4, 8)}, setting=sweep_folder),
    Case("less_space", "space: ", ("began with", LR), space={LR: DROP}, setting=sweep_folder),
    Case("other_objective", "objective: ", ("began with", "val/loss", "val/acc"),
         spec={"objective": {"metric": "val/loss", "direction": "minimize"}}, setting=sweep_folder),
    Case("other_direction", "objective: ", ("began with", "minimize", "maximize"),
         spec={"objective": {"metric": "val/acc", "direction": "minimize"}}, setting=sweep_folder),
    Case("other_seeds", "seeds: ", ("began with", "2", "1"), spec={"seeds": 2}, setting=sweep_folder),
    Case("other_runs", "runs: ", ("began with", "big"), spec={"runs": {"big": {WIDTH: 16}}}, setting=sweep_folder),
    Case("other_name", "name: ", ("began with", "'other'", "'sweep'"), spec={"name": "other"},
         args=("--run_dir", RUN_DIR), setting=sweep_folder),
    Case("journal_damaged", RUN_DIR, ("study.journal",), setting=damaged_journal),
    Case("extend_new", "--extend: ", ("completed trials", f"{RUN_DIR} has none"), args=("--extend", "9")),
    Case("extend_not_begun", "--extend: ", ("completed trials", f"{RUN_DIR} has none"), args=("--extend", "9"),
         setting=sweep_folder),
    Case("extend_running", f"{RUN_DIR}: ", ("in use", "process "), args=("--extend", "9"), setting=used_folder),
    Case("extend_nothing_completed", "--extend: ", ("completed trials", f"{RUN_DIR} has none"), args=("--extend", "9"),
         setting=begun_study),
    Case("extend_by_steps", "--extend: ", ("trainer.max_steps=9 ends these",), args=("--extend", "9"),
         base={"trainer.max_steps": 9}),
    Case("extend_endless", "--extend: ", ("trainer.max_epochs=-1",), args=("--extend", "9"),
         base={"trainer.max_epochs": -1}),
    Case("extend_swept", "--extend: ", ("trainer.max_epochs in space",), args=("--extend", "9"),
         space={"trainer.max_epochs": between(1, 4)}),
    Case("lock_is_folder", RUN_DIR, ("lock",), setting=lock_is_folder),
]

STORAGES = [
    Case("no_url", "storage here: ", ("cannot be opened",), args=("--storage", "here")),
    Case("unknown_database", "storage cloud://x: ", ("cloud",), args=("--storage", "cloud://x")),
    Case("empty_url", "", ("storage",), args=("--storage", "")),
    Case("bad_port", "", ("storage", "postgresql"), args=("--storage", "postgresql://me:secret@host:port/db")),
    Case("missing_folder", "storage sqlite:///none/study.db: ", ("cannot be opened",),
         args=("--storage", "sqlite:///none/study.db")),
    Case("closed_port", "storage postgresql://me:***@127.0.0.1:9/db: ", ("cannot be opened",),
         args=("--storage", "postgresql://me:secret@127.0.0.1:9/db")),
    Case("other_directions", "study 'sweep': ", ("minimize", "maximize"), args=("--storage", "sqlite:///studies.db"),
         setting=other_directions),
    Case("deep_run_dir", "storage sqlite:///none/study.db: ", ("cannot be opened",),
         args=("--storage", "sqlite:///none/study.db", "--run_dir", "a/b/c")),
]
