"""The Regressor against least squares, and its metrics, predictions and errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lit_dl.cli.lit_cli import build_run
from lit_dl.config.overlay import overlay
from lit_dl.errors import ConfigError
from lit_dl.modules.regressor import Regressor
from lit_dl.nn.losses import LOSSES

Config = dict[str, Any]
Train = Callable[..., tuple[Any, Any]]

VALUES = [name for name, row in LOSSES.items() if not row.takes_labels]


def linear(inputs: int = 3, **values: Any) -> Config:
    """A linear model on linear data; keyword arguments overlay it by dotted key, with `__` for a dot."""
    base = {
        "model": {
            "class_path": "lit_dl.Regressor",
            "network": {"depth": 0, "input_shape": [inputs], "outputs": 1},
            "optimizer": {"name": "sgd", "lr": 0.05},
        },
        "data": {"class_path": "lit_dl.LinearRegressionDataModule", "inputs": inputs, "samples": 300, "noise": 0.2},
        "trainer": {"max_epochs": 2, "accelerator": "cpu"},
        "tracking": {"wandb": "disabled"},
    }
    return overlay(base, {key.replace("__", "."): value for key, value in values.items()})


def rows_of(data: Any, rows: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    inputs, targets = data.samples("train", torch.device("cpu"))
    return inputs[rows].double().numpy(), targets[rows].double().numpy()


@pytest.mark.parametrize("inputs", [1, 4])
def test_it_finds_what_least_squares_finds(train: Train, inputs: int) -> None:
    settings = linear(inputs, data__batch_size=240, model__optimizer__lr=0.4, trainer__max_epochs=60)
    run, _ = train(overlay(settings, {"early_stopping.patience": None}))
    x, y = rows_of(run.data, run.data.train_rows)
    solution, *_ = np.linalg.lstsq(np.hstack([x, np.ones((len(x), 1))]), y, rcond=None)
    weight, bias = (value.detach().double().numpy() for value in run.module.network.output.parameters())
    np.testing.assert_allclose(np.append(weight[0], bias), solution[:, 0], atol=1e-4)
    assert abs(solution[0, 0] - float(run.data.weights[0])) < 4 * 0.2 / np.sqrt(240)  # four standard errors
    assert run.rows[-1]["val/rmse"] == pytest.approx(0.2, rel=0.3)


@pytest.mark.parametrize("steps", [1, 10])
def test_the_figures_of_an_epoch(train: Train, steps: int) -> None:
    run, _ = train(linear(model__steps_per_execution=steps))
    row = run.rows[-1]
    assert {name for name in row if "/" in name} == {"train/rmse", "train/loss", "val/rmse", "val/loss"}
    x, y = rows_of(run.data, run.data.validation_rows)
    weight, bias = (value.detach().double().numpy() for value in run.module.network.output.parameters())
    error = x @ weight.T + bias - y
    assert row["val/loss"] == pytest.approx(np.mean(error**2), rel=1e-5)
    assert row["val/rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-5)
    assert row["train/rmse"] == pytest.approx(np.sqrt(row["train/loss"]), rel=1e-5)
    assert run.test().keys() == {"test/rmse", "test/loss"}


@pytest.mark.parametrize("loss", VALUES)
def test_every_loss_of_values_learns(train: Train, loss: str) -> None:
    settings = linear(model__loss=loss, model__optimizer__name="adam", model__optimizer__lr=0.05)
    run, _ = train(overlay(settings, {"trainer.max_epochs": 6}))
    first, *_, last = (row["train/loss"] for row in run.rows)
    assert last < first


def test_several_values_at_once() -> None:
    module = Regressor(network={"depth": 0, "input_shape": [2], "outputs": 3})
    outputs, targets = torch.tensor([[1.0, 2, 3], [0, 0, 0]]), torch.tensor([[1.0, 0, 0], [0, 0, 3]])
    mean = module._score(outputs, targets) / 2
    assert float(module._metric_of_mean_score(mean)) == pytest.approx(np.sqrt((4 + 9 + 9) / 6))


def test_values_between_0_and_1_are_the_sigmoid_of_logits() -> None:
    """With binary_cross_entropy."""
    module = Regressor(loss="binary_cross_entropy", network={"depth": 0, "input_shape": [1], "outputs": 1}, seed=2)
    inputs = torch.tensor([[-3.0], [0.5]])
    with torch.no_grad():
        logits = module(inputs)
        predicted = module.predict_step((inputs, torch.zeros(2, 1)), 0)
        score = module._score(logits, torch.full((2, 1), 0.25))
    expected = 1 / (1 + np.exp(-logits.numpy()))
    np.testing.assert_allclose(predicted.numpy(), expected, rtol=1e-6)
    assert float(score) == pytest.approx(np.sum((expected - 0.25) ** 2), rel=1e-5)


def test_predictions_are_values() -> None:
    module = Regressor(network={"depth": 0, "input_shape": [1], "outputs": 1}, seed=2)
    inputs = torch.tensor([[-3.0], [0.5]])
    with torch.no_grad():
        weight, bias = module.network.output.parameters()
        torch.testing.assert_close(module.predict_step((inputs, torch.zeros(2, 1)), 0), inputs * weight + bias)


def test_a_checkpoint_loads_in_plain_python(train: Train, tmp_path: Path) -> None:
    values = {"loss": "huber", "delta": 0.5, "regularization.l2": 1e-3, "schedule.name": "inverse_sqrt"}
    settings = overlay(linear(), {f"model.{key}": value for key, value in values.items()})
    run, result = train(settings, tmp_path / "run")
    loaded = Regressor.load_from_checkpoint(result.best_checkpoint, weights_only=True)
    assert loaded.hparams == run.module.hparams
    assert (loaded.hparams["loss"], loaded.hparams["delta"]) == ("huber", 0.5)
    inputs = torch.randn(5, 3)
    with torch.no_grad():
        assert torch.equal(loaded(inputs), run.module(inputs))


def test_the_best_epoch_is_that_of_least_validation_loss(train: Train, tmp_path: Path) -> None:
    run, result = train(linear(trainer__max_epochs=8, model__optimizer__lr=0.9), tmp_path / "run")
    losses = [row["val/loss"] for row in run.rows]
    assert result.best_epoch == losses.index(min(losses)) + 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model.loss": "cross_entropy"}, "model.loss: 'cross_entropy' is for classes, and a Regressor predicts "
         "values; choose from binary_cross_entropy, mse, mae, rmse, huber, pseudo_huber, log_cosh"),
        ({"model.loss": "mes"}, "model.loss: 'mes' is not one of "),
        ({"model.network.outputs": 2}, "model.network.outputs: must be 1, as many as the data's targets; got 2"),
        ({"model.network.input_shape": [4]}, "model.network.input_shape: must be [3], as the data's samples are; got "),
        ({"early_stopping.monitor": "val/acc"}, "early_stopping.monitor: 'val/acc' is never logged; logged are "
         "train/rmse, train/loss, val/rmse, val/loss"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused_by_key(values: Config, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_run(overlay(linear(), values)).check()
    assert str(caught.value).startswith(message)


def test_classes_need_a_classifier(digits_dir: Path) -> None:
    settings = linear()
    settings["data"] = {"data_dir": str(digits_dir), "dataset": "idx", "validation": 23}
    settings["model"]["network"]["input_shape"] = [1, 8, 8]
    with pytest.raises(ConfigError) as caught:
        build_run(settings).check()
    assert str(caught.value) == (
        "model.class_path: must be a lit_dl.Classifier for the classes of data.class_path=ImageDataModule; "
        "got Regressor"
    )
