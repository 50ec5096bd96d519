"""`LayerHealth` against backpropagation by hand; its warning, its file, and what loggers and metrics get."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from sweep_specs import tiny_data
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lit_dl.callbacks.gradient_health import per_weight
from lit_dl.callbacks.layer_health import FIGURES, LayerHealth
from lit_dl.cli.lit_cli import build_run

Config = dict[str, Any]
MakeConfig = Callable[..., Config]
Train = Callable[..., tuple[Any, Any]]
Array = np.ndarray[Any, np.dtype[np.float64]]


def read(run_dir: Path) -> list[dict[str, Any]]:
    """The rows of diagnostics.csv: numbers as numbers, empty cells as None."""
    with (run_dir / "diagnostics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v if k == "layer" else float(v) if v else None for k, v in row.items()} for row in rows]


# Gradients and updates


class ByHand(LightningModule):
    """3-4-2 with tanh in float64, squared error, plain gradient descent; five batches an epoch.

    Args:
        by_itself: Whether it takes its steps by manual optimization, all five in one `training_step`.
    """

    lr = 0.2

    def __init__(self, by_itself: bool = False) -> None:
        super().__init__()
        draw = np.random.default_rng(5)
        self.inputs, self.targets = draw.normal(size=(5, 6, 3)), draw.normal(size=(5, 6, 2))
        self.automatic_optimization = not by_itself
        self.inner = nn.Linear(3, 4, bias=False, dtype=torch.float64)
        self.act = nn.Tanh()
        self.outer = nn.Linear(4, 2, bias=False, dtype=torch.float64)
        for layer in (self.inner, self.outer):
            layer.weight.data = torch.from_numpy(draw.normal(size=tuple(layer.weight.shape)))

    def train_dataloader(self) -> DataLoader[Tensor]:
        batches = [torch.from_numpy(np.concatenate(pair, 1)) for pair in zip(self.inputs, self.targets, strict=True)]
        return DataLoader(batches if self.automatic_optimization else [torch.stack(batches)], batch_size=None)  # type: ignore[arg-type]

    val_dataloader = train_dataloader

    def _loss(self, batch: Tensor) -> Tensor:
        return (self.outer(self.act(self.inner(batch[:, :3]))) - batch[:, 3:]).square().mean()

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor | None:
        if self.automatic_optimization:
            return self._loss(batch)
        optimizer: Any = self.optimizers()
        for part in batch:
            optimizer.zero_grad()
            self.manual_backward(self._loss(part))
            optimizer.step()
        return None

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        for part in batch.reshape(-1, 6, 5):
            self._loss(part)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), self.lr)

    def expected(self, epochs: int) -> tuple[list[Array], list[Array], list[Array]]:
        """Means over the steps of each epoch by backpropagation written out: gradient norms, update ratios, and
        mean and deviation of the hidden units at its end."""
        inner, outer = (layer.weight.detach().numpy().copy() for layer in (self.inner, self.outer))
        found: tuple[list[Array], list[Array], list[Array]] = ([], [], [])
        for _ in range(epochs):
            norms, ratios = [], []
            for x, y in zip(self.inputs, self.targets, strict=True):
                hidden = np.tanh(x @ inner.T)
                error = 2 * (hidden @ outer.T - y) / y.size
                gradients = [((error @ outer) * (1 - hidden**2)).T @ x, error.T @ hidden]
                norms.append([np.sqrt((gradient**2).sum()) for gradient in gradients])
                sizes = [np.sqrt((weight**2).sum()) for weight in (inner, outer)]
                ratios.append([self.lr * norm / size for norm, size in zip(norms[-1], sizes, strict=True)])
                inner, outer = inner - self.lr * gradients[0], outer - self.lr * gradients[1]
            hidden = np.tanh(self.inputs @ inner.T)
            for values, figures in zip(found, (norms, ratios, [[hidden.mean(), hidden.std()]]), strict=True):
                values.append(np.mean(figures, 0))
        return found


def fit(module: LightningModule, health: LayerHealth, epochs: int = 1, **options: Any) -> Trainer:
    off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    settings = {**off, "accelerator": "cpu", "max_epochs": epochs, "num_sanity_val_steps": 0, **options}
    trainer = Trainer(**settings, callbacks=[health])
    trainer.fit(module)
    return trainer


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*smaller than the logging interval.*")
@pytest.mark.parametrize("by_itself", [False, True], ids=["automatic", "manual"])
def test_against_backpropagation_by_hand(tmp_path: Path, by_itself: bool) -> None:
    module = ByHand(by_itself)
    norms, ratios, hidden = module.expected(epochs=2)
    trainer = fit(module, LayerHealth(tmp_path / "diagnostics.csv"), epochs=2)
    rows = read(tmp_path)
    assert [(row["epoch"], row["layer"], row["weights"]) for row in rows] == [
        (1, "inner", 12),
        (1, "outer", 8),
        (2, "inner", 12),
        (2, "outer", 8),
    ]
    for epoch in (0, 1):
        inner, outer = rows[2 * epoch : 2 * epoch + 2]
        np.testing.assert_allclose([inner["gradient_norm"], outer["gradient_norm"]], norms[epoch], rtol=1e-5)
        np.testing.assert_allclose([inner["update_ratio"], outer["update_ratio"]], ratios[epoch], rtol=1e-5)
        np.testing.assert_allclose([inner["activation_mean"], inner["activation_std"]], hidden[epoch], rtol=1e-5)
        assert (inner["dead"], outer["activation_mean"]) == (None, None)  # tanh; and the output is no hidden layer
    ratio = norms[1][0] / math.sqrt(12) / (norms[1][1] / math.sqrt(8))
    assert float(trainer.callback_metrics["gradient_ratio"]) == pytest.approx(ratio, rel=1e-6)


def test_a_step_that_overflowed_counts_for_nothing_and_scaled_gradients_are_unscaled() -> None:
    weight = nn.Parameter(torch.ones(2, 1))
    optimizer = torch.optim.AdamW([weight], fused=True)  # Lightning leaves the scale to such optimizers
    trainer: Any = SimpleNamespace(
        precision_plugin=SimpleNamespace(scaler=torch.amp.GradScaler("cpu", init_scale=1024.0))
    )
    module: Any = nn.ParameterDict({"layer": weight})
    health = LayerHealth(None)
    for entry in (3 * 1024.0, math.inf, 5 * 1024.0):
        weight.grad = torch.tensor([[entry], [0.0]])
        health.on_before_optimizer_step(trainer, module, optimizer)
    (figures,) = dict(health._read()).values()
    assert figures["gradient_norm"] == pytest.approx(4.0)
    health = LayerHealth(None)
    weight.grad = torch.tensor([[3.0], [4.0]])
    health.on_before_optimizer_step(trainer, module, torch.optim.SGD([weight]))  # unscaled by Lightning
    assert dict(health._read())["layer"]["gradient_norm"] == pytest.approx(5.0)


def test_a_layer_belongs_to_the_optimizer_that_moves_it() -> None:
    one, other = nn.Linear(1, 1), nn.Linear(1, 1)
    module: Any = nn.ModuleDict({"generator": one, "critic": other})
    trainer: Any = SimpleNamespace(precision_plugin=SimpleNamespace())
    optimizers = [torch.optim.SGD(layer.parameters()) for layer in (one, other)]
    health = LayerHealth(None)
    for number in range(1, 5):
        one.weight.grad, other.weight.grad = torch.full((1, 1), float(number)), torch.full((1, 1), 10.0 * number)
        health.on_before_optimizer_step(trainer, module, optimizers[number % 2])
    figures = {name: row["gradient_norm"] for name, row in health._read()}
    assert figures == {"generator": 3.0, "critic": 20.0}  # each at the steps of its own optimizer


# The warning


def deep(tmp_path: Path, name: str, initializer: str, **more: Any) -> Config:
    network = {"input_shape": [1, 8, 8], "outputs": 2, "width": 16, "depth": 10, "activation": name, **more}
    return {
        "model": {"network": {**network, "initializer": initializer}, "optimizer": {"name": "sgd", "lr": 0.05}},
        "data": {"data_dir": str(tiny_data(tmp_path / "data")), "dataset": "idx", "batch_size": 20, "validation": 40},
        "trainer": {"max_epochs": 2, "accelerator": "cpu"},
        "tracking": {"wandb": "disabled"},
    }


def test_sigmoid_in_ten_layers_vanishes_and_is_told_once(
    tmp_path: Path, train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    run, _ = train(deep(tmp_path, "sigmoid", "glorot_normal"), tmp_path / "run")
    # Each layer takes away three quarters or more: the derivative of the sigmoid is 1/4 at most.
    assert all(0 < row["gradient_ratio"] < 0.25**8 for row in run.rows)
    told = [record.getMessage() for record in caplog.records if record.name.startswith("lit_dl")]
    assert len(told) == 1
    assert told[0].startswith("vanishing gradients: in epoch 1 those of hidden_1 are ")
    assert "times those of output (root mean square per weight), below 0.001" in told[0]


def test_relu_with_he_in_ten_layers_does_not(tmp_path: Path, train: Train, caplog: pytest.LogCaptureFixture) -> None:
    run, _ = train(deep(tmp_path, "relu", "he_normal"), tmp_path / "run")
    assert all(0.02 < row["gradient_ratio"] < 50 for row in run.rows)
    assert not [record for record in caplog.records if record.name.startswith("lit_dl")]


def test_exploding_gradients_are_told(caplog: pytest.LogCaptureFixture) -> None:
    trainer: Any = SimpleNamespace(current_epoch=0, is_global_zero=True)
    logged: dict[str, float] = {}
    module: Any = SimpleNamespace(log=lambda name, value, **_: logged.update({name: value}))
    kernels = {"first": nn.Parameter(torch.ones(2, 2)), "last": nn.Parameter(torch.ones(8, 2))}
    rows = {"first": {"gradient_norm": 4.2e4}, "last": {"gradient_norm": 40.0}}
    LayerHealth(None)._log_gradient_ratio(trainer, module, kernels, rows)
    assert logged == {"gradient_ratio": pytest.approx(2100.0)}
    assert "exploding gradients: in epoch 1 those of first are 2.1e+03 times" in caplog.text
    assert "above 1000" in caplog.text
    LayerHealth(None)._log_gradient_ratio(trainer, module, kernels, {"first": {}, "last": {}})
    assert math.isnan(logged["gradient_ratio"])  # and not that of the epoch before


# In a run


def hard(config: MakeConfig, **values: Any) -> Config:
    given = {"model__regularization__max_norm": 1.0, "model__optimizer__name": "momentum"}
    return config(**{**given, "model__network__width": [16, 8], "trainer__max_epochs": 3, **values})


@pytest.mark.parametrize("accumulated", [1, 3])
def test_the_same_with_automatic_and_with_manual_optimization(
    config: MakeConfig, train: Train, tmp_path: Path, accumulated: int
) -> None:
    for steps in (1, 4):
        given = {"model__steps_per_execution": steps, "trainer__accumulate_grad_batches": accumulated}
        run, _ = train(hard(config, **given), tmp_path / str(steps))
    assert (tmp_path / "1" / "diagnostics.csv").read_text() == (tmp_path / "4" / "diagnostics.csv").read_text()
    assert not [part for part in run.module.modules() if part._forward_hooks or part._forward_pre_hooks]
    rows = read(tmp_path / "1")
    assert [row["layer"] for row in rows] == ["hidden_1", "hidden_2", "output"] * 3
    assert all(row["gradient_norm"] > 0 and row["update_ratio"] > 0 for row in rows)
    assert all(row["dead"] is not None and row["saturated"] is None for row in rows if row["layer"] != "output")


def test_training_is_the_same_without_them(config: MakeConfig, train: Train, tmp_path: Path) -> None:
    given = {"model__network__dropout": 0.2}
    with_them, _ = train(hard(config, **given), tmp_path / "with")
    without, _ = train(hard(config, **given, diagnostics=False), tmp_path / "without")
    assert not (tmp_path / "without" / "diagnostics.csv").exists()
    ratio = [{"gradient_ratio": row["gradient_ratio"], "elapsed_s": row["elapsed_s"]} for row in with_them.rows]
    assert with_them.rows == [{**row, **more} for row, more in zip(without.rows, ratio, strict=True)]


def test_the_ratio_in_the_metrics_is_that_of_the_file(config: MakeConfig, train: Train, tmp_path: Path) -> None:
    run, result = train(hard(config), tmp_path / "run")
    rows = read(tmp_path / "run")
    for epoch, row in enumerate(run.rows):
        first, _, last = [
            per_weight(line["gradient_norm"], line["weights"]) for line in rows[3 * epoch : 3 * epoch + 3]
        ]
        assert row["gradient_ratio"] == pytest.approx(first / last, rel=1e-4)
    assert result.final["gradient_ratio"] == run.rows[-1]["gradient_ratio"]
    assert not any("/hidden" in name for name in result.final)


def test_loggers_get_every_figure_once_an_epoch(config: MakeConfig) -> None:
    run = build_run(hard(config))
    calls: list[dict[str, float]] = []

    class Logger:
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            calls.append(metrics)

        def __getattr__(self, name: str) -> Any:
            return lambda *args, **kwargs: None

    run.open()
    run.trainer.loggers = [Logger()]  # type: ignore[list-item]
    run.trainer.log_every_n_steps = 1
    run.fit()
    figures = [call for call in calls if "gradient_norm/hidden_1" in call]
    assert [call["epoch"] for call in figures] == [0, 1, 2]  # as Lightning counts; the tracker counts from 1
    names = {f"{figure}/{layer}" for figure in FIGURES for layer in ("hidden_1", "hidden_2")} - {
        "saturated/hidden_1",
        "saturated/hidden_2",
    }
    assert set(figures[0]) == names | {"gradient_norm/output", "update_ratio/output", "epoch"}


def test_without_validation_there_are_no_figures_of_activations(
    config: MakeConfig, train: Train, tmp_path: Path
) -> None:
    given = {"early_stopping__patience": None, "checkpoint__monitor": "train/loss"}
    train(config(trainer__limit_val_batches=0, **given), tmp_path / "run")
    first = read(tmp_path / "run")[0]
    assert first["gradient_norm"] > 0
    assert [first[name] for name in FIGURES[2:]] == [None] * 4


def test_a_frozen_layer_has_no_gradient(config: MakeConfig, tmp_path: Path) -> None:
    from lit_dl.run.run_result import RunLocation

    run = build_run(hard(config, model__regularization__max_norm=None), RunLocation(tmp_path / "run", "run"))
    run.module.network.hidden_1.requires_grad_(False)
    run.open()
    run.fit()
    hidden_1, hidden_2, output = read(tmp_path / "run")[-3:]
    assert (hidden_1["gradient_norm"], hidden_1["update_ratio"]) == (None, None)
    assert hidden_1["activation_mean"] > 0
    ratio = per_weight(hidden_2["gradient_norm"], 128) / per_weight(output["gradient_norm"], 80)
    assert run.rows[-1]["gradient_ratio"] == pytest.approx(ratio, rel=1e-4)


def foreign(name: str, **groups: Any) -> Config:
    return {
        "model": {"class_path": f"foreign.{name}", "init_args": {"figures": [1.0]} if name == "Scripted" else {}},
        **({} if name == "Scripted" else {"data": {"class_path": "foreign.Ones"}}),
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        "tracking": {"wandb": "disabled"},
        **groups,
    }


def test_others_models_have_them_when_asked(train: Train, tmp_path: Path) -> None:
    optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}
    for name, wanted in (("null", None), ("yes", True)):
        run, _ = train(foreign("Bare", optimizer=optimizer, diagnostics=wanted), tmp_path / name)
        assert "gradient_ratio" not in run.rows[0]  # one layer has no ratio
    assert not (tmp_path / "null" / "diagnostics.csv").exists()
    assert [row["layer"] for row in read(tmp_path / "yes")] == ["map"]


def test_a_module_without_kernels_has_nothing_to_show(train: Train, tmp_path: Path) -> None:
    run, _ = train(foreign("Scripted", diagnostics=True), tmp_path / "run")
    assert run.rows[0]["score"] == 1.0
    assert not (tmp_path / "run" / "diagnostics.csv").exists()
