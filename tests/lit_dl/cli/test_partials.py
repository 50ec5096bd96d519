"""Modules whose arguments are called later, as Hydra's templates and Lightning's documentation have them."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from partials import Activated, Template
from torch.optim import Adam, Optimizer, lr_scheduler
from worker_sweeps import sweep

from lit_dl.cli.command import command
from lit_dl.cli.lit_cli import build_run, parse_config
from lit_dl.cli.optimizer_types import as_callable
from lit_dl.config.yaml_io import dump_yaml, load_yaml
from lit_dl.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore:best.ckpt and last.ckpt leave out hyperparameters")
Config = dict[str, Any]
ADAM = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.1}}
STEP = {"class_path": "StepLR", "init_args": {"step_size": 1}}


def given(name: str, data: str = "foreign.Ones", **arguments: Any) -> Config:
    return {
        "model": {"class_path": f"partials.{name}", "init_args": arguments},
        "data": {"class_path": data},
        "trainer": {"max_epochs": 2, "accelerator": "cpu"},
        "tracking": {"wandb": "disabled"},
    }


def template(**arguments: Any) -> Config:
    return given("Template", **{"net": "torch.nn.ReLU", "optimizer": ADAM, "scheduler": STEP, **arguments})


# The annotations


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Optimizer | None, "typing.Optional[collections.abc.Callable[[Iterable], Optimizer]]"),
        (lr_scheduler, "typing.Optional[collections.abc.Callable[[Optimizer], LRScheduler]]"),
        (torch.optim, "collections.abc.Callable[[Iterable], Optimizer]"),
        (dict[str, Adam], "dict[str, collections.abc.Callable[[Iterable], Adam]]"),
    ],
)
def test_what_is_made_later_becomes_a_function(annotation: Any, expected: str) -> None:
    text = repr(as_callable(annotation)).replace("collections.abc.Iterable[typing.Any]", "Iterable")
    for module in ("torch.optim.lr_scheduler.", "torch.optim.optimizer.", "torch.optim.adam."):
        text = text.replace(module, "")
    assert text == expected


@pytest.mark.parametrize(
    "annotation", [OptimizerCallable, LRSchedulerCallable | None, type[Optimizer], list[int], torch.nn, "Optimizer"]
)
def test_other_annotations_stay(annotation: Any) -> None:
    assert as_callable(annotation) is annotation


# The runs


def test_an_optimizer_and_a_scheduler_reach_the_module_as_partials() -> None:
    run = build_run(template(warmup={"class_path": "ConstantLR", "init_args": {"factor": 0.5}}, others=["SGD", ADAM]))
    run.fit()
    assert isinstance(run.module, Template)
    (optimizer,), (schedule,) = run.trainer.optimizers, run.trainer.lr_scheduler_configs
    assert (type(optimizer), optimizer.defaults["lr"], type(schedule.scheduler).__name__) == (Adam, 0.1, "StepLR")
    others = run.module.hparams["others"]
    assert [type(make(run.module.parameters())).__name__ for make in others] == ["SGD", "Adam"]
    made = pickle.loads(pickle.dumps(run.module.hparams["warmup"]))(optimizer=optimizer)
    assert isinstance(run.module.hparams["warmup"], partial)
    assert made.factor == 0.5


def test_a_scheduler_that_is_annotated_as_a_module_may_be_null_and_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(dump_yaml(template(scheduler=None)))
    command(["fit", "-c", str(tmp_path / "run.yaml"), "--run_dir", str(tmp_path / "a"), "--model.optimizer.lr=0.2"])
    command(["fit", "-c", str(tmp_path / "a" / "config.yaml"), "--run_dir", str(tmp_path / "b")])
    saved = load_yaml(tmp_path / "b" / "config.yaml")
    assert saved == load_yaml(tmp_path / "a" / "config.yaml")
    assert saved["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.2
    assert saved["model"]["init_args"]["scheduler"] is None


def test_partials_are_swept(tmp_path: Path) -> None:
    space = {
        "model.optimizer.class_path": {"choices": ["torch.optim.Adam", "torch.optim.SGD"]},
        "model.optimizer.lr": {"low": 0.01, "high": 0.1},
        "model.scheduler": {"choices": [STEP, None]},
        "model.scheduler.step_size": {"low": 1, "high": 3, "when": {"model.scheduler": [STEP]}},
    }
    objective = {"metric": "my_loss", "direction": "minimize"}
    _, rows = sweep(
        tmp_path, base=template(), objective=objective, space=space, n_trials=3, evaluate_test="none", seeds=1
    )
    assert [row["outcome"] for row in rows] == ["completed"] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimizer": "Adma"}, "model.optimizer: 'Adma' is not the name of a known Optimizer; did you mean 'Adam'?"),
        ({"optimizer": {"class_path": "Adma", "init_args": {"lr": 1}}},
         "model.optimizer.class_path: 'Adma' is not the name of a known Optimizer; did you mean 'Adam'?"),
        ({"optimizer": "torch.nn.Linear"},
         "model.optimizer: must be a subclass of Optimizer; 'torch.nn.Linear' is not"),
        ({"scheduler": "torch.optim.lr_scheduler.StepLr"},
         "model.scheduler: 'torch.optim.lr_scheduler.StepLr' cannot be imported (AttributeError: module "
         "'torch.optim.lr_scheduler' has no attribute 'StepLr'); did you mean 'torch.optim.lr_scheduler.StepLR'?"),
        ({"others": ["SGD", "RMSProp"]},
         "model.others.1: 'RMSProp' is not the name of a known Optimizer; did you mean 'RMSprop'?"),
        ({"net": "nowhere.Net"},
         "model.net: 'nowhere.Net' cannot be imported (ModuleNotFoundError: No module named 'nowhere'); "
         "is its folder in PYTHONPATH?"),
    ],
)  # fmt: skip
def test_an_error_names_the_class_that_is_wrong_and_the_nearest(arguments: Config, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(template(**arguments))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ({"callbacks": ["EarlyStoping"]},
         "trainer.callbacks.0: 'EarlyStoping' is not the name of a known Callback; did you mean 'EarlyStopping'?"),
        ({"logger": {"class_path": "CSVLoger"}},
         "trainer.logger.class_path: 'CSVLoger' is not the name of a known Logger; did you mean 'CSVLogger'?"),
        ({"profiler": {"class_path": "SimplProfiler"}},
         "trainer.profiler.class_path: 'SimplProfiler' is not the name of a known Profiler; "
         "did you mean 'SimpleProfiler'?"),
    ],
)  # fmt: skip
def test_an_error_names_the_nearest_part_of_the_trainer(trainer: Config, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({**template(), "trainer": trainer})
    assert str(caught.value) == message


# Other defaults and arguments


def test_a_function_as_default_of_a_text_or_a_function_reaches_the_class_as_a_function() -> None:
    run = build_run(given("Holding", net="partials.Activated"))
    assert isinstance(run.module.net, Activated)
    assert (run.module.activation, run.module.net.activation) == (torch.nn.functional.relu,) * 2
    again = build_run(run.config)
    assert (again.module.activation, again.module.net.activation) == (torch.nn.functional.relu,) * 2
    assert build_run(given("Holding", activation="gelu")).module.activation == "gelu"


def test_a_progress_bar_may_be_given_as_a_callback() -> None:
    config = template()
    config["trainer"] |= {"callbacks": ["TQDMProgressBar"], "max_epochs": 1}
    assert build_run(config).trainer.progress_bar_callback is not None
    assert build_run(template()).trainer.progress_bar_callback is None


def test_names_that_nobody_can_look_up_go_by_dict_kwargs(tmp_path: Path) -> None:
    config = given("FromDataset.from_rows", rows=3)
    config["model"]["dict_kwargs"] = {"size": 9}
    run = build_run(config)
    assert (run.module.rows, run.module.size) == (3, 9)
    assert run.config["model"] == config["model"]
    del config["model"]["dict_kwargs"]
    assert build_run(config).config["model"] == config["model"]
    space = {"model.dict_kwargs.size": {"low": 3, "high": 8}}
    objective = {"metric": "my_loss", "direction": "minimize"}
    sweep(tmp_path, base=config, objective=objective, space=space, n_trials=1, evaluate_test="none")
    trial = load_yaml(tmp_path / "run" / "trials" / "00000" / "config.yaml")
    assert 3 <= trial["model"]["dict_kwargs"]["size"] <= 8


def test_a_class_without_kwargs_has_no_dict_kwargs() -> None:
    with pytest.raises(ConfigError, match=r"^model\.dict_kwargs: no such key"):
        parse_config(given("Classes", num_classes=3) | {"model": {"class_path": "partials.Classes", "dict_kwargs": {}}})


# Links to what the data knows once it is made


def linked(source: str) -> Config:
    return {**given("Classes", data="partials.Sizing"), "link": {source: "model.num_classes"}}


def test_a_link_reads_an_attribute_that_the_data_sets_when_it_is_made() -> None:
    run = build_run(linked("data.num_classes"))
    assert run.module.num_classes == 5
    assert build_run(run.config).module.num_classes == 5


def test_links_to_attributes_that_are_not_there() -> None:
    with pytest.raises(ConfigError, match=r"^link\.data\.num_clases: no such key"):
        parse_config(linked("data.num_clases"))
    with pytest.raises(ConfigError, match=r"^link\.data\.num_rows: must be there once Sizing is made.*'num_rows'"):
        build_run(linked("data.num_rows"))


@pytest.mark.parametrize("flags", ["", "=skip_default"])
def test_print_config_leaves_out_what_links_set(tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: str) -> None:
    config = {**given("Classes", data="partials.Sizing"), "link": {"data.width": "model.num_classes"}}
    (tmp_path / "given.yaml").write_text(dump_yaml(config))
    with pytest.raises(SystemExit):
        command(["fit", "-c", str(tmp_path / "given.yaml"), f"--print_config{flags}"])
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    command(["fit", "-c", str(tmp_path / "printed.yaml"), "--run_dir", str(tmp_path / "run")])
    assert load_yaml(tmp_path / "run" / "config.yaml")["link"] == {"data.width": "model.num_classes"}
