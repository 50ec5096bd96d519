"""Spaces over the arguments of somebody else's classes: what a trial's run config holds, and what the check refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lit_dl.cli.lit_cli import build_run, parse_config
from lit_dl.config.keys import get_key, normalize
from lit_dl.errors import ConfigError
from sweeps.spec.parse_spec import parse_spec
from sweeps.spec.preflight import check_spec
from sweeps.spec.spec import SweepSpec

Config = dict[str, Any]
STOP = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "score", "patience": 3}}


def checked(name: str, space: Config, arguments: Config | None = None, **more: Any) -> SweepSpec:
    """The spec after the checks before trial 0, without a training step."""
    base = {
        "model": {"class_path": f"nested.{name}", "init_args": arguments or {}},
        "data": {"class_path": "nested.Validated", "init_args": {"width": 5}},
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "callbacks": [STOP, "LearningRateMonitor"]},
        "tracking": {"wandb": "disabled"},
    }
    given = {
        "base": {**base, **more.pop("base", {})},
        "objective": {"metric": "score", "direction": "maximize"},
        "n_trials": 4,
        "space": space,
        "check": "parse",
        **more,
    }
    return check_spec(parse_spec(given, Path(), "classes")).spec


def trial(spec: SweepSpec, run: str | None = None, **values: Any) -> Config:
    """The complete run config of a trial, in normal form; `__` stands for a dot."""
    sample = {key.replace("__", "."): value for key, value in values.items()}
    return normalize(parse_config(spec.configuration(sample, run, 0)))


# What a trial gets

ADAM = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.3, "weight_decay": 0.2}}
NETS = ["nested.Deep", {"class_path": "nested.Wide", "init_args": {"factor": 7}}]


@pytest.mark.parametrize("key", ["model.optimizer.class_path", "model.init_args.optimizer.class_path"])
def test_another_optimizer_has_its_own_defaults_and_the_same_keeps_what_the_base_says(key: str) -> None:
    spec = checked("Optimized", {key: {"choices": ["torch.optim.Adam", "AdamW"]}}, {"optimizer": ADAM})
    same, other = (trial(spec, **{key: name})["model"]["optimizer"] for name in ("torch.optim.Adam", "AdamW"))
    assert {name: same["init_args"][name] for name in ("lr", "weight_decay")} == {"lr": 0.3, "weight_decay": 0.2}
    assert {name: other["init_args"][name] for name in ("lr", "weight_decay")} == {"lr": 0.001, "weight_decay": 0.01}


def test_an_optimizer_in_short_form_is_swept() -> None:
    space = {"model.optimizer.lr": {"low": 0.1, "high": 0.2}, "model.optimizer.nesterov": {"choices": [True, False]}}
    spec = checked("Optimized", space, {"optimizer": "torch.optim.SGD"})
    optimizer = trial(spec, model__optimizer__lr=0.15)["model"]["optimizer"]
    assert (optimizer["class_path"], optimizer["init_args"]["lr"]) == ("torch.optim.SGD", 0.15)
    assert spec.space.parameters["model.optimizer.lr"].type == "float"


def test_a_schedule_that_is_not_the_default_is_swept() -> None:
    schedule = {"class_path": "StepLR", "init_args": {"step_size": 2}}
    spec = checked("Optimized", {"model.scheduler.step_size": {"low": 1, "high": 9}}, {"scheduler": schedule})
    assert spec.space.parameters["model.scheduler.step_size"].type == "int"
    assert trial(spec, model__scheduler__step_size=4)["model"]["scheduler"]["init_args"]["step_size"] == 4


def test_keys_of_a_class_are_conditional_on_the_class() -> None:
    space = {
        "model.net.class_path": {"choices": ["nested.Deep", "nested.Wide"]},
        "model.net.factor": {"low": 2, "high": 5, "when": {"model.net.class_path": "nested.Wide"}},
        "model.net.init_args.layers": {"low": 2, "high": 5, "when": {"model.net.class_path": "nested.Deep"}},
    }
    spec = checked("Built", space)
    assert {parameter.type for parameter in spec.space if parameter.is_range} == {"int"}
    config = trial(spec, model__net__class_path="nested.Deep", model__net__init_args__layers=3)
    assert config["model"]["net"] == {"class_path": "nested.Deep", "init_args": {"layers": 3}}


def test_whole_classes_are_choices_with_conditions() -> None:
    space = {
        "model.net": {"choices": NETS},
        "model.net.hidden": {"low": 2, "high": 5, "when": {"model.net": [NETS[1]]}},
    }
    spec = checked("Built", space)
    deep, wide = spec.space.parameters["model.net"].options()
    assert trial(spec, model__net=deep)["model"]["net"]["class_path"] == "nested.Deep"
    net = trial(spec, model__net=wide, model__net__hidden=4)["model"]["net"]
    assert net == {"class_path": "nested.Wide", "init_args": {"hidden": 4, "factor": 7}}
    assert parse_spec({"base": {}, **_dumped(spec)}, Path(), "again").space.dump() == spec.space.dump()


def _dumped(spec: SweepSpec) -> Config:
    return {"objective": {"metric": "score", "direction": "maximize"}, "n_trials": 4, "space": spec.space.dump()}


def test_presets_choose_a_class_and_its_arguments() -> None:
    presets = {
        "default": {},
        "deep": {"model.net.class_path": "nested.Deep", "model.net.init_args.layers": 5},
        "wide": {"model": {"net": {"class_path": "nested.Wide", "init_args": {"factor": 9}}}},
    }
    spec = checked("Built", {"net": {"presets": presets}})
    assert trial(spec, net="deep")["model"]["net"] == {"class_path": "nested.Deep", "init_args": {"layers": 5}}
    assert trial(spec, net="wide")["model"]["net"]["init_args"] == {"hidden": 4, "factor": 9}
    assert trial(spec, net="default")["model"]["net"]["init_args"] == {"hidden": 4, "factor": 3}


def test_elements_of_a_list_are_swept_by_number_and_by_class() -> None:
    space = {
        "trainer.callbacks.0.init_args.patience": {"low": 1, "high": 9},
        "trainer.callbacks.LearningRateMonitor.logging_interval": {"choices": ["step", "epoch"]},
    }
    spec = checked("Optimized", space)
    assert spec.space.parameters["trainer.callbacks.0.init_args.patience"].type == "int"
    sample = {"trainer.callbacks.0.init_args.patience": 4}
    sample["trainer.callbacks.LearningRateMonitor.logging_interval"] = "step"
    stop, monitor = trial(spec, **sample)["trainer"]["callbacks"]
    assert (stop["init_args"]["patience"], stop["init_args"]["monitor"]) == (4, "score")
    assert monitor["init_args"]["logging_interval"] == "step"


@pytest.mark.parametrize("group", ["optimizer", "schedule"])
def test_settings_that_are_called_as_ours_keep_what_the_base_says(group: str) -> None:
    settings = {"lr": 0.3, "weight_decay": 0.01}
    spec = checked("Settings", {f"model.{group}.name": {"choices": ["adam", "sgd"]}}, {group: settings})
    assert trial(spec, **{f"model.{group}.name": "sgd"})["model"][group] == {"name": "sgd", **settings}


def test_a_mapping_with_a_class_path_is_swept() -> None:
    space = {"model.optimizer.class_path": {"choices": ["a.B", "c.D"]}}
    spec = checked("FromDict", space, {"optimizer": {"class_path": "a.B", "init_args": {"lr": 1}}})
    assert trial(spec, **{"model.optimizer.class_path": "c.D"})["model"]["optimizer"] == {"class_path": "c.D"}


def test_a_named_run_may_spell_a_key_in_another_way() -> None:
    space = {"model.init_args.net.init_args.factor": {"low": 2, "high": 5}}
    spec = checked("Built", space, runs={"four": {"model.net.factor": 4}})
    assert spec.runs["four"] == {"model.init_args.net.init_args.factor": 4}
    assert trial(spec, run="four")["model"]["net"]["init_args"]["factor"] == 4
    with pytest.raises(ConfigError, match=r"^runs\.nine\..*factor: must be from 2 to 5, as in space; got 9$"):
        checked("Built", space, runs={"nine": {"model.net.factor": 9}})


# Links


def test_a_source_that_is_swept_sets_its_target(tmp_path: Path) -> None:
    presets = {"narrow": {"data.width": 2}, "wide": {"data.width": 7}}
    link = {"data.width": ["model.width", "model.net.factor"]}
    spec = checked("Sized", {"size": {"presets": presets}}, base={"link": link})
    config = spec.configuration({"size": "wide"}, None, 0)
    run = build_run({**config, "trainer": {**config["trainer"], "callbacks": None}})
    run.fit()
    assert (run.module.width, run.module.net.factor, run.module.rows) == (7, 7, 1)
    again = build_run(parse_config(config))
    assert (again.module.width, get_key(parse_config(config), "link")) == (7, link)


# What the check refuses


@pytest.mark.parametrize(
    ("name", "space", "message"),
    [
        ("Built", {"model.net.hiddn": {"low": 1, "high": 2}},
         "space.model.net.hiddn: no such key; did you mean 'model.net.init_args.hidden'?"),
        ("Built", {"model.net.init_args.hiddn": {"low": 1, "high": 2}},
         "space.model.net.init_args.hiddn: no such key; did you mean 'model.net.init_args.hidden'?"),
        ("Built", {"net": {"presets": {"wide": {"model.net.hiddn": 3}}}},
         "space.net.presets.wide.model.net.hiddn: no such key; did you mean 'model.net.init_args.hidden'?"),
        ("Optimized", {"model.optimizer.lrr": {"low": 0.1, "high": 0.2}},
         "space.model.optimizer.lrr: no such key; did you mean 'model.optimizer.init_args.lr'?"),
        ("Optimized", {"model.optimzer.class_path": {"choices": ["torch.optim.Adam"]}},
         "space.model.optimzer.class_path: no such key"),
        ("Optimized", {"trainer.callbacks.EarlyStoping.patience": {"low": 1, "high": 2}},
         "space.trainer.callbacks.EarlyStoping.patience: no such element; "
         "the list has 0 (EarlyStopping), 1 (LearningRateMonitor); did you mean 'EarlyStopping'?"),
        ("Optimized", {"trainer.callbacks.0.patiense": {"low": 1, "high": 2}},
         "space.trainer.callbacks.0.patiense: no such key; did you mean 'trainer.callbacks.0.init_args.patience'?"),
        ("Optimized", {"trainer.callbacks.EarlyStopping.patiense": {"low": 1, "high": 2}},
         "space.trainer.callbacks.EarlyStopping.patiense: no such key; "
         "did you mean 'trainer.callbacks.0.init_args.patience'?"),
        ("Built", {"model.net.class_path": {"choices": ["nested.Wide", "nested.Deep"]},
                   "model.net.factor": {"low": 1, "high": 2}},
         "space.model.net.factor: no such key; known here: model.net.init_args.layers "
         "(with 'nested.Deep' of space.model.net.class_path)"),
        ("Built", {"model.net.factor": {"low": 1, "high": 2}, "model.net.init_args.factor": {"low": 1, "high": 2}},
         "space.model.net.init_args.factor: sets model.net.init_args.factor, and so does space.model.net.factor"),
        ("Built", {"model.net.hidden": {"choices": [2, "x"]}},
         "model.net.init_args.hidden: must be int; got x (with 'x' of space.model.net.hidden)"),
    ],
)  # fmt: skip
def test_an_error_names_the_key_of_the_space(name: str, space: Config, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked(name, space)
    assert str(caught.value).startswith(message)


def test_a_target_of_a_link_is_not_swept() -> None:
    with pytest.raises(ConfigError, match=r"^model\.width: must be left out, because link sets it to data\.width; got"):
        checked("Sized", {"model.width": {"low": 1, "high": 2}}, base={"link": {"data.width": "model.width"}})


def test_our_own_optimizer_is_swept_by_class_path(config: Any) -> None:
    base = config(model__optimizer={"class_path": "torch.optim.RAdam", "init_args": {"lr": 0.1}})
    names = ["torch.optim.RAdam", "torch.optim.SGD"]
    given = {
        "base": base,
        "objective": {"metric": "val/acc", "direction": "maximize"},
        "n_trials": 2,
        "space": {"model.optimizer.class_path": {"choices": names}},
        "check": "build",
    }
    spec = check_spec(parse_spec(given, Path(), "ours")).spec
    made = [spec.configuration({"model.optimizer.class_path": name}, None, 0)["model"]["optimizer"] for name in names]
    assert [(optimizer["name"], optimizer.get("init_args")) for optimizer in made] == [
        (names[0], {"lr": 0.1}),
        (names[1], None),
    ]
