"""The module against a training loop written by hand, and `steps_per_execution: 10` against 1."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.aggregation import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from lit_dl.classifier import Classifier
from lit_dl.cli import build_run
from lit_dl.data.idx import read_digits
from lit_dl.errors import ConfigError
from lit_dl.randomness import generator, seed_epoch

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
    "max norm": {"model.regularization.max_norm": 0.5},
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
    from lit_dl.config import overlay

    values = {f"model.optimizer.{key}": value for key, value in OPTIMIZER[name].items()}
    settings = {"model.optimizer.name": name, "model.steps_per_execution": steps, "trainer.max_epochs": EPOCHS}
    return overlay(config(), {**settings, **values, **extra})


def trained(config: Config) -> tuple[nn.Module, list[dict[str, float]]]:
    """The network at the end of the last epoch, and the metrics of each epoch."""
    run = build_run(config)
    run.open()
    run.fit()
    return run.module.network, [{k: v for k, v in row.items() if k != "elapsed_s"} for row in run.table.rows]


class ByHand:
    """Plain PyTorch, with torchmetrics."""

    def __init__(self, network: nn.Module, name: str, extra: Config, folder: Path) -> None:
        self.network, self.extra = network, extra
        self.optimizer = BY_HAND[name](network.parameters())
        images, labels = read_digits(folder, "train", False)
        self.validation = images[:23].float() / 255, labels[:23]
        self.images, self.labels = images[23:].float() / 255, labels[23:]
        self.kernels = [weight for weight in network.parameters() if weight.ndim > 1]

    def epoch(self, number: int) -> dict[str, float]:
        seed_epoch(0, number)
        order = torch.randperm(230, generator=generator(0, "order", number))
        self.loss, self.accuracy = MeanMetric(), MulticlassAccuracy(10, average="micro")
        self.network.train()
        batches = order.split(BATCH)
        every = self.extra.get("trainer.accumulate_grad_batches", 1)
        for count, rows in enumerate(batches, start=1):
            loss = self.measured(self.images[rows], self.labels[rows])
            (self.penalized(loss) / every).backward()
            if count % every == 0 or count == len(batches):
                self.step()
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

    def penalized(self, loss: Tensor) -> Tensor:
        for kernel in self.kernels:
            loss = loss + self.extra.get("model.regularization.l1", 0) * kernel.abs().sum()
            loss = loss + self.extra.get("model.regularization.l2", 0) * (kernel * kernel).sum()
        return loss

    def step(self) -> None:
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


@pytest.mark.parametrize(("name", "extra"), CASES)
def test_steps_per_execution_changes_no_digit(config: MakeConfig, name: str, extra: Config) -> None:
    one, several, many = (trained(case(config, name, extra, steps)) for steps in (1, 3, 10))
    for network, rows in (several, many):
        assert rows == one[1]
        for ours, theirs in zip(network.state_dict().values(), one[0].state_dict().values(), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_extra_changes_the_training(config: MakeConfig, extra: str) -> None:
    """Otherwise the two tests above would say nothing about it."""
    plain, changed = (trained(case(config, "sgd", values, 10)) for values in ({}, EXTRAS[extra]))
    assert plain[1] != changed[1]


@pytest.mark.parametrize("steps", [1, 10])
def test_validating_within_an_epoch_leaves_the_training_figures_whole(config: MakeConfig, steps: int) -> None:
    at_end = trained(config(model__steps_per_execution=steps))[1]
    within = trained(config(model__steps_per_execution=steps, trainer__val_check_interval=0.5))[1]
    for name in ("train/loss", "train/acc"):
        assert [row[name] for row in within] == [row[name] for row in at_end]


def test_the_loss_of_the_config_is_the_loss_of_the_training(config: MakeConfig) -> None:
    (row,) = trained(config(model__loss="hinge", trainer__max_epochs=1))[1]
    module = build_run(config(model__loss="hinge")).module
    assert module.loss is F.multi_margin_loss
    assert row["train/loss"] < 1.1 < trained(config(trainer__max_epochs=1))[1][0]["train/loss"]


def test_predictions_are_class_probabilities(config: MakeConfig) -> None:
    module = build_run(config()).module.eval()
    images = torch.rand(6, 1, 8, 8)
    logits = module(images).detach()
    shares = module.predict_step((images, torch.zeros(6)), 0).detach()
    torch.testing.assert_close(shares, logits.exp() / logits.exp().sum(1, keepdim=True))


# Seeds


def weights(module: nn.Module) -> Tensor:
    return torch.cat([value.flatten() for value in module.state_dict().values()])


def test_initial_weights_come_from_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    first = weights(Classifier(seed=3))
    torch.manual_seed(2)
    assert torch.equal(weights(Classifier(seed=3)), first)
    assert not torch.equal(weights(Classifier(seed=4)), first)
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")
    assert torch.equal(weights(Classifier()), first)


# Checkpoints


def plain(value: object) -> bool:
    if isinstance(value, dict):
        return type(value) is dict and all(type(key) is str and plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(plain(item) for item in value)
    return value is None or type(value) in (str, int, float, bool)


def test_hyperparameters_in_a_checkpoint_are_plain_and_complete(
    config: MakeConfig, train: Callable[..., Any], tmp_path: Path
) -> None:
    _, result = train(config(model__network__width=[7], seed_everything=5), tmp_path / "run")
    saved = torch.load(result.best_checkpoint, weights_only=True)
    values = saved["hyper_parameters"]
    assert plain(values)
    assert set(values) == {"network", "optimizer", "regularization", "loss", "steps_per_execution", "seed"}
    assert (values["network"]["width"], values["optimizer"]["name"], values["seed"]) == ([7], "sgd", 5)


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_a_checkpoint_loads_in_plain_python(
    config: MakeConfig, train: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    settings = config(model__network__kind=kind, model__network__norm="after")
    settings["model"]["optimizer"] = {"class_path": "torch.optim.RAdam", "init_args": {"lr": 0.01}}
    run, result = train(settings, tmp_path / "run")
    loaded = Classifier.load_from_checkpoint(result.best_checkpoint, weights_only=True).eval()
    images = torch.rand(5, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded(images), run.module.eval()(images))
    assert loaded.optimizer_config == run.module.optimizer_config
    assert loaded.network_config == run.module.network_config


# Construction


def test_groups_may_be_dicts_or_dataclasses() -> None:
    from lit_dl import NetworkConfig, OptimizerConfig

    one = Classifier(NetworkConfig(width=[3]), OptimizerConfig("sgd", lr=0.1), seed=0)
    other = Classifier({"width": [3]}, {"name": "sgd", "lr": 0.1}, seed=0)
    assert one.hparams == other.hparams
    assert torch.equal(weights(one), weights(other))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"network": {"depth": 0}}, "network.depth: must be 1 or more; got 0"),
        ({"network": {"dept": 2}}, "network: 'dept' is not one of kind, depth, "),
        ({"optimizer": {"lr": -1.0}}, "optimizer.lr: must be above 0 and finite; got -1.0"),
        ({"optimizer": {"class_path": "torch.nn.Linear"}}, "optimizer.name: 'torch.nn.Linear' is not a torch.optim"),
        ({"regularization": {"l1": -1.0}}, "regularization.l1: must be 0 or more; got -1.0"),
        ({"loss": "mse"}, "loss: 'mse' is not one of cross_entropy, hinge"),
        ({"steps_per_execution": 0}, "steps_per_execution: must be 1 or more; got 0"),
    ],
)
def test_what_cannot_be_built_is_refused_by_key(values: Config, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Classifier(**values)
    assert str(caught.value).startswith(message)
