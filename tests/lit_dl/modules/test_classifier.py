"""The module against a training loop written by hand; its metrics, predictions, checkpoints and errors."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.aggregation import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from lit_dl.cli.lit_cli import build_run
from lit_dl.data.idx import read_idx_pair
from lit_dl.errors import ConfigError
from lit_dl.modules.classifier import Classifier
from lit_dl.nn.random_layers import seed_random_layers
from lit_dl.randomness import generator

Config = dict[str, Any]
MakeConfig = Callable[..., Config]

BY_HAND: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda weights: torch.optim.SGD(weights, 0.1),
    "momentum": lambda weights: torch.optim.SGD(weights, 0.05, momentum=0.8),
    "nesterov": lambda weights: torch.optim.SGD(weights, 0.05, momentum=0.8, nesterov=True),
    "rmsprop": lambda weights: torch.optim.RMSprop(weights, 0.003, alpha=0.8, eps=1e-4),
    "adam": lambda weights: torch.optim.Adam(weights, 0.01, betas=(0.8, 0.95), eps=1e-4),
    "adamw": lambda weights: torch.optim.AdamW(weights, 0.01, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.1),
    "torch.optim.RAdam": lambda weights: torch.optim.RAdam(weights, 0.01),
}
OPTIMIZER: dict[str, Config] = {
    "sgd": {"lr": 0.1},
    "momentum": {"lr": 0.05, "momentum": 0.8},
    "nesterov": {"lr": 0.05, "momentum": 0.8},
    "rmsprop": {"lr": 0.003, "rho": 0.8, "eps": 1e-4},
    "adam": {"lr": 0.01, "beta1": 0.8, "beta2": 0.95, "eps": 1e-4},
    "adamw": {"lr": 0.01, "beta1": 0.8, "beta2": 0.95, "eps": 1e-4, "weight_decay": 0.1},
    "torch.optim.RAdam": {"init_args": {"lr": 0.01}},
}
EXTRAS: dict[str, Config] = {
    "l1": {"model.regularization.l1": 0.003},
    "l2": {"model.regularization.l2": 0.01},
    "textbook": {
        "model.regularization.form": "textbook",
        "model.regularization.l1": 0.03,
        "model.regularization.l2": 0.3,
    },
    "activity": {"model.regularization.activity_l1": 0.002, "model.regularization.activity_l2": 0.01},
    "max norm": {"model.regularization.max_norm": 0.5},
    "schedule": {
        "model.schedule.name": "exponential",
        "model.schedule.decay_rate": 0.5,
        "model.schedule.warmup_epochs": 0.5,
    },
    "clip by norm": {"trainer.gradient_clip_val": 0.3},
    "clip by value": {"trainer.gradient_clip_val": 0.02, "trainer.gradient_clip_algorithm": "value"},
    "accumulation": {"trainer.accumulate_grad_batches": 5},
    "dropout": {"model.network.dropout": 0.3},
    "batch normalization": {"model.network.norm": "before"},
    "all": {
        "model.regularization.l1": 0.003,
        "model.regularization.l2": 0.01,
        "model.regularization.max_norm": 0.5,
        "trainer.gradient_clip_val": 0.3,
        "trainer.accumulate_grad_batches": 5,
        "model.network.dropout": 0.3,
        "model.network.norm": "after",
    },
}
CASES = [pytest.param(name, {}, id=name) for name in BY_HAND]
CASES += [pytest.param("sgd", extra, id=name) for name, extra in EXTRAS.items()]
CASES += [pytest.param("adam", EXTRAS["all"], id="all with adam")]
EPOCHS, BATCH = 2, 20


def case(config: MakeConfig, name: str, extra: Config, steps: int) -> Config:
    from lit_dl.config.overlay import overlay

    values = {f"model.optimizer.{key}": value for key, value in OPTIMIZER[name].items()}
    settings = {"model.optimizer.name": name, "model.steps_per_execution": steps, "trainer.max_epochs": EPOCHS}
    return overlay(config(diagnostics=False), {**settings, **values, **extra})


def trained(config: Config) -> tuple[nn.Module, list[dict[str, float]]]:
    """The network at the end of the last epoch, and the metrics of each epoch."""
    run = build_run(config)
    run.open()
    run.fit()
    return run.module.network, [{k: v for k, v in row.items() if k not in ("elapsed_s", "lr")} for row in run.rows]


class ByHand:
    """Plain PyTorch, with torchmetrics."""

    def __init__(self, network: nn.Module, name: str, extra: Config, folder: Path) -> None:
        self.network, self.extra = network, extra
        self.optimizer = BY_HAND[name](network.parameters())
        images, labels = read_idx_pair(folder, "train", False)
        self.validation = images[:23].float() / 255, labels[:23]
        self.images, self.labels = images[23:].float() / 255, labels[23:]
        self.kernels = [weight for weight in network.parameters() if weight.ndim > 1]

    def epoch(self, number: int) -> dict[str, float]:
        seed_random_layers(nn.ModuleDict({"network": self.network}), 0, number)
        order = torch.randperm(230, generator=generator(0, "order", number))
        self.loss, self.accuracy = MeanMetric(), MulticlassAccuracy(10, average="micro")
        self.network.train()
        batches = order.split(BATCH)
        every = self.extra.get("trainer.accumulate_grad_batches", 1)
        for count, rows in enumerate(batches, start=1):
            loss = self.measured(self.images[rows], self.labels[rows])
            (self.penalized(loss, self.images[rows]) / every).backward()
            if count % every == 0 or count == len(batches):
                self.step((number - 1) * len(batches) + count - 1)
        figures = {
            "epoch": number,
            "train/acc": float(self.accuracy.compute()),
            "train/loss": float(self.loss.compute()),
        }
        self.loss, self.accuracy = MeanMetric(), MulticlassAccuracy(10, average="micro")
        self.network.eval()
        with torch.no_grad():
            self.measured(*self.validation)
        return {**figures, "val/acc": float(self.accuracy.compute()), "val/loss": float(self.loss.compute())}

    def measured(self, images: Tensor, labels: Tensor) -> Tensor:
        logits = self.network(images)
        loss = F.cross_entropy(logits, labels)
        self.loss.update(loss.detach(), weight=len(labels))
        self.accuracy.update(logits.detach(), labels)
        return loss

    def penalized(self, loss: Tensor, images: Tensor) -> Tensor:
        given = {key.removeprefix("model.regularization."): value for key, value in self.extra.items()}
        l1, l2 = given.get("l1", 0), given.get("l2", 0)
        if given.get("form") == "textbook":
            l1, l2 = l1 / len(images), l2 / (2 * len(images))
        for kernel in self.kernels:
            loss = loss + l1 * kernel.abs().sum() + l2 * (kernel * kernel).sum()
        if "activity_l1" in given:
            hidden = F.relu(F.linear(images.flatten(1), *self.network.hidden_1.linear.parameters()))
            activity = given["activity_l1"] * hidden.abs() + given["activity_l2"] * hidden * hidden
            loss = loss + activity.sum(1).mean()
        return loss

    def step(self, number: int) -> None:
        if "model.schedule.name" in self.extra:  # six steps of warm-up, then halved with every twelve
            factor = number / 6 if number < 6 else 0.5 ** (1 + (number - 6) // 12)
            self.optimizer.param_groups[0]["lr"] = OPTIMIZER["sgd"]["lr"] * factor
        limit = self.extra.get("trainer.gradient_clip_val")
        if limit and self.extra.get("trainer.gradient_clip_algorithm") == "value":
            nn.utils.clip_grad_value_(self.network.parameters(), limit)
        elif limit:
            nn.utils.clip_grad_norm_(self.network.parameters(), limit)
        self.optimizer.step()
        self.optimizer.zero_grad()
        longest = self.extra.get("model.regularization.max_norm")
        for kernel in self.kernels if longest else []:
            norms = kernel.detach().flatten(1).norm(dim=1, keepdim=True)
            kernel.data *= (longest / norms).clamp(max=1)


@pytest.mark.parametrize("steps", [1, 10])
@pytest.mark.parametrize(("name", "extra"), CASES)
def test_training_equals_a_loop_written_by_hand(
    config: MakeConfig, digits_dir: Path, name: str, extra: Config, steps: int
) -> None:
    settings = case(config, name, extra, steps)
    by_hand = ByHand(deepcopy(build_run(settings).module.network), name, extra, digits_dir)
    expected = [by_hand.epoch(number) for number in range(1, EPOCHS + 1)]
    network, rows = trained(settings)
    for row, figures in zip(rows, expected, strict=True):
        assert row == pytest.approx(figures, rel=1e-4)
    for ours, theirs in zip(network.parameters(), by_hand.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_extra_changes_the_training(config: MakeConfig, extra: str) -> None:
    """Otherwise the test above would say nothing about it."""
    plain, changed = (trained(case(config, "sgd", values, 10)) for values in ({}, EXTRAS[extra]))
    assert plain[1] != changed[1]


@pytest.mark.parametrize("steps", [1, 10])
def test_validating_within_an_epoch_leaves_the_training_figures_whole(config: MakeConfig, steps: int) -> None:
    at_end = trained(config(model__steps_per_execution=steps))[1]
    within = trained(config(model__steps_per_execution=steps, trainer__val_check_interval=0.5))[1]
    for name in ("train/loss", "train/acc"):
        assert [row[name] for row in within if name in row] == [row[name] for row in at_end]


# Metrics and predictions of every kind of output


def softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def log_loss(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    return -np.where(t == 1, np.log(p), np.log(1 - p))


def margin(z: np.ndarray, t: np.ndarray) -> np.ndarray:
    right = (z * t).sum(1, keepdims=True)
    return (np.maximum(0, 1 - right + z) * (1 - t)).sum(1) / z.shape[1]


def squared(z: np.ndarray, t: np.ndarray) -> np.ndarray:
    return (z - t) ** 2


Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Kind:
    """What is expected of a loss on such outputs.

    Args:
        loss: The loss.
        outputs: Number of outputs; 1: the digit is even, or not.
        activation: The output activation asked for.
        from_linear: What the module gives, from what its linear output layer gives.
        measure: From (what the module gives, targets as one-hot or 0 and 1) to losses, of which the mean is taken.
        probability: From what the module gives to probabilities of the classes, or of class 1.
        above: Where a single output begins to mean class 1.
    """

    loss: str
    outputs: int
    activation: str | None
    measure: Measure
    probability: Callable[[np.ndarray], np.ndarray]
    from_linear: Callable[[np.ndarray], np.ndarray] = lambda z: z
    above: float = 0.5


KINDS = [
    Kind("cross_entropy", 10, None, lambda z, t: -np.log((softmax(z) * t).sum(1)), softmax),
    Kind("cross_entropy", 10, "linear", lambda z, t: -np.log((softmax(z) * t).sum(1)), softmax),
    Kind("nll", 10, None, lambda z, t: -(z * t).sum(1), np.exp, lambda z: np.log(softmax(z))),
    Kind("binary_cross_entropy", 10, None, lambda z, t: log_loss(sigmoid(z), t), softmax),
    Kind("binary_cross_entropy", 1, None, lambda z, t: log_loss(sigmoid(z), t), sigmoid, above=0.0),
    Kind("hinge", 10, None, margin, softmax),
    Kind("perceptron", 1, None, lambda z, t: np.abs(z) * ((z > 0) != t), sigmoid, above=0.0),
    Kind("mse", 1, None, squared, lambda z: np.clip(z, 0, 1)),
    Kind("mse", 1, "sigmoid", squared, lambda p: p, sigmoid),
    Kind("mse", 10, "sigmoid", squared, lambda p: p, sigmoid),
    Kind("mse", 10, "softmax", squared, lambda p: p, softmax),
    Kind("mae", 10, "softmax", lambda p, t: np.abs(p - t), lambda p: p, softmax),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.loss} {kind.outputs} {kind.activation}")
def test_loss_accuracy_and_predictions_of_every_kind_of_output(
    config: MakeConfig, digits_dir: Path, kind: Kind
) -> None:
    settings = config(
        model__loss=kind.loss,
        model__network__outputs=kind.outputs,
        model__network__output_activation=kind.activation,
        data__target="even" if kind.outputs == 1 else "class",
    )
    run = build_run(settings)
    run.check()
    run.open()
    run.fit()
    images, labels = read_idx_pair(digits_dir, "train", False)
    inputs, labels = images[:23].float() / 255, labels[:23].numpy()
    module = run.module.eval()
    with torch.no_grad():
        outputs = module(inputs).double().numpy()
        linear = nn.Sequential(*[part for name, part in module.network.named_children() if name != "output_activation"])
        before = linear(inputs).double().numpy()
        predicted = module.predict_step((inputs, torch.zeros(23)), 0).double().numpy()
    np.testing.assert_allclose(outputs, kind.from_linear(before), rtol=1e-5)

    if kind.outputs == 1:
        classes, targets = (labels % 2 == 0).astype(int), (labels % 2 == 0)[:, None].astype(float)
        decided = (outputs[:, 0] > kind.above).astype(int)
        shares = np.hstack([1 - kind.probability(outputs), kind.probability(outputs)])
    else:
        classes, targets = labels, np.eye(10)[labels]
        decided = outputs.argmax(1)
        shares = kind.probability(outputs)
    row = run.rows[-1]
    assert row["val/loss"] == pytest.approx(np.mean(kind.measure(outputs, targets)), rel=1e-5)
    assert row["val/acc"] == pytest.approx(np.mean(decided == classes))
    np.testing.assert_allclose(predicted, shares, rtol=1e-5, atol=1e-6)
    assert (predicted.argmax(1) == decided).all()
    assert 0 < np.mean(decided == decided[0]) < 1  # more than one class among them


def test_predictions_from_values_are_shares_that_rank_the_classes_alike() -> None:
    """Of a linear output with mse, where values lie beside [0, 1]."""
    module = Classifier({"depth": 0, "input_shape": [3], "outputs": 3}, loss="mse")
    with torch.no_grad():
        module.network.output.weight.copy_(torch.eye(3))
    inputs = torch.tensor([[1.1, 1.3, 0.0], [-0.5, -0.2, -0.9], [0.1, 0.0, 0.9], [0.0, 0.0, 0.0]])
    with torch.no_grad():
        shares = module.predict_step((inputs, torch.zeros(4)), 0)
    expected = [[1.1 / 2.4, 1.3 / 2.4, 0], [0.4 / 1.1, 0.7 / 1.1, 0], [0.1, 0, 0.9], [0, 0, 0]]
    torch.testing.assert_close(shares, torch.tensor(expected))
    assert torch.equal(shares.argmax(1), module.classes(inputs))


def test_two_outputs_may_tell_even_from_odd(config: MakeConfig) -> None:
    _, rows = trained(config(model__network__outputs=2, data__target="even", trainer__max_epochs=4))
    assert rows[-1]["train/acc"] > 0.6


@pytest.mark.parametrize(("target", "outputs", "need"), [("class", 9, "10 or more"), ("class", 1, "10 or more")])
def test_classes_need_their_outputs(config: MakeConfig, target: str, outputs: int, need: str) -> None:
    loss = "mse" if outputs == 1 else "cross_entropy"
    settings = config(model__network__outputs=outputs, model__loss=loss, data__target=target)
    with pytest.raises(ConfigError) as caught:
        build_run(settings).check()
    assert str(caught.value) == f"model.network.outputs: must be {need} for 10 classes; got {outputs}"


def test_values_need_a_regressor() -> None:
    settings = {
        "model": {"network": {"input_shape": [1], "outputs": 1}, "loss": "mse"},
        "data": {"class_path": "lit_dl.LinearRegressionDataModule"},
        "trainer": {"accelerator": "cpu"},
    }
    with pytest.raises(ConfigError) as caught:
        build_run(settings).check()
    assert str(caught.value) == (
        "model.class_path: must be a lit_dl.Regressor for the values of data.class_path=LinearRegressionDataModule; "
        "got Classifier"
    )
