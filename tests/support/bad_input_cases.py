"""The table of bad inputs: what is changed in a small valid sweep, and what the error must say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DROP = object()  # takes a key away
SWEEP = "given/sweep.yaml"
BASE = "given/base.yaml"
RUN_DIR = "runs/sweep"  # where `sweeps launch given/sweep.yaml` puts its run folder

Setting = Callable[[Path, str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Case:
    """One bad input.

    Args:
        name: Of the test.
        starts: How the line on stderr begins: the dotted key, or the file, and a colon.
        says: What the line must hold besides: the offending value, the nearest name.
        spec: Keys of the spec to replace.
        space: Entries of its search space to replace or add.
        base: Dotted keys of the base to replace.
        text: The spec, in the place of YAML made from all that.
        base_text: The base, likewise.
        args: Arguments after `sweeps launch given/sweep.yaml`.
        setting: What else there is in the folder; called with it and the text of a resolved spec.
        lacks: A package that must seem not to be installed.
        silent_about: What the line must not hold.
    """

    name: str
    starts: str
    says: tuple[str, ...] = ()
    spec: dict[str, Any] = field(default_factory=dict)
    space: dict[Any, Any] = field(default_factory=dict)
    base: dict[str, Any] = field(default_factory=dict)
    text: str | bytes | None = None
    base_text: str | bytes | None = None
    args: tuple[str, ...] = ()
    setting: Setting | None = None
    lacks: str | None = None
    silent_about: str | None = None

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Command:
    """A bad command line, run beside the valid sweep.

    Args:
        name: Of the test.
        argv: The arguments; `{data}` stands for the folder with the data.
        starts: As in `Case`.
        says: As in `Case`.
        setting: As in `Case`.
        usage: Whether argparse prints its usage first.
    """

    name: str
    argv: str
    starts: str
    says: tuple[str, ...] = ()
    setting: Setting | None = None
    usage: bool = False

    def __str__(self) -> str:
        return self.name


# What else there can be in the folder


@contextmanager
def sweep_folder(folder: Path, resolved: str) -> Iterator[None]:
    """A run folder of the valid sweep, which has not begun."""
    (folder / RUN_DIR).mkdir(parents=True)
    (folder / RUN_DIR / "spec.yaml").write_text(resolved)
    yield


@contextmanager
def broken_sweep_folder(folder: Path, resolved: str) -> Iterator[None]:
    with sweep_folder(folder, resolved):
        (folder / RUN_DIR / "spec.yaml").write_text("base: {\nname: [")
        yield


@contextmanager
def used_folder(folder: Path, resolved: str) -> Iterator[None]:
    from sweeps.study.locks import RunFolderLock

    with sweep_folder(folder, resolved):
        lock = RunFolderLock(folder / RUN_DIR)
        try:
            yield
        finally:
            lock.release()


@contextmanager
def other_folder(folder: Path, resolved: str) -> Iterator[None]:
    """A folder of something else in the run folder's place."""
    (folder / RUN_DIR).mkdir(parents=True)
    (folder / RUN_DIR / "thesis.txt").write_text("do not touch")
    yield


@contextmanager
def file_in_place(folder: Path, resolved: str) -> Iterator[None]:
    """A file in the run folder's place."""
    (folder / RUN_DIR).parent.mkdir()
    (folder / RUN_DIR).write_text("a file")
    yield


@contextmanager
def torn_status(folder: Path, resolved: str) -> Iterator[None]:
    with sweep_folder(folder, resolved):
        (folder / RUN_DIR / "status.json").write_text('{"name": "sw')
        yield


@contextmanager
def damaged_journal(folder: Path, resolved: str) -> Iterator[None]:
    with sweep_folder(folder, resolved):
        (folder / RUN_DIR / "study.journal").write_text("not json\n{}\n")
        yield


@contextmanager
def lock_is_folder(folder: Path, resolved: str) -> Iterator[None]:
    with sweep_folder(folder, resolved):
        (folder / RUN_DIR / "lock").mkdir()
        yield


@contextmanager
def other_directions(folder: Path, resolved: str) -> Iterator[None]:
    """A database with a study of the sweep's name that minimizes."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder}/studies.db")
    optuna.create_study(storage=storage, study_name="sweep", direction="minimize")
    storage.engine.dispose()
    yield


@contextmanager
def finished_run(folder: Path, resolved: str) -> Iterator[None]:
    """A folder with the config of an earlier `lit-dl fit`."""
    (folder / "done").mkdir()
    (folder / "done" / "config.yaml").write_text("{}")
    yield


def _range(low: Any, high: Any, **more: Any) -> dict[str, Any]:
    return {"low": low, "high": high, **more}


def _choices(*values: Any, **more: Any) -> dict[str, Any]:
    return {"choices": list(values), **more}


_LR = "model.optimizer.lr"
_WIDTH = "model.network.width"
_ACTIVATION = "model.network.activation"
_MOMENTUM = {
    "model.optimizer.name": _choices("momentum", "adam"),
    "model.optimizer.momentum": _range(0.5, 0.9, when={"model.optimizer.name": ["momentum"]}),
}
_NO_SPACE = {_LR: DROP, _ACTIVATION: DROP}
_MODEL = {"model.network": DROP, "model.optimizer": DROP}  # for a module of another class
_FOREIGN = {"space": {}, "n_trials": 1}
_HEAD = "base: base.yaml\nobjective: {metric: val/acc, direction: maximize}\nn_trials: 4\ncheck: build\n"


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
    Case("spec_in_itself", "space.a: ", (), text=_HEAD + "space: &s {a: *s}\n"),
    Case("base_missing_key", "base: ", ("must be given",), spec={"base": DROP}),
    Case("base_missing_file", "given/nowhere.yaml: ", ("No such file",), spec={"base": "nowhere.yaml"}),
    Case("base_is_folder", "given: ", ("directory",), spec={"base": "."}),
    Case("base_null_byte", "given/ba", ("null",), spec={"base": "ba\0se.yaml"}),
    Case("base_list", "base: ", ("mapping", "[1, 2]"), spec={"base": [1, 2]}),
    Case("base_number", "base: ", ("5",), spec={"base": 5}),
    Case("base_not_yaml", f"{BASE}, line 2, column 8: ", ("YAML",), base_text="data: {}\nmodel: }\n"),
    Case("base_file_list", f"{BASE}: ", ("mapping", "list"), base_text="[1]\n"),
    Case("base_in_itself", "model.network.network: ", ("no such key",), base_text="model: &m {network: *m}\n"),
]

UNKNOWN_KEYS = [
    Case("spec_key", "n_trial: ", ("no such key", "'n_trials'"), spec={"n_trial": 4}),
    Case("spec_key_far", "colour: ", ("no such key",), spec={"colour": "red"}),
    Case("objective_key", "objective.metrik: ", ("'metric'",),
         spec={"objective": {"metrik": "val/acc", "direction": "maximize"}}),
    Case("base_top_key", "trianer: ", ("no such key", "'trainer'"), base={"trianer.max_epochs": 2}),
    Case("base_network_key", "model.network.widht: ", ("no such key", "'model.network.width'"),
         base={"model.network.widht": 8}),
    Case("base_optimizer_key", "model.optimizer.momentun: ", ("no such key", "'model.optimizer.momentum'"),
         base={"model.optimizer.momentun": 0.9}),
    Case("base_far_key", "model.network.zzz: ", ("no such key", "activation", "dropout"),
         base={"model.network.zzz": 1}),
    Case("base_data_key", "data.batchsize: ", ("no such key", "'data.batch_size'"), base={"data.batchsize": 8}),
    Case("base_trainer_key", "trainer.max_epoch: ", ("no such key", "'trainer.max_epochs'"),
         base={"trainer.max_epoch": 8}),
    Case("base_stopping_key", "early_stopping.patiense: ", ("'early_stopping.patience'",),
         base={"early_stopping.patiense": 8}),
    Case("base_checkpoint_key", "checkpoint.monitr: ", ("'checkpoint.monitor'",),
         base={"checkpoint.monitr": "val/acc"}),
    Case("base_tracking_key", "tracking.projct: ", ("'tracking.project'",), base={"tracking.projct": "x"}),
    Case("base_wrong_group", "model.network.lr: ", ("no such key", "'model.optimizer.lr'"),
         base={"model.network.lr": 0.1}),
    Case("tracking_key", "tracking.projct: ", ("no such key", "'tracking.project'"),
         spec={"tracking": {"projct": "x"}}),
    Case("space_key", "space.model.network.widht: ", ("no such key", "'model.network.width'"),
         space={"model.network.widht": _range(4, 8)}),
    Case("space_short_key", "space.lr: ", ("no such key", "'model.optimizer.lr'"), space={"lr": _range(0.1, 0.2)}),
    Case("space_number_key", "space.5: ", ("no such key",), space={5: _range(0.1, 0.2)}),
    Case("space_group_key", "space.model.network: ", ("model.network.activation",),
         space={"model.network": _choices("mlp", "cnn")}),
    Case("space_field", f"space.{_LR}.hihg: ", ("no such key", "'high'"),
         space={_LR: {"low": 0.1, "hihg": 0.2, "high": 0.3}}),
    Case("space_choices_field", f"space.{_ACTIVATION}.wehn: ", ("no such key", "'when'"),
         space={_ACTIVATION: _choices("relu", wehn={})}),
    Case("preset_key", "space.norm.presets.after.model.network.nrom: ", ("no such key", "'model.network.norm'"),
         space={"norm": {"presets": {"none": {}, "after": {"model.network.nrom": "after"}}}}),
    Case("runs_key", "", ("model.network.widht: no such key", "'model.network.width'", "runs.big"),
         spec={"runs": {"big": {"model.network.widht": 64}}}),
    Case("sampler_key", "sampler.init_arg: ", ("no such key", "'init_args'"),
         spec={"sampler": {"class_path": "TPESampler", "init_arg": {}}}),
    Case("pruner_key", "pruner.class: ", ("no such key",), spec={"pruner": {"class": "MedianPruner"}}),
    Case("set_key", "model.network.widht: ", ("no such key", "'model.network.width'"),
         args=("--set", "model.network.widht=8")),
    Case("base_run_dir", "run_dir: ", ("no such key",), base={"run_dir": "elsewhere"}),
    Case("base_config", "config: ", ("no such key",), base={"config": "given/base.yaml"}),
    Case("space_run_dir", "space.run_dir: ", ("no such key",), space={"run_dir": _choices("a", "b")}),
    Case("space_monitor", "space.early_stopping.montor: ", ("'early_stopping.monitor'",),
         space={"early_stopping.montor": _choices("val/acc", "val/loss")}),
]

TYPES = [
    Case("depth_text", "model.network.depth: ", ("int", "null", "two"), base={"model.network.depth": "two"}),
    Case("depth_true", "model.network.depth: ", ("int", "rue"), base={"model.network.depth": True}),
    Case("depth_fraction", "model.network.depth: ", ("int", "1.5"), base={"model.network.depth": 1.5}),
    Case("batch_size_text", "data.batch_size: ", ("int", "fifty"), base={"data.batch_size": "fifty"}),
    Case("batch_size_null", "data.batch_size: ", ("int", "null"), base={"data.batch_size": None}),
    Case("lr_text", "model.optimizer.lr: ", ("float", "high"), base={_LR: "high"}, space={_LR: DROP}),
    Case("lr_list", "model.optimizer.lr: ", ("float", "[0.1, 0.2]"), base={_LR: [0.1, 0.2]}, space={_LR: DROP}),
    Case("max_epochs_fraction", "trainer.max_epochs: ", ("int", "1.5"), base={"trainer.max_epochs": 1.5}),
    Case("norm_name", "model.network.norm: ", ("none", "befor", "'before'"), base={"model.network.norm": "befor"}),
    Case("kind_name", "model.network.kind: ", ("mlp", "cnm", "'cnn'"), base={"model.network.kind": "cnm"}),
    Case("dataset_name", "data.dataset: ", ("idx", "mnits", "'mnist'"), base={"data.dataset": "mnits"}),
    Case("scaling_name", "data.scaling: ", ("standardize", "units", "'unit'"), base={"data.scaling": "units"}),
    Case("stopping_mode", "early_stopping.mode: ", ("min", "max", "maximize"),
         base={"early_stopping.mode": "maximize", "early_stopping.monitor": "val/acc"}),
    Case("tracking_mode", "tracking.wandb: ", ("offline", "onlin", "'online'"), base={"tracking.wandb": "onlin"}),
    Case("tags_text", "tracking.tags: ", ("list", "mine"), base={"tracking.tags": "mine"}),
    Case("seed_text", "seed_everything: ", ("int", "lucky"), base={"seed_everything": "lucky"}),
    Case("seed_fraction", "seed_everything: ", ("int", "1.5"), base={"seed_everything": 1.5}),
    Case("seed_negative", "seed_everything: ", ("0", "-1"), base={"seed_everything": -1}),
    Case("model_number", "model: ", ("mapping", "5"), base={"model": 5}),
    Case("model_list", "model: ", ("mapping", "[5]"), base={"model": [5]}),
    Case("network_number", "model.network: ", ("mapping", "5"), base={"model.network": 5}),
    Case("data_list", "data: ", ("mapping", "[5]"), base={"data": [5]}),
    Case("trainer_list", "trainer: ", ("mapping", "[5]"), base={"trainer": [5]}),
    Case("trainer_text", "trainer: ", ("mapping", "fast"), base={"trainer": "fast"}),
    Case("early_stopping_number", "early_stopping: ", ("mapping", "3"), base={"early_stopping": 3}),
    Case("checkpoint_false", "checkpoint: ", ("mapping", "alse"), base={"checkpoint": False}),
    Case("space_list", "space: ", ("mapping", "[1]"), spec={"space": [1]}),
    Case("space_entry_number", f"space.{_LR}: ", ("0.1",), space={_LR: 0.1}),
    Case("space_entry_list", f"space.{_LR}: ", ("[0.1, 0.2]",), space={_LR: [0.1, 0.2]}),
    Case("space_entry_empty", f"space.{_LR}: ", ("low and high", "choices", "presets"), space={_LR: {}}),
    Case("space_entry_null", f"space.{_LR}: ", ("low and high",), space={_LR: None}),
    Case("objective_text", "objective: ", ("mapping", "'val/acc'"), spec={"objective": "val/acc"}),
    Case("objective_missing", "objective: ", ("must be given",), spec={"objective": DROP}),
    Case("objective_empty", "objective: ", ("must be given",), spec={"objective": []}),
    Case("objective_metric_missing", "objective.metric: ", ("logged metric",),
         spec={"objective": {"direction": "maximize"}}),
    Case("objective_metric_number", "objective.metric: ", ("5",),
         spec={"objective": {"metric": 5, "direction": "maximize"}}),
    Case("objective_direction", "objective.direction: ", ("'maximise'", "'maximize'"),
         spec={"objective": {"metric": "val/acc", "direction": "maximise"}}),
    Case("objective_direction_missing", "objective.direction: ", ("minimize", "maximize"),
         spec={"objective": {"metric": "val/acc"}}),
    Case("objective_direction_list", "objective.direction: ", ("['maximize']",),
         spec={"objective": {"metric": "val/acc", "direction": ["maximize"]}}),
    Case("name_path", "name: ", ("'../x'",), spec={"name": "../x"}),
    Case("name_number", "name: ", ("5",), spec={"name": 5}),
    Case("check_name", "check: ", ("'steps'", "'step'"), spec={"check": "steps"}),
    Case("evaluate_test_name", "evaluate_test: ", ("'bests'", "'best'"), spec={"evaluate_test": "bests"}),
    Case("tracking_number", "tracking: ", ("mapping", "5"), spec={"tracking": 5}),
    Case("runs_list", "runs: ", ("mapping", "[1]"), spec={"runs": [1]}),
    Case("runs_named_by_a_number", "runs.3: ", ("must not be a number", "run_3"), spec={"runs": {3: {_WIDTH: 8}}}),
    Case("runs_entry_number", "runs.big: ", ("mapping", "5"), spec={"runs": {"big": 5}}),
    Case("runs_type", "model.network.width: ", ("int", "wide", "runs.big"), spec={"runs": {"big": {_WIDTH: "wide"}}}),
    Case("sampler_number", "sampler: ", ("5",), spec={"sampler": 5}),
    Case("sampler_class_number", "sampler.class_path: ", ("5",), spec={"sampler": {"class_path": 5}}),
    Case("sampler_arguments_list", "sampler.init_args: ", ("mapping", "[1]"),
         spec={"sampler": {"class_path": "TPESampler", "init_args": [1]}}),
    Case("seed_null", "seed_everything: ", ("whole number",), base={"seed_everything": None}),
    Case("space_false", "space: ", ("mapping", "False"), spec={"space": False}),
    Case("runs_zero", "runs: ", ("mapping", "0"), spec={"runs": 0}),
    Case("tracking_list_empty", "tracking: ", ("mapping", "[]"), spec={"tracking": []}),
    Case("name_long", "name: ", ("letters",), spec={"name": "x" * 300}),
    Case("objective_of_numbers", "objective: ", ("mapping", "1"), spec={"objective": [1]}),
    Case("model_class_list", "model.class_path: ", ("import path", "['Net']"),
         base={"model": {"class_path": ["Net"]}}),
    Case("callbacks_number", "trainer.callbacks: ", ("5",), base={"trainer.callbacks": 5}),
    Case("early_stopping_null", "early_stopping: ", ("mapping",), base={"early_stopping": None}),
]

COUNTS = [
    *(Case(f"n_trials_{label}", "n_trials: ", ("whole number", "1 or more", repr(value)),
             spec={"n_trials": value}) for label,
         value in (("zero", 0), ("negative", -3), ("fraction", 1.5), ("text", "ten"), ("true", True))),
    Case("n_trials_missing", "n_trials: ", ("must be given",), spec={"n_trials": DROP}),
    *(Case(f"n_trials_argument_{label}", "n_trials: ", ("whole number", value),
             args=(f"--n_trials={value}",)) for label,
         value in (("zero", "0"), ("negative", "-3"), ("fraction", "1.5"), ("text", "ten"), ("list", "[1]"))),
    Case("n_trials_argument_empty", "n_trials: ", ("whole number",), args=("--n_trials=",)),
    *(Case(f"workers_{label}", "workers: ", ("whole number", "0 or more", repr(value)),
             spec={"workers": value}) for label,
         value in (("negative", -1), ("fraction", 1.5), ("text", "many"), ("false", False))),
    *(Case(f"workers_argument_{label}", "workers: ", ("whole number", value), args=(f"--workers={value}",)) for label,
         value in (("negative", "-1"), ("fraction", "1.5"), ("text", "many"), ("square", "\u00b2"))),
    Case("seeds_zero", "seeds: ", ("whole number", "0"), spec={"seeds": 0}),
    Case("seeds_fraction", "seeds: ", ("whole number", "2.5"), spec={"seeds": 2.5}),
    Case("seeds_do_not_divide", "n_trials: ", ("multiple of seeds=3", "got 4", "6"), spec={"seeds": 3}),
    Case("n_trials_below_runs", "n_trials: ", ("at least 2", "got 1"),
         spec={"n_trials": 1, "runs": {"a": {}, "b": {}}}),
    Case("n_trials_without_space", "space: ", ("n_trials=4",), space=_NO_SPACE),
    Case("max_failures_zero", "max_failures: ", ("whole number", "0"), spec={"max_failures": 0}),
    *(Case(f"timeout_{label}", "timeout: ", ("above 0", repr(value)), spec={"timeout": value}) for label,
         value in (("zero", 0), ("zero_text", "0s"), ("negative", -5), ("text", "soon"), ("list", [1]))),
    Case("timeout_infinite", "timeout: ", ("inf",), spec={"timeout": float("inf")}),
    Case("timeout_argument_zero", "timeout: ", ("above 0", "'0'"), args=("--timeout", "0")),
    Case("timeout_argument_text", "timeout: ", ("above 0", "'1 day'"), args=("--timeout", "1 day")),
]

_DEVICES = "trainer.devices"
_DDP = "lightning.pytorch.strategies.DDPStrategy"

SLOTS = [
    Case("slot_number", "slot: ", ("mapping", "4"), spec={"slot": 4}),
    Case("slot_key", "slot.gpu: ", ("did you mean 'gpus'?",), spec={"slot": {"gpu": 1}}),
    *(Case(f"slot_gpus_{label}", "slot.gpus: ", ("share of a GPU", "whole number", repr(value)),
           spec={"slot": {"gpus": value}}) for label, value in
      (("zero", 0), ("negative", -1), ("half_more", 1.5), ("text", "all"), ("true", True), ("nan", float("nan")))),
    *(Case(f"slot_cpus_{label}", "slot.cpus: ", ("whole number", "1 or more", repr(value)),
           spec={"slot": {"cpus": value}}) for label, value in
      (("zero", 0), ("half", 0.5), ("text", "two"), ("true", True))),
    Case("slot_gpus_on_cpu", "slot.gpus: ", ("trainer.accelerator=cpu", "got 1"), spec={"slot": {"gpus": 1}},
         base={"trainer.accelerator": "cpu"}),
    Case("slot_cpus_beyond", "slot.cpus: ", ("this machine", "got 5000"), spec={"slot": {"cpus": 5000}}),
    Case("workers_beyond", "workers: ", ("slot.cpus=1", "got 5000", "auto"), spec={"slot": {"cpus": 1}},
         args=("--workers", "5000")),
    *(Case(f"devices_{label}", f"{_DEVICES}: ", ("whole number", "auto", repr(value)), base={_DEVICES: value}) for
      label, value in (("zero", 0), ("all", -1), ("listed", [0, 1]), ("text", "0,1"))),
    Case("devices_and_share", f"{_DEVICES}: ", ("slot.gpus=0.5", "got 2"), spec={"slot": {"gpus": 0.5}},
         base={_DEVICES: 2, "trainer.accelerator": "auto"}),
    Case("devices_and_gpus", f"{_DEVICES}: ", ("slot.gpus=4", "got 2"), spec={"slot": {"gpus": 4}},
         base={_DEVICES: 2, "trainer.accelerator": "auto"}),
    Case("devices_sampled", f"space.{_DEVICES}: ", ("same in all trials", "base"), space={_DEVICES: _choices(1, 2)}),
    Case("devices_preset", f"space.big.presets.b.{_DEVICES}: ", ("same in all trials", "base"),
         space={"big": {"presets": {"a": {}, "b": {_DEVICES: 2}}}}),
    Case("devices_of_a_run", f"runs.big.{_DEVICES}: ", ("same in all trials", "base"),
         spec={"runs": {"big": {_DEVICES: 2}}}),
    Case("devices_beyond_batch", "data.batch_size: ", ("8 devices",), base={_DEVICES: 8, "data.batch_size": 4}),
    Case("nodes", "trainer.num_nodes: ", ("must be 1", "got 2"), base={"trainer.num_nodes": 2}),
    *(Case(f"strategy_{name}", "trainer.strategy: ", (repr(name), "use ddp"),
           base={_DEVICES: 2, "trainer.strategy": name}) for name in ("ddp_spawn", "ddp_fork", "ddp_notebook")),
    Case("strategy_class", "trainer.strategy: ", ("'fork'", "use ddp"),
         base={"trainer.strategy": {"class_path": _DDP, "init_args": {"start_method": "fork"}}}),
    Case("strategy_sampled", "trainer.strategy: ", ("'ddp_spawn'", "space.trainer.strategy"),
         space={"trainer.strategy": _choices("ddp", "ddp_spawn")}),
    Case("strategy_typo", "trainer", ("dpp",), base={_DEVICES: 2, "trainer.strategy": "dpp"}),
    *(Case(f"trial_timeout_{label}", "trial_timeout_s: ", ("above 0", repr(value)), spec={"trial_timeout_s": value})
      for label, value in (("zero", 0), ("text", "soon"), ("negative", -5))),
    *(Case(f"keep_{label}", "keep: ", ("best_5", repr(value)), spec={"keep": value}) for label, value in
      (("zero", "best_0"), ("typo", "bst_3"), ("number", 3), ("null", None))),
    *(Case(f"retry_{label}", "retry_out_of_memory: ", ("true or false", repr(value)),
           spec={"retry_out_of_memory": value}) for label, value in (("number", 2), ("text", "half"))),
    Case("ray_missing", "--engine: ", ("ray", "pip install 'lit-sweeps[ray]'"), args=("--engine", "ray"), lacks="ray"),
]

RANGES = [
    Case("low_above_high", f"space.{_LR}.low: ", ("high=0.1", "0.5"), space={_LR: _range(0.5, 0.1)}),
    Case("log_at_zero", f"space.{_LR}.low: ", ("above 0", "log", "got 0"), space={_LR: _range(0, 0.1, log=True)}),
    Case("log_below_zero", f"space.{_LR}.low: ", ("above 0", "log", "-0.1"), space={_LR: _range(-0.1, 0.1, log=True)}),
    Case("log_with_step", f"space.{_LR}.step: ", ("log", "0.1"), space={_LR: _range(0.1, 0.5, log=True, step=0.1)}),
    Case("log_number", f"space.{_LR}.log: ", ("true or false", "10"), space={_LR: _range(0.1, 0.5, log=10)}),
    Case("step_zero", f"space.{_LR}.step: ", ("above 0", "got 0"), space={_LR: _range(0.1, 0.5, step=0)}),
    Case("step_negative", f"space.{_LR}.step: ", ("above 0", "-0.1"), space={_LR: _range(0.1, 0.5, step=-0.1)}),
    Case("step_infinite", f"space.{_LR}.step: ", ("inf",), space={_LR: _range(0.1, 0.5, step=float("inf"))}),
    Case("high_missing", f"space.{_LR}.high: ", ("must be",), space={_LR: {"low": 0.1}}),
    Case("low_missing", f"space.{_LR}.low: ", ("must be",), space={_LR: {"high": 0.1}}),
    Case("low_text", f"space.{_LR}.low: ", ("finite number", "'tiny'"), space={_LR: _range("tiny", 0.1)}),
    Case("low_true", f"space.{_LR}.low: ", ("finite number", "True"), space={_LR: _range(True, 2)}),
    Case("high_infinite", f"space.{_LR}.high: ", ("finite number", "inf"), space={_LR: _range(0.1, float("inf"))}),
    Case("low_nan", f"space.{_LR}.low: ", ("finite number", "nan"), space={_LR: _range(float("nan"), 0.1)}),
    Case("range_and_choices", f"space.{_LR}: ", ("exactly one", "low", "choices"),
         space={_LR: {"low": 0.1, "high": 0.2, "choices": [0.1]}}),
    Case("range_type", f"space.{_LR}.type: ", ("int or float", "'number'"),
         space={_LR: _range(0.1, 0.2, type="number")}),
    Case("int_high_fraction", f"space.{_WIDTH}.high: ", ("integer", "8.5"), space={_WIDTH: _range(4, 8.5)}),
    Case("int_low_fraction", f"space.{_WIDTH}.low: ", ("integer", "4.5"), space={_WIDTH: _range(4.5, 8)}),
    Case("int_step_fraction", f"space.{_WIDTH}.step: ", ("integer", "0.5"), space={_WIDTH: _range(4, 8, step=0.5)}),
    Case("range_of_names", f"{_ACTIVATION}: ", ("0", f"space.{_ACTIVATION}"), space={_ACTIVATION: _range(0, 1)}),
    Case("type_not_the_targets", f"{_WIDTH}: ", ("int", "4.0", f"space.{_WIDTH}"),
         space={_WIDTH: _range(4, 8, type="float")}),
]

CHOICES = [
    Case("empty", f"space.{_ACTIVATION}.choices: ", ("at least one", "[]"), space={_ACTIVATION: _choices()}),
    Case("null", f"space.{_ACTIVATION}.choices: ", ("at least one",), space={_ACTIVATION: {"choices": None}}),
    Case("text", f"space.{_ACTIVATION}.choices: ", ("list", "'relu'"), space={_ACTIVATION: {"choices": "relu"}}),
    Case("twice", f"space.{_ACTIVATION}.choices: ", ("twice", "'relu'"),
         space={_ACTIVATION: _choices("relu", "tanh", "relu")}),
    Case("model_rejects", f"{_ACTIVATION}: ", ("'rleu'", "relu, ", "did you mean 'relu'?", f"space.{_ACTIVATION}"),
         space={_ACTIVATION: _choices("tanh", "rleu")}),
    Case("optimizer_rejects", "model.optimizer.name: ", ("'adamm'", "'adam'"),
         space={"model.optimizer.name": _choices("adam", "adamm")}),
    Case("wrong_type", f"{_WIDTH}: ", ("int", "wide"), space={_WIDTH: _choices(8, "wide")}),
    Case("list_rejected", f"{_WIDTH}: ", ("[8, 0]",), space={_WIDTH: _choices([8, 8], [8, 0])}),
    Case("range_rejected", "model.network.dropout: ", ("[0, 1)", "1.0", "space.model.network.dropout"),
         space={"model.network.dropout": _range(0, 1)}),
    Case("depth_range_rejected", "model.network.depth: ", ("0 or more", "got -1"),
         space={"model.network.depth": _range(-1, 3)}),
    Case("batch_range_rejected", "data.batch_size: ", ("at most", "48", "got 100"),
         space={"data.batch_size": _range(8, 100)}),
    Case("conditional_rejected", "model.optimizer.momentum: ", ("[0, 1)", "1.5"), space={**_MOMENTUM,
             "model.optimizer.momentum": _range(0.5, 1.5, when={"model.optimizer.name": ["momentum"]})}),
    Case("same_level_conflict", "model.optimizer.momentum: ", ("'adam'", "0.5"),
         space={**_MOMENTUM, "model.optimizer.momentum": _range(0.5, 0.9)}),
    Case("depth_and_widths", "model.network.depth: ", ("[8, 8]", "got 1"),
         space={_WIDTH: _choices([8, 8]), "model.network.depth": _range(1, 2)}),
    Case("dates", f"{_ACTIVATION}: ", ("2024-01-01",),
         text=_HEAD + "space: {model.network.activation: {choices: [2024-01-01]}}\n"),
]

WHEN = [
    Case("unknown", "space.model.network.dropout.when.model.network.nrom: ", ("another key of the space",),
         space={"model.network.dropout": _range(0, 0.5, when={"model.network.nrom": ["none"]})}),
    Case("nearest", "space.model.network.dropout.when.model.network.activatoin: ", (f"'{_ACTIVATION}'",),
         space={"model.network.dropout": _range(0, 0.5, when={"model.network.activatoin": ["relu"]})}),
    Case("value", f"space.model.network.dropout.when.{_ACTIVATION}: ", ("'rleu'", "'relu'"),
         space={"model.network.dropout": _range(0, 0.5, when={_ACTIVATION: ["rleu"]})}),
    Case("range", f"space.model.network.dropout.when.{_LR}: ", ("range",),
         space={"model.network.dropout": _range(0, 0.5, when={_LR: [0.1]})}),
    Case("no_values", f"space.model.network.dropout.when.{_ACTIVATION}: ", ("[]",),
         space={"model.network.dropout": _range(0, 0.5, when={_ACTIVATION: []})}),
    Case("list", "space.model.network.dropout.when: ", ("mapping", "['relu']"),
         space={"model.network.dropout": _range(0, 0.5, when=["relu"])}),
    Case("null", "space.model.network.dropout.when: ", ("mapping",),
         space={"model.network.dropout": _range(0, 0.5, when=None)}),
    Case("itself", f"space.{_ACTIVATION}.when: ", ("itself", f"{_ACTIVATION} -> {_ACTIVATION}"),
         space={_ACTIVATION: _choices("relu", "tanh", when={_ACTIVATION: ["relu"]})}),
    Case("circle", "space.", ("when: ", "itself", "model.network.bias -> model.network.norm -> model.network.bias"),
             space={"model.network.bias": _choices(True, False, when={"model.network.norm": ["none"]}),
             "model.network.norm": _choices("none", "after", when={"model.network.bias": [True]})}),
]

PRESETS = [
    Case("empty", "space.norm.presets: ", ("at least one", "{}"), space={"norm": {"presets": {}}}),
    Case("list", "space.norm.presets: ", ("mapping", "['none']"), space={"norm": {"presets": ["none"]}}),
    Case("value", "space.norm.presets.none: ", ("mapping", "'none'"), space={"norm": {"presets": {"none": "none"}}}),
    Case("overlap", "space.", ("norm", _ACTIVATION),
         space={"norm": {"presets": {"a": {_ACTIVATION: "relu"}, "b": {}}}}),
    Case("overlap_of_presets", "space.", ("model.network.norm", "space.one"),
             space={"one": {"presets": {"a": {"model.network.norm": "after"}}},
             "two": {"presets": {"b": {"model.network.norm": "none"}}}}),
    Case("overlap_of_spellings", "space.", ("model.optimizer.lr",),
         space={"model.init_args.optimizer.lr": _range(0.1, 0.2)}),
    Case("rejected", "model.network.norm: ", ("'before'", "befor", "space.norm"),
         space={"norm": {"presets": {"a": {"model.network.norm": "befor"}}}}),
    Case("group_overlap", "space.", ("model.network",), space={"net": {"presets": {"a": {"model.network": {}}}}}),
]

RUNS = [
    Case("not_a_choice", f"runs.big.{_ACTIVATION}: ", ("'elu'", "relu, tanh"),
         spec={"runs": {"big": {_ACTIVATION: "elu"}}}),
    Case("near_a_choice", f"runs.big.{_ACTIVATION}: ", ("'rleu'", "did you mean 'relu'?"),
         spec={"runs": {"big": {_ACTIVATION: "rleu"}}}),
    Case("list_not_a_choice", f"runs.big.{_WIDTH}: ", ("[4, 4]",), spec={"runs": {"big": {_WIDTH: [4, 4]}}},
         space={_WIDTH: _choices([8, 8], [8])}),
    Case("outside_range", f"runs.big.{_LR}: ", ("0.001", "0.1", "0.5"), spec={"runs": {"big": {_LR: 0.5}}}),
    Case("range_text", "", (f"{_LR}: ", "float", "fast", "runs.big"), spec={"runs": {"big": {_LR: "fast"}}}),
    Case("unknown_preset", "runs.big.norm: ", ("'afterr'", "'after'"), spec={"runs": {"big": {"norm": "afterr"}}},
         space={"norm": {"presets": {"none": {}, "after": {"model.network.norm": "after"}}}}),
    Case("rejected", "model.network.dropout: ", ("[0, 1)", "1.0", "runs.big"),
         spec={"runs": {"big": {"model.network.dropout": 1.0}}}),
]

OBJECTIVES = [
    Case("never_logged", "objective.metric: ",
         ("'val/accuracy'", "never logged", "train/acc, train/loss, val/acc, val/loss", "'val/acc'"),
         spec={"objective": {"metric": "val/accuracy", "direction": "maximize"}, "check": "step"}),
    Case("second_never_logged", "objective.metric: ", ("'f1'", "never logged", "val/acc"),
             spec={"objective": [{"metric": "val/acc", "direction": "maximize"}, {"metric": "f1",
             "direction": "maximize"}], "check": "step"}),
    Case("monitor_never_logged", "early_stopping.monitor: ", ("'val/los'", "never logged", "'val/loss'"),
         base={"early_stopping.monitor": "val/los"}, spec={"check": "step"}),
    Case("checkpoint_monitor_never_logged", "checkpoint.monitor: ", ("'val/los'", "never logged", "'val/loss'"),
         base={"checkpoint.monitor": "val/los"}, spec={"check": "step"}),
    Case("list_with_pruner", "pruner: ", ("2 objectives",), spec={"objective": [{"metric": "val/acc",
             "direction": "maximize"}, {"metric": "val/loss", "direction": "minimize"}], "pruner": "MedianPruner"}),
    Case("twice", "objective", ("val/acc", "twice"),
         spec={"objective": [{"metric": "val/acc", "direction": "maximize"}] * 2}),
]

VALUES = [
    Case("depth_negative", "model.network.depth: ", ("0 or more", "got -2"), base={"model.network.depth": -2},
         silent_about="space."),
    Case("depth_not_width", "model.network.depth: ", ("[8, 8]", "got 3"),
         base={"model.network.depth": 3, _WIDTH: [8, 8]}),
    Case("width_zero", f"{_WIDTH}: ", ("1 or more", "got 0"), base={_WIDTH: 0}),
    Case("width_list_zero", f"{_WIDTH}: ", ("1 or more", "[8, 0]"), base={_WIDTH: [8, 0]}),
    Case("width_list_empty", "model.network.depth: ", ("width=[]", "got 2"),
         base={_WIDTH: [], "model.network.depth": 2}),
    Case("dropout_one", "model.network.dropout: ", ("[0, 1)", "got 1.0"), base={"model.network.dropout": 1}),
    Case("dropout_negative", "model.network.dropout: ", ("[0, 1)", "-0.1"), base={"model.network.dropout": -0.1}),
    Case("dropout_nan", "model.network.dropout: ", ("[0, 1)", "nan"), base={"model.network.dropout": float("nan")}),
    Case("activation", f"{_ACTIVATION}: 'rleu' is not one of ", ("tanh", "did you mean 'relu'?"),
         base={_ACTIVATION: "rleu"}, space={_ACTIVATION: DROP}),
    Case("initializer", "model.network.initializer: ", ("'he_norml'", "'he_normal'"),
         base={"model.network.initializer": "he_norml"}),
    Case("loss", "model.loss: ", ("'hing'", "'hinge'"), base={"model.loss": "hing"}),
    Case("outputs_zero", "model.network.outputs: ", ("1 or more", "got 0"), base={"model.network.outputs": 0}),
    Case("outputs_too_few", "model.network.outputs: ", ("10 or more", "10 classes", "got 2"),
         base={"model.network.outputs": 2}),
    Case("input_shape_short", "model.network.input_shape: ", ("[8, 8]",), base={"model.network.input_shape": [8, 8]}),
    Case("input_shape_not_the_datas", "model.network.input_shape: ", ("[1, 28, 28]", "[1, 8, 8]"),
         base={"model.network.input_shape": [1, 28, 28]}, spec={"check": "step"}),
    Case("optimizer_name", "model.optimizer.name: ", ("'adamw2'", "'adamw'"), base={"model.optimizer.name": "adamw2"}),
    Case("optimizer_import", "model.optimizer.name: ", ("'torch.optim.Addam'", "import"),
         base={"model.optimizer.name": "torch.optim.Addam"}, space={_LR: DROP}),
    Case("optimizer_no_optimizer", "model.optimizer.name: ", ("'torch.nn.Linear'", "Optimizer"),
         base={"model.optimizer.name": "torch.nn.Linear"}, space={_LR: DROP}),
    Case("optimizer_arguments", "model.optimizer.init_args: ", ("'speed'", "torch.optim.SGD"),
         base={"model.optimizer.name": "torch.optim.SGD", "model.optimizer.init_args": {"speed": 1}},
         space={_LR: DROP}),
    Case("optimizer_arguments_in_step", "model.optimizer.init_args: ", ("'speed'", "torch.optim.SGD"),
         base={"model.optimizer.name": "torch.optim.SGD", "model.optimizer.init_args": {"speed": 1}}, space={_LR: DROP},
         spec={"check": "step"}),
    Case("optimizer_arguments_of_ours", "model.optimizer.init_args: ", ("'adam'",),
         base={"model.optimizer.init_args": {"lr": 0.1}}),
    Case("momentum_of_adam", "model.optimizer.momentum: ", ("0.9", "'adam'"),
         base={"model.optimizer.name": "adam", "model.optimizer.momentum": 0.9}),
    Case("momentum_one", "model.optimizer.momentum: ", ("[0, 1)", "got 1.0"),
         base={"model.optimizer.name": "momentum", "model.optimizer.momentum": 1}),
    Case("lr_zero", "model.optimizer.lr: ", ("above 0", "got 0.0"), base={_LR: 0}, space={_LR: DROP}),
    Case("lr_infinite", "model.optimizer.lr: ", ("inf",), base={_LR: float("inf")}, space={_LR: DROP}),
    Case("weight_decay_negative", "model.optimizer.weight_decay: ", ("0 or more", "-0.1"),
         base={"model.optimizer.weight_decay": -0.1}),
    Case("l1_negative", "model.regularization.l1: ", ("0 or more", "-1"), base={"model.regularization.l1": -1}),
    Case("max_norm_zero", "model.regularization.max_norm: ", ("above 0", "got 0"),
         base={"model.regularization.max_norm": 0}),
    Case("steps_per_execution", "model.steps_per_execution: ", ("1 or more", "got 0"),
         base={"model.steps_per_execution": 0}),
    Case("batch_size_zero", "data.batch_size: ", ("1 or more", "got 0"), base={"data.batch_size": 0}),
    Case("batch_size_negative", "data.batch_size: ", ("1 or more", "got -8"), base={"data.batch_size": -8}),
    Case("batch_size_above_split", "data.batch_size: ", ("at most", "48", "got 49"), base={"data.batch_size": 49}),
    Case("batch_size_set", "data.batch_size: ", ("1 or more", "got 0"), args=("--set", "data.batch_size=0")),
    Case("validation_zero", "data.validation: ", ("1 or more", "got 0"), base={"data.validation": 0}),
    Case("validation_all", "data.validation: ", ("64", "got 64"), base={"data.validation": 64}),
    Case("validation_float", "data.validation: ", ("(0, 1)", "got 1.5"), base={"data.validation": 1.5}),
    Case("validation_nan", "data.validation: ", ("nan",), base={"data.validation": float("nan")}),
    Case("validation_nothing", "data.validation: ", ("0.001",), base={"data.validation": 0.001}),
    Case("data_dir_missing", "", ("data.data_dir", "nowhere"), base={"data.data_dir": "/nowhere"}),
    Case("data_not_mnist", "", ("train-images-idx3-ubyte", "MD5", "data.dataset"), base={"data.dataset": "mnist"}),
    Case("patience_zero", "early_stopping.patience: ", ("1 or more", "got 0"), base={"early_stopping.patience": 0}),
    Case("min_delta_negative", "early_stopping.min_delta: ", ("0 or more", "got -1.0"),
         base={"early_stopping.min_delta": -1}),
    Case("threads_zero", "threads: ", ("1 or more", "got 0"), base={"threads": 0}),
    Case("epochs_zero", "trainer.max_epochs: ", ("got 0",), base={"trainer.max_epochs": 0}),
    Case("accelerator", "trainer: ", ("accelerator", "gpuu"), base={"trainer.accelerator": "gpuu"}),
    Case("precision", "trainer.precision: ", ("12",), base={"trainer.precision": 12}),
    Case("val_check_interval", "trainer", ("1.5",), base={"trainer.val_check_interval": 1.5}),
    Case("logger_class", "trainer.logger", ("Nologger",),
         base={"trainer.logger": {"class_path": "lightning.pytorch.loggers.Nologger"}}),
    Case("no_validation", "objective.metric: ", ("'val/acc'", "never logged"), base={"trainer.limit_val_batches": 0},
         spec={"check": "step"}),
    Case("validates_never", "objective.metric: ", ("'val/acc'",), base={"trainer.check_val_every_n_epoch": 3},
         spec={"check": "step"}),
    Case("batches_zero", "", ("trainer.limit_train_batches",), base={"trainer.limit_train_batches": 0},
         spec={"check": "step"}),
    Case("momentum_when_other", "model.optimizer.momentum: ", ("0.9", "'adam'"),
         spec={"runs": {"a": {"model.optimizer.name": "adam", "model.optimizer.momentum": 0.9}}}),
    Case("data_dir_is_file", "", ("base.yaml", "data.data_dir"), base={"data.data_dir": BASE}),
    Case("no_checkpointing", "trainer", ("enable_checkpointing",), base={"trainer.enable_checkpointing": False}),
]

CLASSES = [
    Case("no_such_module", "model.class_path: ", ("'nowhere.Net'", "import"),
         base={"model": {"class_path": "nowhere.Net"}}, spec=_FOREIGN),
    Case("no_such_class", "model.class_path: ", ("'strange.Silentt'", "import"),
         base={"model": {"class_path": "strange.Silentt"}}, spec=_FOREIGN),
    Case("no_path", "model.class_path: ", ("import path", "'Net'"), base={"model": {"class_path": "Net"}},
         spec=_FOREIGN),
    Case("number", "model.class_path: ", ("import path", "5"), base={"model": {"class_path": 5}}, spec=_FOREIGN),
    Case("relative", "model.class_path: ", ("'.strange.Net'",), base={"model": {"class_path": ".strange.Net"}},
         spec=_FOREIGN),
    Case("no_module", "model.class_path: ", ("LightningModule", "'strange.NotAModule'"),
         base={"model": {"class_path": "strange.NotAModule"}}, spec=_FOREIGN),
    Case("no_data_module", "data.class_path: ", ("LightningDataModule", "'strange.Silent'"),
         base={"data": {"class_path": "strange.Silent"}}),
    Case("syntax_error", "model.class_path: ", ("'strange_syntax.Net'", "SyntaxError"),
         base={"model": {"class_path": "strange_syntax.Net"}}, spec=_FOREIGN),
    Case("import_raises", "model.class_path: ", ("'strange_import.Net'", "no licence"),
         base={"model": {"class_path": "strange_import.Net"}}, spec=_FOREIGN),
    Case("unknown_argument", "model.unitss: ", ("no such key", "'model.units'"),
         base={"model": {"class_path": "strange.Silent", "init_args": {"unitss": 4}}}, spec=_FOREIGN),
    Case("argument_type", "model.units: ", ("int", "many"),
         base={"model": {"class_path": "strange.Silent", "init_args": {"units": "many"}}}, spec=_FOREIGN),
    Case("argument_missing", "model.hidden: ", ("must be given",), base={"model": {"class_path": "strange.Needs"}},
         spec=_FOREIGN),
    Case("arguments_list", "model.init_args: ", ("mapping", "[4]"),
         base={"model": {"class_path": "strange.Silent", "init_args": [4]}}, spec=_FOREIGN),
    Case("init_raises", "model: ", ("Odd", "RuntimeError", "units must be even"),
         base={"model": {"class_path": "strange.Odd", "init_args": {"units": 3}}}, spec={**_FOREIGN, "check": "step"}),
    Case("init_exits", "model: ", ("Leaves", "good bye"), spec={**_FOREIGN, "check": "step"},
         base={"model": {"class_path": "strange.Leaves", "init_args": {"units": 4}}}),
    Case("step_raises", "base: ", ("first batch", "RuntimeError", "shapes do not fit"),
         base={"model": {"class_path": "strange.Fails"}, "data": DROP}, spec={**_FOREIGN, "check": "step"}),
    Case("logs_nothing", "objective.metric: ", ("'val/acc'", "never logged", "none"),
         base={"model": {"class_path": "strange.Silent"}, "data": DROP}, spec={**_FOREIGN, "check": "step"}),
    Case("choice_of_class", "model.class_path: ", ("'strange.Silentt'", "space.model.class_path"),
         space={**_NO_SPACE, "model.class_path": _choices("strange.Silent", "strange.Silentt")}, base=_MODEL),
    Case("optimizer_fails", "base: ", ("no optimizer today",), spec={**_FOREIGN, "check": "step"},
         base={"model": {"class_path": "strange.NoOptimizer"}, "data": DROP}),
]

PLUGINS = [
    Case("sampler_name", "sampler: ", ("'TPESampel'", "'TPESampler'"), spec={"sampler": "TPESampel"}),
    Case("sampler_argument", "sampler.init_args: ", ("TPESampler", "startup"),
         spec={"sampler": {"class_path": "TPESampler", "init_args": {"startup": 10}}}),
    Case("sampler_argument_nearest", "sampler.init_args", ("n_startup_trial", "'n_startup_trials'"),
         spec={"sampler": {"class_path": "TPESampler", "init_args": {"n_startup_trial": 10}}}),
    Case("sampler_argument_type", "sampler.init_args", ("n_startup_trials", "ten"),
         spec={"sampler": {"class_path": "TPESampler", "init_args": {"n_startup_trials": "ten"}}}),
    Case("sampler_seed", "sampler.init_args", ("seed", "lucky"),
         spec={"sampler": {"class_path": "TPESampler", "init_args": {"seed": "lucky"}}}),
    Case("sampler_import", "sampler.class_path: ", ("'nowhere.Sampler'", "import"),
         spec={"sampler": "nowhere.Sampler"}),
    Case("sampler_no_sampler", "sampler.class_path: ", ("'strange.NotAModule'", "Sampler"),
         spec={"sampler": "strange.NotAModule"}),
    Case("pruner_as_sampler", "sampler: ", ("'MedianPruner'",), spec={"sampler": "MedianPruner"}),
    Case("gp_without_scipy", "sampler: ", ("GPSampler", "scipy", "pip install"), spec={"sampler": "GPSampler"},
         lacks="scipy"),
    Case("qmc_without_scipy", "sampler: ", ("QMCSampler", "scipy", "pip install"), spec={"sampler": "QMCSampler"},
         lacks="scipy"),
    Case("cmaes_without_cmaes", "sampler: ", ("CmaEsSampler", "cmaes", "pip install"), spec={"sampler": "CmaEsSampler"},
         lacks="cmaes"),
    Case("wilcoxon_without_scipy", "pruner: ", ("WilcoxonPruner", "scipy", "pip install"),
         spec={"pruner": "WilcoxonPruner"}, lacks="scipy"),
    Case("grid_without_step", f"space.{_LR}: ", ("step", "choices"), spec={"sampler": "GridSampler"}),
    Case("grid_with_when", "space.model.optimizer.momentum.when: ", ("GridSampler",), spec={"sampler": "GridSampler"},
         space={_LR: DROP, **_MOMENTUM}),
    Case("brute_force_without_step", f"space.{_LR}: ", ("step", "choices"), spec={"sampler": "BruteForceSampler"}),
    Case("grid_own_space", "sampler.init_args", ("search_space",),
         spec={"sampler": {"class_path": "GridSampler", "init_args": {"search_space": {"x": [1]}}}}, space={_LR: DROP}),
    Case("sampler_needs_sampler", "sampler.init_args: ", ("PartialFixedSampler", "base_sampler"),
         spec={"sampler": "PartialFixedSampler"}),
    Case("pruner_name", "pruner: ", ("'MedianPrunner'", "'MedianPruner'"), spec={"pruner": "MedianPrunner"}),
    Case("pruner_argument", "pruner.init_args: ", ("MedianPruner", "warmup"),
         spec={"pruner": {"class_path": "MedianPruner", "init_args": {"warmup": 1}}}),
    Case("pruner_argument_value", "pruner.init_args: ", ("-1",),
         spec={"pruner": {"class_path": "MedianPruner", "init_args": {"n_startup_trials": -1}}}),
    Case("pruner_needs_argument", "pruner.init_args: ", ("PercentilePruner", "percentile"),
         spec={"pruner": "PercentilePruner"}),
    Case("pruner_empty", "pruner.class_path: ", ("name of a class",), spec={"pruner": {}}),
    Case("hyperband_resource", "pruner.init_args: ", ("HyperbandPruner", "0"),
         spec={"pruner": {"class_path": "HyperbandPruner", "init_args": {"max_resource": 0}}}),
    Case("sampler_empty", "sampler: ", ("''", "TPESampler"), spec={"sampler": ""}),
    Case("pruner_false", "pruner: ", ("False",), spec={"pruner": False}),
    Case("pruner_argument_type", "pruner.init_args", ("n_warmup_steps", "few"),
         spec={"pruner": {"class_path": "MedianPruner", "init_args": {"n_warmup_steps": "few"}}}),
]

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
    Case("wandb_online_without_key", "--wandb: ", ("online", "key"), args=("--wandb", "online")),
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
    Case("other_space", "space: ", ("began with", _LR, "0.2", "0.1"), space={_LR: _range(1e-3, 0.2, log=True)},
         setting=sweep_folder),
    Case("more_space", "space: ", ("began with", _WIDTH), space={_WIDTH: _range(4, 8)}, setting=sweep_folder),
    Case("less_space", "space: ", ("began with", _LR), space={_LR: DROP}, setting=sweep_folder),
    Case("other_objective", "objective: ", ("began with", "val/loss", "val/acc"),
         spec={"objective": {"metric": "val/loss", "direction": "minimize"}}, setting=sweep_folder),
    Case("other_direction", "objective: ", ("began with", "minimize", "maximize"),
         spec={"objective": {"metric": "val/acc", "direction": "minimize"}}, setting=sweep_folder),
    Case("other_seeds", "seeds: ", ("began with", "2", "1"), spec={"seeds": 2}, setting=sweep_folder),
    Case("other_runs", "runs: ", ("began with", "big"), spec={"runs": {"big": {_WIDTH: 16}}}, setting=sweep_folder),
    Case("other_name", "name: ", ("began with", "'other'", "'sweep'"), spec={"name": "other"},
         args=("--run_dir", RUN_DIR), setting=sweep_folder),
    Case("journal_damaged", RUN_DIR, ("study.journal",), setting=damaged_journal),
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

_TWO = {"a": {}, "b": {"model.network.width": 4}}
_FIGURES = {"metric": "train/acc", "tolerance": 0.01, "values": {"a": 0.9}}
_CLAIM = {"claim": "a is better", "better": "a", "worse": "b", "metric": "val/acc"}
_ALIKE = {"claim": "the same", "same": ["a", "b"], "within": 0.01, "metric": "val/acc"}


def _published(name: str, starts: str, says: tuple[str, ...], table: Any = None, **more: Any) -> Case:
    """One wrong thing in a table of published figures."""
    changed = {key: value for key, value in {**_FIGURES, **more}.items() if value is not DROP}
    return Case(name, starts, says, spec={"runs": _TWO, "published": [changed] if table is None else table})


def _claim(name: str, starts: str, says: tuple[str, ...], given: dict[str, Any], **more: Any) -> Case:
    """One wrong thing in a claim."""
    changed = {key: value for key, value in {**given, **more}.items() if value is not DROP}
    return Case(name, starts, says, spec={"runs": _TWO, "claims": [_CLAIM, changed]})


PUBLISHED = [
    _published("no_list", "published: ", ("list", "got 5"), table=5),
    _published("no_mapping", "published[0]: ", ("mapping", "'a'"), table=["a"]),
    _published("unknown_key", "published[0].tolerence: ", ("no such key", "'tolerance'"), tolerence=0.1),
    _published("unknown_key_of_one", "published.speed: ", ("no such key", "tolerance, values"),
               table={**_FIGURES, "speed": 1}),
    Case("unknown_run", "published[0].values.run_22: ", ("'run_22'", "run_1, run_2", "did you mean 'run_2'?"),
         spec={"runs": {"run_1": {}, "run_2": {"model.network.width": 4}},
               "published": [{**_FIGURES, "values": {"run_1": 0.8, "run_22": 0.9}}]}),
    _published("no_metric", "published[0].metric: ", ("must be given",), metric=DROP),
    _published("no_tolerance", "published[0].tolerance: ", ("must be given",), tolerance=DROP),
    _published("no_values", "published[0].values: ", ("must be given",), values=DROP),
    _published("values_empty", "published[0].values: ", ("at least one", "{}"), values={}),
    _published("values_list", "published[0].values: ", ("mapping", "[0.9]"), values=[0.9]),
    _published("value_text", "published[0].values.a: ", ("finite number", "'high'"), values={"a": "high"}),
    _published("value_not_finite", "published[0].values.a: ", ("finite number", "nan"), values={"a": float("nan")}),
    _published("metric_number", "published[0].metric: ", ("metric", "got 3"), metric=3),
    _published("metric_never_logged", "published[0].metric: ", ("'train/ac'", "never logged", "'train/acc'"),
               metric="train/ac"),
    _published("at_name", "published[0].at: ", ("last, best", "'lats'"), at="lats"),
    _published("at_zero", "published[0].at: ", ("from 1", "got 0"), at=0),
    _published("at_half", "published[0].at: ", ("from 1", "got 1.5"), at=1.5),
    _published("at_true", "published[0].at: ", ("from 1", "got True"), at=True),
    _published("at_after_the_last", "published[0].at: ", ("a, which has 2", "got 3"), at=3),
    _published("tolerance_negative", "published[0].tolerance: ", ("0 or more", "got -0.1"), tolerance=-0.1),
    _published("tolerance_text", "published[0].tolerance: ", ("finite number", "'small'"), tolerance="small"),
    _published("title_number", "published[0].title: ", ("text", "got 5"), title=5),
    _published("source_list", "published[0].source: ", ("text", "['a']"), source=["a"]),
    _published("test_of_the_best", "published[0].metric: ", ("evaluate_test: all", "test/acc", "got best"),
               metric="test/acc"),
    Case("without_runs", "runs: ", ("must be given", "published[0].values.a"), spec={"published": [_FIGURES]}),
    Case("claims_no_list", "claims: ", ("list", "'better'"), spec={"runs": _TWO, "claims": _CLAIM}),
    _claim("claim_unknown_key", "claims[1].beter: ", ("no such key", "'better'"), _CLAIM, beter="a"),
    _claim("claim_unknown_run", "claims[1].worse: ", ("'c'", "a, b"), _CLAIM, worse="c"),
    _claim("claim_unknown_run_in_list", "claims[1].better[1]: ", ("'c'", "a, b"), _CLAIM, better=["a", "c"]),
    _claim("claim_run_number", "claims[1].better: ", ("3", "a, b"), _CLAIM, better=3),
    _claim("claim_no_run", "claims[1].better: ", ("at least one",), _CLAIM, better=[]),
    _claim("claim_twice", "claims[1].better: ", ("twice",), _CLAIM, better=["a", "a"]),
    _claim("claim_against_itself", "claims[1].worse: ", ("other runs than better",), _CLAIM, worse=["b", "a"]),
    _claim("claim_no_text", "claims[1].claim: ", ("must be given",), _CLAIM, claim=DROP),
    _claim("claim_no_worse", "claims[1].worse: ", ("must be given",), _CLAIM, worse=DROP),
    _claim("claim_of_nothing", "claims[1]: ", ("better and worse", "same and within"), _CLAIM, worse=DROP, better=DROP),
    _claim("claim_both", "claims[1].better: ", ("does not go with same",), _ALIKE, better="a", worse="b"),
    _claim("claim_direction_of_same", "claims[1].direction: ", ("does not go with same",), _ALIKE,
           direction="maximize"),
    _claim("claim_direction", "claims[1].direction: ", ("'up'", "minimize, maximize"), _CLAIM, direction="up"),
    _claim("claim_never_logged", "claims[1].metric: ", ("'val/accuracy'", "never logged", "'val/acc'"), _CLAIM,
           metric="val/accuracy"),
    _claim("same_no_margin", "claims[1].within: ", ("must be given",), _ALIKE, within=DROP),
    _claim("same_negative_margin", "claims[1].within: ", ("0 or more", "got -1"), _ALIKE, within=-1),
    _claim("same_of_one", "claims[1].same: ", ("two names", "['a']"), _ALIKE, same=["a"]),
]

_LINE = {"model.class_path": "lit_dl.Regressor", "model.network.input_shape": [1], "model.network.outputs": 1,
         "data.class_path": "lit_dl.LinearRegressionDataModule", "data.data_dir": DROP, "data.dataset": DROP}
_LINE_SPEC = {"objective": {"metric": "val/rmse", "direction": "minimize"}}

# Keys that mean nothing together, set at one level: what the error starts with, and what it names.
TOGETHER: dict[str, tuple[dict[str, Any], str, tuple[str, ...]]] = {
    "momentum_of_adam": ({"model.optimizer.name": "adam", "model.optimizer.momentum": 0.9},
                         "model.optimizer.momentum", ("0.9", "name='adam'")),
    "beta1_of_sgd": ({"model.optimizer.name": "sgd", "model.optimizer.beta1": 0.8},
                     "model.optimizer.beta1", ("0.8", "name='sgd'")),
    "softmax_into_cross_entropy": ({"model.loss": "cross_entropy", "model.network.output_activation": "softmax"},
                                   "model.network.output_activation", ("'softmax'", "loss='cross_entropy'", "linear")),
    "sigmoid_into_binary_cross_entropy":
        ({"model.loss": "binary_cross_entropy", "model.network.output_activation": "sigmoid"},
         "model.network.output_activation", ("'sigmoid'", "loss='binary_cross_entropy'", "mse")),
    "smoothing_of_hinge": ({"model.loss": "hinge", "model.label_smoothing": 0.1}, "model.label_smoothing",
                           ("0.1", "loss='hinge'", "cross_entropy")),
    "delta_of_mse": ({"model.loss": "mse", "model.delta": 2.0}, "model.delta", ("2.0", "loss='mse'", "huber")),
    "slope_of_relu": ({_ACTIVATION: "relu", "model.network.negative_slope": 0.2}, "model.network.negative_slope",
                      ("0.2", "activation='relu'", "leaky_relu, prelu")),
    "pieces_of_relu": ({_ACTIVATION: "relu", "model.network.pieces": 3}, "model.network.pieces",
                       ("3", "activation='relu'", "maxout")),
    "eps_without_norm": ({"model.network.norm": "none", "model.network.norm_eps": 0.01}, "model.network.norm_eps",
                         ("0.01", "norm='none'", "before or after")),
    "momentum_of_layer_norm": ({"model.network.norm": "before", "model.network.norm_type": "layer",
                                "model.network.norm_momentum": 0.2}, "model.network.norm_momentum",
                               ("0.2", "norm_type='layer'")),
    "one_output_of_cross_entropy": ({"model.loss": "cross_entropy", "model.network.outputs": 1},
                                    "model.network.outputs", ("2 or more", "loss='cross_entropy'", "got 1")),
    "ten_outputs_of_perceptron": ({"model.loss": "perceptron", "model.network.outputs": 10},
                                  "model.network.outputs", ("1", "loss='perceptron'", "got 10")),
    "one_output_of_softmax": ({"model.loss": "mse", "model.network.output_activation": "softmax",
                               "model.network.outputs": 1}, "model.network.outputs",
                              ("2 or more", "output_activation='softmax'", "got 1")),
    "decay_of_cosine": ({"model.schedule.name": "cosine", "model.schedule.decay_rate": 0.5},
                        "model.schedule.decay_rate", ("0.5", "name='cosine'", "exponential")),
    "steps_of_exponential": ({"model.schedule.name": "exponential", "model.schedule.step_epochs": 3},
                             "model.schedule.step_epochs", ("3", "name='exponential'", "staircase")),
    "warm_up_of_all_epochs": ({"model.schedule.warmup_epochs": 2, "trainer.max_epochs": 2},
                              "model.schedule.warmup_epochs", ("less than trainer.max_epochs=2", "got 2.0")),
    "cnn_of_numbers": ({"model.network.kind": "cnn", "model.network.input_shape": [2]}, "model.network.input_shape",
                       ("channels, height and width", "kind='cnn'", "[2]")),
    "even_clothes": ({"data.dataset": "fashion_mnist", "data.target": "even"}, "data.target",
                     ("class", "dataset is fashion_mnist", "mnist")),
}


def _together(name: str) -> list[Case]:
    """The keys in the base, each as the only choice of a parameter, as a preset, and as a run."""
    keys, starts, says = TOGETHER[name]
    free = {_LR: DROP, _ACTIVATION: DROP, _WIDTH: _choices(8)}
    first = next(iter(keys))
    return [
        Case(f"{name}_in_base", f"{starts}: ", says, base=keys, space=free),
        Case(f"{name}_in_space", f"{starts}: ", says, space={**free, **{key: _choices(keys[key]) for key in keys}}),
        Case(f"{name}_when", f"{starts}: ", says,
             space={**free, first: _choices(keys[first]),
                    **{key: _choices(keys[key], when={first: [keys[first]]}) for key in keys if key != first}}),
        Case(f"{name}_in_preset", f"{starts}: ", (*says, "space.both"),
             space={**free, "both": {"presets": {"nothing": {}, "bad": keys}}}),
        Case(f"{name}_in_runs", f"{starts}: ", (*says, "runs.bad"), space=free, spec={"runs": {"bad": keys}}),
    ]


COMBINATIONS = [
    *(case for name in TOGETHER for case in _together(name)),
    Case("cross_entropy_of_regressor", "model.loss: ", ("'cross_entropy'", "Regressor", "mse"),
         base={**_LINE, "model.loss": "cross_entropy"}, spec=_LINE_SPEC),
    Case("classifier_of_values", "model.class_path: ", ("Regressor", "LinearRegressionDataModule", "got Classifier"),
         base={**_LINE, "model.class_path": "lit_dl.Classifier", "model.loss": "mse"},
         spec={"objective": {"metric": "val/loss", "direction": "minimize"}}),
    Case("regressor_of_classes", "model.class_path: ", ("Classifier", "MNISTDataModule", "got Regressor"),
         base={"model.class_path": "lit_dl.Regressor"}, spec=_LINE_SPEC),
    Case("accuracy_of_regressor", "objective.metric: ", ("'val/acc'", "never logged", "val/rmse"), base=_LINE),
    Case("two_outputs_of_one_value", "model.network.outputs: ", ("1", "got 2"), spec=_LINE_SPEC,
         base={**_LINE, "model.network.outputs": 2}),
    Case("slope_when_of_both", "model.network.negative_slope: ", ("0.1", "activation='relu'", "space."),
         space={_ACTIVATION: _choices("leaky_relu", "relu"),
                "model.network.negative_slope": _range(0.1, 0.3, when={_ACTIVATION: ["leaky_relu", "relu"]})}),
    Case("warm_up_range", "model.schedule.warmup_epochs: ", ("less than trainer.max_epochs=2", "got 3.0"),
         space={"model.schedule.warmup_epochs": _range(0, 3)}),
    Case("epochs_below_warm_up", "model.schedule.warmup_epochs: ", ("less than trainer.max_epochs=1", "got 1.5"),
         base={"model.schedule.warmup_epochs": 1.5}, space={"trainer.max_epochs": _range(1, 3)}),
]

TABLE = {
    "files": FILES,
    "unknown_keys": UNKNOWN_KEYS,
    "types": TYPES,
    "counts": COUNTS,
    "slots": SLOTS,
    "ranges": RANGES,
    "choices": CHOICES,
    "when": WHEN,
    "presets": PRESETS,
    "runs": RUNS,
    "objectives": OBJECTIVES,
    "values": VALUES,
    "classes": CLASSES,
    "plugins": PLUGINS,
    "command_line": COMMAND_LINE,
    "folders": FOLDERS,
    "storages": STORAGES,
    "published": PUBLISHED,
    "combinations": COMBINATIONS,
}

# Inputs that look like bad ones and are not; each with `--dry_run`.
GOOD = [
    Case("as_it_is", "checked sweep: 4 trials, 2 parameters"),
    Case("whole_step", "checked sweep: ", ("val/acc",), spec={"check": "step"}),
    Case("float_without_point", "checked sweep: ", space={_LR: DROP},
         base_text="model: {network: {input_shape: [1, 8, 8]}, optimizer: {name: sgd, lr: 1e-4}}\n"
                   "data: {data_dir: DATA, dataset: idx, batch_size: 16, validation: 16}\n"),
    Case("float_range_without_point", "checked sweep: ",
         text=_HEAD + "space: {model.optimizer.lr: {low: 1e-4, high: 1e-1, log: true}}\n"),
    Case("merged_yaml", "checked sweep: ",
         text=_HEAD + "space:\n  model.optimizer.lr: &log {low: 1e-4, high: 1e-1, log: true}\n"
                      "  model.optimizer.eps: {<<: *log, high: 1e-2}\n"),
    Case("set", "checked sweep: ", args=("--set", "data.batch_size=48")),
    Case("two_processes", "checked sweep: ", ("val/acc",), spec={"check": "step"},
         base={"trainer.devices": 2, "trainer.strategy": "ddp"}),
    Case("only_watching", "checked sweep: ", spec={"slot": {"cpus": 5000}}, args=("--workers", "0")),
    Case("init_args_key", "checked sweep: ", space={_LR: DROP, "model.init_args.optimizer.lr": _range(0.1, 0.2)}),
    Case("n_trials_argument", "checked sweep: 7 trials", args=("--n_trials", "7")),
    Case("duration", "checked sweep: ", spec={"timeout": "1.5h"}),
    Case("whole_float_bounds", "checked sweep: ", space={_WIDTH: _range(4.0, 8.0)}),
    Case("preset_of_nothing", "checked sweep: ",
         space={"norm": {"presets": {"none": None, "after": {"model.network.norm": "after"}}}}),
    Case("foreign_module", "checked sweep: 1 trials", base={"model": {"class_path": "strange.Silent"}},
         spec={**_FOREIGN, "check": "build"}),
    Case("continued_as_it_is", "checked sweep: ", setting=sweep_folder),
    Case("continued_with_more", "checked sweep: ",
         spec={"n_trials": 8, "sampler": "RandomSampler", "pruner": "MedianPruner", "workers": 1},
         setting=sweep_folder),
    Case("module_without_arguments", "checked sweep: ", base={"model": {"class_path": "strange.Plain"}, "data": DROP},
         spec={**_FOREIGN, "check": "step", "objective": {"metric": "loss", "direction": "minimize"}}),
    Case("validates_rarely", "checked sweep: ", base={"trainer.check_val_every_n_epoch": 2}, spec={"check": "step"}),
    Case("validates_often", "checked sweep: ", base={"trainer.val_check_interval": 2}, spec={"check": "step"}),
    Case("validates_twice_an_epoch", "checked sweep: ", base={"trainer.val_check_interval": 0.5},
         spec={"check": "step"}),
    Case("switched_off", "checked sweep: ", base={"early_stopping.patience": None, "model.network.depth": None}),
    Case("seed_of_base", "checked sweep: ", base={"seed_everything": 7}, spec={"seeds": 2}),
    Case("published_and_claims", "checked sweep: ", spec={"runs": _TWO, "published": _FIGURES,
         "claims": [_CLAIM, _ALIKE, {**_CLAIM, "better": ["a"], "metric": "epochs", "at": 9, "direction": "minimize"},
                    {**_CLAIM, "metric": "gradient_ratio"}]}),
    Case("published_test", "checked sweep: ", spec={"runs": _TWO, "evaluate_test": "all",
         "published": [{**_FIGURES, "metric": "test/loss", "at": "best"}]}),
]

# Keys of the base that do not apply to what the space or a run chooses: dropped, and no error.
INHERITED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "momentum": ({"model.optimizer.name": "momentum", "model.optimizer.momentum": 0.5},
                 {"model.optimizer.name": "adam"}),
    "slope": ({_ACTIVATION: "leaky_relu", "model.network.negative_slope": 0.2}, {_ACTIVATION: "relu"}),
    "pieces": ({_ACTIVATION: "maxout", "model.network.pieces": 3}, {_ACTIVATION: "tanh"}),
    "norm": ({"model.network.norm": "before", "model.network.norm_eps": 0.1, "model.network.norm_momentum": 0.5},
             {"model.network.norm": "none"}),
    "norm_momentum": ({"model.network.norm": "before", "model.network.norm_momentum": 0.5},
                      {"model.network.norm_type": "layer"}),
    "label_smoothing": ({"model.label_smoothing": 0.1}, {"model.loss": "hinge"}),
    "delta": ({"model.loss": "huber", "model.delta": 0.5}, {"model.loss": "mse"}),
    "sigmoid": ({"model.loss": "mse", "model.network.output_activation": "sigmoid"}, {"model.loss": "cross_entropy"}),
    "log_softmax": ({"model.loss": "nll", "model.network.output_activation": "log_softmax"}, {"model.loss": "mse"}),
    "decay_rate": ({"model.schedule.name": "inverse_time", "model.schedule.decay_rate": 2.0},
                   {"model.schedule.name": "cosine"}),
}


def _inherited(name: str) -> list[Case]:
    base, chosen = INHERITED[name]
    free = {_LR: DROP, _ACTIVATION: DROP, _WIDTH: _choices(8)}
    return [
        Case(f"inherited_{name}_in_space", "checked sweep: ", base=base,
             space={**free, **{key: _choices(value) for key, value in chosen.items()}}),
        Case(f"inherited_{name}_in_runs", "checked sweep: ", base=base, space=free, spec={"runs": {"a": chosen}}),
    ]


GOOD += [
    *(case for name in INHERITED for case in _inherited(name)),
    Case("linear_model", "checked sweep: ", base={"model.network.width": []}),
    Case("linear_regression", "checked sweep: ", base=_LINE, spec=_LINE_SPEC),
    Case("slope_when", "checked sweep: ",
         space={_ACTIVATION: _choices("leaky_relu", "relu"),
                "model.network.negative_slope": _range(0.1, 0.3, when={_ACTIVATION: ["leaky_relu"]})}),
    Case("bounds", "checked sweep: ",
         space={"model.network.dropout": _range(0, 0.9), "model.network.depth": _range(0, 3),
         "model.regularization.max_norm": _choices(None, 3.0), "model.network.bias": _choices(True, False, "auto")}),
]

SWEEPS_COMMANDS = [
    Command("no_spec_file", "launch given/none.yaml", "given/none.yaml: ", ("No such file",)),
    Command("spec_is_folder", "launch given", "given: ", ("directory",)),
    Command("wandb_choice", "launch given/sweep.yaml --wandb onlin", "", ("--wandb", "'onlin'", "offline"), usage=True),
    Command("unknown_option", "launch given/sweep.yaml --trials 4", "", ("--trials",), usage=True),
    Command("no_command", "", "", ("COMMAND",), usage=True),
    Command("unknown_command", "lunch given/sweep.yaml", "", ("'lunch'", "launch"), usage=True),
    *(Command(f"{name}_{label}", f"{name} {folder}{' --trial 0' if name == 'replay' else ''}", folder, ("must",),
             setting) for name in ("status", "best", "report", "replay") for label, folder,
         setting in (("missing", "nowhere", None), ("no_sweep", RUN_DIR, other_folder), ("file", SWEEP, None))),
    Command("status_torn", f"status {RUN_DIR}", RUN_DIR, ("status.json",), torn_status),
    Command("best_torn", f"best {RUN_DIR}", RUN_DIR, ("status.json",), torn_status),
    Command("replay_no_such_trial", f"replay {RUN_DIR} --trial 99", RUN_DIR, ("99",), sweep_folder),
    Command("replay_negative_trial", f"replay {RUN_DIR} --trial -1", RUN_DIR, ("must", "trials/-0001"), sweep_folder),
    Command("replay_text", f"replay {RUN_DIR} --trial best", "", ("--trial", "'best'"), sweep_folder, usage=True),
    Command("worker_missing", "worker nowhere", "nowhere: ", ("no spec.yaml",)),
]

LIT_DL_COMMANDS = [
    Command("unknown_key_in_config", "fit --config given/typo.yaml", "model.network.widht: ",
         ("no such key", "'model.network.width'")),
    Command("unknown_key", "fit --config given/base.yaml --model.network.widht 8", "model.network.widht: ",
         ("no such key", "'model.network.width'")),
    Command("unknown_key_equals", "fit --config given/base.yaml --trainer.max_epoch=8", "trainer.max_epoch: ",
         ("no such key", "'trainer.max_epochs'")),
    Command("missing_config", "fit --config given/none.yaml", "given/none.yaml: ", ("No such file",)),
    Command("config_without_file", "fit --config", "--config: ", ("file",)),
    Command("unknown_subcommand", "fitt --config given/base.yaml", "", ("fitt", "fit")),
    Command("no_subcommand", "", "", ("fit", "validate")),
    Command("type", "fit --config given/base.yaml --data.batch_size fifty", "data.batch_size: ", ("int", "fifty")),
    Command("no_value", "fit --config given/base.yaml --trainer.max_epochs", "trainer.max_epochs: ", ()),
    Command("value", "fit --config given/base.yaml --model.network.depth -1", "model.network.depth: ",
            ("0 or more", "got -1")),
    Command("dropout", "fit --config given/base.yaml --model.network.dropout=1", "model.network.dropout: ",
         ("[0, 1)", "got 1.0")),
    Command("batch_size", "fit --config given/base.yaml --data.batch_size 49", "data.batch_size: ",
         ("at most", "48", "got 49")),
    Command("optimizer", "fit --config given/base.yaml --model.optimizer.name adm", "model.optimizer.name: ",
         ("'adm'", "'adam'")),
    Command("class", "fit --config given/base.yaml --model nowhere.Net", "model.class_path: ",
         ("'nowhere.Net'", "import")),
    Command("group", "fit --config given/base.yaml --model.network 5", "model.network: ", ("mapping", "5")),
    Command("data_dir", "fit --config given/base.yaml --data.data_dir /nowhere", "", ("/nowhere", "data.data_dir")),
    Command("run_dir_has_run", "fit --config given/base.yaml --run_dir done", "run_dir: ", ("done",), finished_run),
    Command("run_dir_unwritable", "fit --config given/base.yaml --run_dir /proc/nope", "run_dir: ", ("/proc/nope",)),
    Command("run_dir_below_file", "fit --config given/base.yaml --run_dir given/base.yaml/x", "run_dir: ",
         ("given/base.yaml",)),
    Command("checkpoint_missing", "test --config given/base.yaml --ckpt_path none.ckpt", "ckpt_path: ", ("none.ckpt",)),
    Command("checkpoint_broken", "test --config given/base.yaml --ckpt_path given/base.yaml", "ckpt_path: ",
         ("given/base.yaml",)),
    Command("fit_checkpoint_missing", "fit --config given/base.yaml --ckpt_path none.ckpt", "ckpt_path: ",
         ("none.ckpt",)),
    Command("monitor", "fit --config given/base.yaml --early_stopping.monitor val/los --trainer.max_epochs 1",
         "early_stopping.monitor: ", ("val/los", "val/loss")),
    Command("stray_word", "fit given/base.yaml", "", ("given/base.yaml",)),
    Command("optimizer_arguments",
            "fit -c given/base.yaml --model.optimizer.name torch.optim.SGD --model.optimizer.init_args '{speed: 1}'",
            "model.optimizer.init_args: ", ("'speed'", "torch.optim.SGD")),
    Command("not_yaml", "fit --config given/base.yaml --model.network.width '[8,'", "model.network.width: ", ("[8,",)),
    Command("patience", "fit --config given/base.yaml --early_stopping.patience 0", "early_stopping.patience: ",
            ("1 or more", "got 0")),
    Command("accelerator", "fit --config given/base.yaml --trainer.accelerator gpuu", "trainer: ", ("gpuu",)),
    Command("input_shape", "fit --config given/base.yaml --model.network.input_shape '[1,28,28]'",
            "model.network.input_shape: ", ("[1, 28, 28]", "[1, 8, 8]")),
    Command("literal", "fit --config given/base.yaml --model.network.norm befor", "model.network.norm: ",
            ("befor", "did you mean 'before'?")),
    Command("seed_negative", "fit --config given/base.yaml --seed_everything -1", "seed_everything: ", ("0", "-1")),
    Command("validate_batch_size", "validate --config given/base.yaml --data.batch_size 49", "data.batch_size: ",
            ("at most", "48", "got 49")),
    Command("wandb_online_without_key", "fit --config given/base.yaml --tracking.wandb online", "tracking.wandb: ",
            ("online", "key")),
    Command("predict_run_dir", "predict --config given/base.yaml --run_dir /proc/nope", "run_dir: ", ("/proc/nope",)),
    Command("one_dash", "fit --config given/base.yaml -model 3", "", ("-model",)),
]

# Names of every table, each mistyped, with the nearest.
NAMES: dict[str, tuple[str, str]] = {
    "model.network.activation": ("leaky_rel", "leaky_relu"),
    "model.network.initializer": ("he_truncated", "he_truncated_normal"),
    "model.network.norm": ("befor", "before"),
    "model.network.norm_type": ("layr", "layer"),
    "model.network.output_activation": ("log_softmx", "log_softmax"),
    "model.loss": ("huberr", "huber"),
    "model.optimizer.name": ("adagard", "adagrad"),
    "model.schedule.name": ("cosin", "cosine"),
    "model.regularization.form": ("texbook", "textbook"),
    "model.defaults": ("keras3", "keras"),
    "data.dataset": ("fashion_mnits", "fashion_mnist"),
    "data.target": ("evn", "even"),
}
# Values out of their range: (keys that make it apply, key, values, what must hold).
OUT_OF_RANGE: list[tuple[dict[str, str], str, tuple[str, ...], str]] = [
    ({_ACTIVATION: "leaky_relu"}, "model.network.negative_slope", ("-0.1", "1.0", "nan"), "in [0, 1)"),
    ({_ACTIVATION: "maxout"}, "model.network.pieces", ("1", "0"), "2 or more"),
    ({}, "model.network.dropout", ("1.0", "-0.1"), "in [0, 1)"),
    ({}, "model.network.input_dropout", ("1.0", "-0.1"), "in [0, 1)"),
    ({}, "model.network.noise", ("-0.1", "inf"), "0 or more"),
    ({}, "model.network.input_noise", ("-0.1", "nan"), "0 or more"),
    ({}, "model.network.outputs", ("0",), "1 or more"),
    ({"model.network.norm": "before"}, "model.network.norm_momentum", ("0.0", "2.0"), "in (0, 1]"),
    ({"model.network.norm": "before"}, "model.network.norm_eps", ("0.0", "-0.1"), "above 0"),
    ({}, "model.label_smoothing", ("1.0", "-0.1"), "in [0, 1)"),
    ({"model.loss": "huber"}, "model.delta", ("0.0", "-1.0", "inf"), "above 0"),
    ({}, "model.regularization.l1", ("-1.0", "nan"), "0 or more"),
    ({}, "model.regularization.l2", ("-1.0",), "0 or more"),
    ({}, "model.regularization.activity_l1", ("-1.0",), "0 or more"),
    ({}, "model.regularization.activity_l2", ("-1.0",), "0 or more"),
    ({}, "model.regularization.max_norm", ("0.0", "-1.0", "nan"), "above 0"),
    ({"model.optimizer.name": "momentum"}, "model.optimizer.momentum", ("1.0", "-0.1"), "in [0, 1)"),
    ({"model.optimizer.name": "adadelta"}, "model.optimizer.rho", ("1.0",), "in [0, 1)"),
    ({}, "model.optimizer.beta1", ("1.0",), "in [0, 1)"),
    ({}, "model.optimizer.beta2", ("-0.1",), "in [0, 1)"),
    ({}, "model.optimizer.eps", ("0.0",), "above 0"),
    ({}, "model.optimizer.weight_decay", ("-1.0",), "0 or more"),
    ({"model.optimizer.name": "adagrad"}, "model.optimizer.initial_accumulator_value", ("-1.0",), "0 or more"),
    ({"model.optimizer.name": "nadam"}, "model.optimizer.momentum_decay", ("-1.0",), "0 or more"),
    ({}, "model.schedule.warmup_epochs", ("-1.0", "nan"), "0 or more"),
    ({}, "model.schedule.warmup_epochs", ("2.0", "7.5"), "less than trainer.max_epochs=2"),
    ({"model.schedule.name": "inverse_time"}, "model.schedule.decay_rate", ("0.0", "-1.0"), "above 0"),
    ({"model.schedule.name": "exponential"}, "model.schedule.decay_rate", ("1.5",), "at most 1"),
    ({"model.schedule.name": "inverse_sqrt"}, "model.schedule.factor", ("0.0",), "above 0"),
    ({"model.schedule.name": "plateau"}, "model.schedule.factor", ("1.0",), "below 1"),
    ({"model.schedule.name": "plateau"}, "model.schedule.patience", ("-1",), "0 or more"),
    ({"model.schedule.name": "staircase"}, "model.schedule.step_epochs", ("0",), "1 or more"),
    ({"model.schedule.name": "cosine"}, "model.schedule.final", ("-0.1", "1.5"), "in [0, 1]"),
]


def _yaml(number: str) -> str:
    return {"nan": ".nan", "inf": ".inf"}.get(number, number)


_FIT = "fit --config given/base.yaml"
LIT_DL_COMMANDS += [
    *(Command(f"name_of_{key}", f"{_FIT} --{key} {typo}", f"{key}: {typo!r} is not one of ", (f"mean {nearest!r}?",))
      for key, (typo, nearest) in NAMES.items()),
    *(Command(f"{key}_{value}", " ".join([_FIT, *(f"--{k}={v}" for k, v in keys.items()), f"--{key}={_yaml(value)}"]),
              f"{key}: must be ", (need, f"got {value}"))
      for keys, key, values, need in OUT_OF_RANGE for value in values),
    Command("gate", "fit --data lit_dl.LogicGateDataModule --data.gate xr", "data.gate: 'xr' is not one of ",
            ("did you mean 'xor'?",)),
    Command("bias", f"{_FIT} --model.network.bias maybe", "model.network.bias: ", ("'maybe'", "true, false, auto")),
    Command("momentum_of_adam", f"{_FIT} --model.optimizer.momentum 0.9", "model.optimizer.momentum: ",
            ("0.9", "name='adam'", "lr, beta1, beta2, eps, weight_decay")),
    Command("endless_cosine", f"{_FIT} --model.schedule.name cosine --trainer.max_epochs -1", "model.schedule.name: ",
            ("'cosine'", "trainer.max_epochs=-1")),
    Command("values_for_a_classifier", "fit --data lit_dl.LinearRegressionDataModule --model.loss mse"
            " --model.network.outputs 1 --model.network.input_shape [1]", "model.class_path: ",
            ("lit_dl.Regressor", "data.class_path=LinearRegressionDataModule", "got Classifier")),
    Command("classes_for_a_regressor", f"{_FIT} --model lit_dl.Regressor --model.network.input_shape [1,8,8]",
            "model.class_path: ", ("lit_dl.Classifier", "data.class_path=MNISTDataModule", "got Regressor")),
]
