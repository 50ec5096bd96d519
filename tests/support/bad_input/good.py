"""Inputs that look like bad ones and are not."""

from __future__ import annotations

from bad_input.case import ACTIVATION, DROP, FOREIGN, HEAD, LR, WIDTH, Case, between, choices
from bad_input.combinations import INHERITED, LINE, LINE_SPEC, inherited
from bad_input.folders import sweep_folder
from bad_input.published import CLAIM, EQUALITY, FIGURES, TWO_RUNS

# fmt: off
# Inputs that look like bad ones and are not; each with `--dry_run`.
GOOD = [
    Case("as_it_is", "checked sweep: 4 trials, 2 parameters"),
    Case("whole_step", "checked sweep: ", ("val/acc",), spec={"check": "step"}),
    Case("float_without_point", "checked sweep: ", space={LR: DROP},
         base_text="model: {network: {input_shape: [1, 8, 8]}, optimizer: {name: sgd, lr: 1e-4}}\n"
                   "data: {data_dir: DATA, dataset: idx, batch_size: 16, validation: 16}\n"),
    Case("float_range_without_point", "checked sweep: ",
         text=HEAD + "space: {model.optimizer.lr: {low: 1e-4, high: 1e-1, log: true}}\n"),
    Case("merged_yaml", "checked sweep: ",
         text=HEAD + "space:\n  model.optimizer.lr: &log {low: 1e-4, high: 1e-1, log: true}\n"
                      "  model.optimizer.eps: {<<: *log, high: 1e-2}\n"),
    Case("set", "checked sweep: ", args=("--set", "data.batch_size=48")),
    Case("two_processes", "checked sweep: ", ("val/acc",), spec={"check": "step"},
         base={"trainer.devices": 2, "trainer.strategy": "ddp"}),
    Case("only_watching", "checked sweep: ", spec={"slot": {"cpus": 5000}}, args=("--workers", "0")),
    Case("init_args_key", "checked sweep: ", space={LR: DROP, "model.init_args.optimizer.lr": between(0.1, 0.2)}),
    Case("n_trials_argument", "checked sweep: 7 trials", args=("--n_trials", "7")),
    Case("duration", "checked sweep: ", spec={"timeout": "1.5h"}),
    Case("whole_float_bounds", "checked sweep: ", space={WIDTH: between(4.0, 8.0)}),
    Case("preset_of_nothing", "checked sweep: ",
         space={"norm": {"presets": {"none": None, "after": {"model.network.norm": "after"}}}}),
    Case("foreign_module", "checked sweep: 1 trials", base={"model": {"class_path": "strange.Silent"}},
         spec={**FOREIGN, "check": "build"}),
    Case("continued_as_it_is", "checked sweep: ", setting=sweep_folder),
    Case("continued_with_more", "checked sweep: ",
         spec={"n_trials": 8, "sampler": "RandomSampler", "pruner": "MedianPruner", "workers": 1},
         setting=sweep_folder),
    Case("module_without_arguments", "checked sweep: ", base={"model": {"class_path": "strange.Plain"}, "data": DROP},
         spec={**FOREIGN, "check": "step", "objective": {"metric": "loss", "direction": "minimize"}}),
    Case("validates_rarely", "checked sweep: ", base={"trainer.check_val_every_n_epoch": 2}, spec={"check": "step"}),
    Case("validates_often", "checked sweep: ", base={"trainer.val_check_interval": 2}, spec={"check": "step"}),
    Case("validates_twice_an_epoch", "checked sweep: ", base={"trainer.val_check_interval": 0.5},
         spec={"check": "step"}),
    Case("switched_off", "checked sweep: ", base={"early_stopping.patience": None, "model.network.depth": None}),
    Case("seed_of_base", "checked sweep: ", base={"seed_everything": 7}, spec={"seeds": 2}),
    Case("published_and_claims", "checked sweep: ", spec={"runs": TWO_RUNS, "published": FIGURES,
         "claims": [CLAIM, EQUALITY, {**CLAIM, "better": ["a"], "metric": "epochs", "at": 9, "direction": "minimize"},
                    {**CLAIM, "metric": "gradient_ratio"}]}),
    Case("published_test", "checked sweep: ", spec={"runs": TWO_RUNS, "evaluate_test": "all",
         "published": [{**FIGURES, "metric": "test/loss", "at": "best"}]}),
]

GOOD += [
    *(case for name in INHERITED for case in inherited(name)),
    Case("linear_model", "checked sweep: ", base={"model.network.width": []}),
    Case("linear_regression", "checked sweep: ", base=LINE, spec=LINE_SPEC),
    Case("slope_when", "checked sweep: ",
         space={ACTIVATION: choices("leaky_relu", "relu"),
                "model.network.negative_slope": between(0.1, 0.3, when={ACTIVATION: ["leaky_relu"]})}),
    Case("bounds", "checked sweep: ",
         space={"model.network.dropout": between(0, 0.9), "model.network.depth": between(0, 3),
         "model.regularization.max_norm": choices(None, 3.0), "model.network.bias": choices(True, False, "auto")}),
]
