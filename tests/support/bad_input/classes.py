"""Modules and data modules of somebody else."""

from __future__ import annotations

from bad_input.case import DROP, FOREIGN, NO_MODEL, NO_SPACE, Case, choices

# fmt: off
CLASSES = [
    Case("no_such_module", "model.class_path: ", ("'nowhere.Net'", "import"),
         base={"model": {"class_path": "nowhere.Net"}}, spec=FOREIGN),
    Case("no_such_class", "model.class_path: ", ("'strange.Silentt'", "import"),
         base={"model": {"class_path": "strange.Silentt"}}, spec=FOREIGN),
    Case("no_path", "model.class_path: ", ("import path", "'Net'"), base={"model": {"class_path": "Net"}},
         spec=FOREIGN),
    Case("number", "model.class_path: ", ("import path", "5"), base={"model": {"class_path": 5}}, spec=FOREIGN),
    Case("relative", "model.class_path: ", ("'.strange.Net'",), base={"model": {"class_path": ".strange.Net"}},
         spec=FOREIGN),
    Case("no_module", "model.class_path: ", ("LightningModule", "'strange.NotAModule'"),
         base={"model": {"class_path": "strange.NotAModule"}}, spec=FOREIGN),
    Case("no_data_module", "data.class_path: ", ("LightningDataModule", "'strange.Silent'"),
         base={"data": {"class_path": "strange.Silent"}}),
    Case("syntax_error", "model.class_path: ", ("'strange_syntax.Net'", "SyntaxError"),
         base={"model": {"class_path": "strange_syntax.Net"}}, spec=FOREIGN),
    Case("import_raises", "model.class_path: ", ("'strange_import.Net'", "no licence"),
         base={"model": {"class_path": "strange_import.Net"}}, spec=FOREIGN),
    Case("unknown_argument", "model.unitss: ", ("no such key", "'model.units'"),
         base={"model": {"class_path": "strange.Silent", "init_args": {"unitss": 4}}}, spec=FOREIGN),
    Case("argument_type", "model.units: ", ("int", "many"),
         base={"model": {"class_path": "strange.Silent", "init_args": {"units": "many"}}}, spec=FOREIGN),
    Case("argument_missing", "model.hidden: ", ("must be given",), base={"model": {"class_path": "strange.Needs"}},
         spec=FOREIGN),
    Case("arguments_list", "model.init_args: ", ("mapping", "[4]"),
         base={"model": {"class_path": "strange.Silent", "init_args": [4]}}, spec=FOREIGN),
    Case("init_raises", "model: ", ("Odd", "RuntimeError", "units must be even"),
         base={"model": {"class_path": "strange.Odd", "init_args": {"units": 3}}}, spec={**FOREIGN, "check": "step"}),
    Case("init_exits", "model: ", ("Leaves", "good bye"), spec={**FOREIGN, "check": "step"},
         base={"model": {"class_path": "strange.Leaves", "init_args": {"units": 4}}}),
    Case("step_raises", "base: ", ("first batch", "RuntimeError", "shapes do not fit"),
         base={"model": {"class_path": "strange.Fails"}, "data": DROP}, spec={**FOREIGN, "check": "step"}),
    Case("logs_nothing", "objective.metric: ", ("'val/acc'", "never logged", "none"),
         base={"model": {"class_path": "strange.Silent"}, "data": DROP}, spec={**FOREIGN, "check": "step"}),
    Case("choice_of_class", "model.class_path: ", ("'strange.Silentt'", "space.model.class_path"),
         space={**NO_SPACE, "model.class_path": choices("strange.Silent", "strange.Silentt")}, base=NO_MODEL),
    Case("optimizer_fails", "base: ", ("no optimizer today",), spec={**FOREIGN, "check": "step"},
         base={"model": {"class_path": "strange.NoOptimizer"}, "data": DROP}),
]
