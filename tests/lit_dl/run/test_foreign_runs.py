"""Runs with modules, data and callbacks of others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign import Weights, scripted

from lit_dl.cli.lit_cli import build_run
from lit_dl.config.yaml_io import load_yaml

Config = dict[str, Any]
MakeConfig = Callable[..., Config]
Train = Callable[..., tuple[Any, Any]]


def test_a_module_without_optimizer_takes_lightnings_key(train: Train) -> None:
    settings = {
        "model": {"class_path": "foreign.Bare", "init_args": {"hidden": 3}},
        "data": {"class_path": "foreign.Ones", "init_args": {"count": 1}},
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        "tracking": {"wandb": "disabled"},
    }
    run, result = train(settings)
    bias = build_run(settings).module.map.bias.item()
    assert result.metrics["my_loss"] == pytest.approx((3 + bias) ** 2, rel=1e-5)
    step = 0.1 * 2 * (3 + bias)  # of each weight and of the bias, as all inputs are 1
    torch.testing.assert_close(run.module.map.weight.detach(), torch.full((1, 3), 1 - step))


def test_classes_without_arguments_are_taken(train: Train) -> None:
    settings = {
        "model": {"class_path": "foreign.Plain"},
        "data": {"class_path": "foreign.PlainOnes"},
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        "tracking": {"wandb": "disabled"},
    }
    _, result = train(settings)
    assert set(result.metrics) == {"my_loss"}


def test_a_callback_that_demands_a_logger_runs_without_tracking(train: Train, tmp_path: Path) -> None:
    settings = scripted([2.0, 1.0])
    settings["trainer"]["callbacks"] = ["LearningRateMonitor", "ModelCheckpoint"]
    run, result = train(settings, tmp_path / "run")
    assert result.metrics["score"] == 1.0
    assert run.tracker is None
    assert run.trainer.log_dir == run.trainer.default_root_dir
    assert list((tmp_path / "run" / "checkpoints" / "ModelCheckpoint").glob("epoch=1*.ckpt"))


def test_a_foreign_checkpoint_loads_in_plain_python(train: Train, tmp_path: Path) -> None:
    from foreign import Scripted

    _, result = train(scripted([2.0, 1.0], checkpoint={"monitor": "score"}), tmp_path / "run")
    loaded = Scripted.load_from_checkpoint(result.best_checkpoint, weights_only=True)
    assert (loaded.weight.item(), loaded.figures) == (2.0, [2.0, 1.0])


def test_our_model_on_data_of_someone_elses_takes_one_step_a_batch(config: MakeConfig) -> None:
    from foreign import Served

    run = build_run(config())
    assert run.module.steps_per_execution == 10
    run.open()
    loader = Served((torch.rand(5, 1, 8, 8), torch.arange(5)), 3)
    run.trainer.fit(run.module, train_dataloaders=loader, val_dataloaders=loader)
    assert run.trainer.global_step == 2 * 3


def test_callbacks_of_the_config_and_of_the_caller_all_run(config: MakeConfig, train: Train) -> None:
    mine = Weights()
    theirs = {"class_path": "lightning.pytorch.callbacks.LambdaCallback"}
    run, _ = train(config(trainer__callbacks=[theirs]), callbacks=[mine])
    assert len(mine.epochs) == 2
    assert "LambdaCallback" in [type(callback).__name__ for callback in run.trainer.callbacks]


def test_a_callback_with_an_enum_for_a_default_is_saved_with_the_config(
    config: MakeConfig, train: Train, tmp_path: Path
) -> None:
    timer = {"class_path": "lightning.pytorch.callbacks.Timer", "init_args": {"duration": "00:01:00:00"}}
    train(config(trainer__callbacks=[timer]), tmp_path / "run")
    again = build_run(load_yaml(tmp_path / "run" / "config.yaml"))
    assert "Timer" in [type(callback).__name__ for callback in again.trainer.callbacks]
