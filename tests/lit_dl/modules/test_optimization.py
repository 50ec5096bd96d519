"""`steps_per_execution` against automatic optimization for every row of every table; learning rates step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from lit_dl.cli.lit_cli import build_run
from lit_dl.config.overlay import overlay
from lit_dl.errors import ConfigError
from lit_dl.modules.classifier import Classifier
from lit_dl.nn.network_config import NetworkConfig
from lit_dl.nn.regularizers import RegularizationConfig
from lit_dl.optim.optimizers import OPTIMIZERS
from lit_dl.optim.schedules import SCHEDULES, ScheduleConfig
from lit_dl.run.run_result import RunLocation

Config = dict[str, Any]
MakeConfig = Callable[..., Config]
Row = dict[str, float]

EPOCHS, STEPS = 3, 12  # 230 samples in batches of 20 and a last one of 10

# What a schedule needs so that it does something within three epochs.
SCHEDULE_VALUES: dict[str, Config] = {
    "staircase": {"model.schedule.step_epochs": 1},
    "plateau": {"model.schedule.patience": 0, "model.optimizer.lr": 5.0, "model.network.activation": "tanh"},
}
REGULARIZATION: dict[str, Config] = {
    "l1": {"model.regularization.l1": 0.003},
    "l2": {"model.regularization.l2": 0.01},
    "form": {
        "model.regularization.form": "textbook",
        "model.regularization.l1": 0.03,
        "model.regularization.l2": 0.3,
    },
    "activity_l1": {"model.regularization.activity_l1": 0.01},
    "activity_l2": {"model.regularization.activity_l2": 0.01},
    "max_norm": {"model.regularization.max_norm": 0.5},
}
NOISE: dict[str, Config] = {
    name: {f"model.network.{name}": 0.3} for name in ("dropout", "input_dropout", "noise", "input_noise")
}
TRAINER: dict[str, Config] = {
    "clip by norm": {"trainer.gradient_clip_val": 0.3},
    "clip by value": {"trainer.gradient_clip_val": 0.02, "trainer.gradient_clip_algorithm": "value"},
    "accumulation": {"trainer.accumulate_grad_batches": 5},
    "accumulation over a validation": {"trainer.accumulate_grad_batches": 4, "trainer.val_check_interval": 5},
    "half the batches": {"trainer.limit_train_batches": 0.5},
    "four batches": {"trainer.limit_train_batches": 4},
}
OTHERS: dict[str, Config] = {
    "batch norm": {"model.network.norm": "before"},
    "keras": {"model.network.norm": "after", "model.optimizer.name": "adam", "model.defaults": "keras"},
    "class path": {"model.optimizer.name": "torch.optim.Rprop"},
    "muon and all": {
        "model.optimizer.name": "muon",
        "model.schedule.name": "one_cycle",
        "model.schedule.warmup_epochs": 0.5,
        "model.network.norm": "after",
        **REGULARIZATION["form"],
        **REGULARIZATION["activity_l1"],
        **REGULARIZATION["max_norm"],
        **NOISE["dropout"],
        **TRAINER["clip by norm"],
        **TRAINER["accumulation"],
    },
}
CASES: dict[str, Config] = {
    **{f"optimizer {name}": {"model.optimizer.name": name} for name in OPTIMIZERS},
    **{f"schedule {name}": {"model.schedule.name": name, **SCHEDULE_VALUES.get(name, {})} for name in SCHEDULES},
    **{
        f"schedule {name} after warm-up": {
            "model.schedule.name": name,
            "model.schedule.warmup_epochs": 0.7,
            **SCHEDULE_VALUES.get(name, {}),
        }
        for name in SCHEDULES
    },
    **REGULARIZATION,
    **NOISE,
    **TRAINER,
    **OTHERS,
}
AS_PLAIN = ("optimizer sgd", "schedule constant")


def trained(config: Config) -> tuple[dict[str, Tensor], list[Row]]:
    """The weights at the end, and the metrics of each epoch."""
    run = build_run(config)
    run.check()
    run.open()
    run.fit()
    return run.module.state_dict(), [without_time(row) for row in run.rows]


def without_time(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "elapsed_s"}


@pytest.fixture(scope="module")
def settings(config: MakeConfig) -> Callable[..., Config]:
    """The config of a case with so many steps per execution."""

    def make(case: Config, steps: int) -> Config:
        return overlay(config(trainer__max_epochs=EPOCHS), {"model.steps_per_execution": steps, **case})

    return make


@pytest.fixture(scope="module")
def plain(settings: Callable[..., Config]) -> list[Row]:
    return trained(settings({}, 10))[1]


def test_every_key_of_the_regularization_has_a_case_here() -> None:
    missing = {field.name for field in fields(RegularizationConfig)} - set(REGULARIZATION)
    assert not missing, f"add {', '.join(missing)} to REGULARIZATION: values that make a difference"


@pytest.mark.parametrize("name", CASES)
def test_steps_per_execution_changes_no_digit(settings: Callable[..., Config], plain: list[Row], name: str) -> None:
    weights, rows = trained(settings(CASES[name], 1))
    for steps in (3, 10) if name in {**TRAINER, **OTHERS} else (10,):
        other_weights, other_rows = trained(settings(CASES[name], steps))
        assert other_rows == rows
        assert all(torch.equal(weights[key], other_weights[key]) for key in weights)
    losses, plain_losses = ([row["train/loss"] for row in each if "train/loss" in row] for each in (rows, plain))
    assert all(math.isfinite(loss) for loss in losses)
    assert (losses == plain_losses) == (name in AS_PLAIN)  # or the case would say nothing


# The learning rate of each step


class Rates(Callback):
    """Keeps the learning rate of every step."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        (rate,) = {group["lr"] for group in optimizer.param_groups}
        self.steps.append(rate)


def rates(config: Config) -> tuple[list[float], list[Row]]:
    """Of every step, and the metrics of each epoch."""
    kept = Rates()
    run = build_run(config, callbacks=[kept])
    run.check()
    run.open()
    run.fit()
    return kept.steps, run.rows


# name: (keys, factor on the learning rate of 0.1 at step 0, 1, ... of 36), from the formulas that the table names
BY_STEP: dict[str, tuple[Config, Callable[[int], float]]] = {
    "inverse_time": ({"decay_rate": 0.5}, lambda step: 1 / (1 + 0.5 * (1 + step // STEPS))),
    "exponential": ({}, lambda step: 0.95 ** (1 + step // STEPS)),
    "inverse_sqrt": ({"factor": 0.7}, lambda step: 0.7 / math.sqrt(1 + step // STEPS)),
    "staircase": ({"step_epochs": 2}, lambda step: 0.5 ** (step // (2 * STEPS))),
    "cosine": ({}, lambda step: (1 + math.cos(math.pi * step / 36)) / 2),
}


@pytest.mark.parametrize("steps", [1, 10])
@pytest.mark.parametrize("name", BY_STEP)
def test_every_step_has_the_rate_of_the_formula(settings: Callable[..., Config], name: str, steps: int) -> None:
    values, factor = BY_STEP[name]
    case = {"model.schedule.name": name, **{f"model.schedule.{key}": value for key, value in values.items()}}
    found, rows = rates(settings(case, steps))
    assert found == pytest.approx([0.1 * factor(step) for step in range(EPOCHS * STEPS)])
    assert [row["lr"] for row in rows] == pytest.approx(found[STEPS - 1 :: STEPS])  # of an epoch's last step


@pytest.mark.parametrize("steps", [1, 10])
def test_warm_up_rises_from_0_and_the_schedule_begins_after_it(settings: Callable[..., Config], steps: int) -> None:
    case = {"model.schedule.name": "cosine", "model.schedule.warmup_epochs": 0.5}
    found, _ = rates(settings(case, steps))
    rise = [0.1 * step / 6 for step in range(6)]
    assert found == pytest.approx(rise + [0.05 * (1 + math.cos(math.pi * step / 30)) for step in range(30)])


@pytest.mark.parametrize("steps", [1, 10])
def test_accumulated_steps_have_the_rate_of_their_last_minibatch(settings: Callable[..., Config], steps: int) -> None:
    case = {"model.schedule.name": "cosine", **TRAINER["accumulation"]}
    found, _ = rates(settings(case, steps))
    last = [STEPS * epoch + minibatch for epoch in range(EPOCHS) for minibatch in (4, 9, 11)]
    assert found == pytest.approx([0.05 * (1 + math.cos(math.pi * step / 36)) for step in last])


def test_every_group_follows_the_schedule_from_its_own_rate(config: MakeConfig) -> None:
    run = build_run(config(model__schedule__name="exponential", trainer__max_epochs=2))
    slow, fast = ({"params": [part], "lr": lr} for part, lr in zip(run.module.parameters(), (0.1, 0.3), strict=False))
    optimizer = torch.optim.SGD([slow, fast])
    run.module.configure_optimizers = lambda: optimizer
    run.open()
    run.fit()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1 * 0.95**2, 0.3 * 0.95**2])


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("steps", [1, 10])
def test_plateau_does_what_pytorchs_scheduler_does(
    settings: Callable[..., Config], steps: int, validated: bool
) -> None:
    case = {
        "model.schedule.name": "plateau",
        "model.schedule.patience": 1,
        "model.schedule.factor": 0.5,
        "model.optimizer.lr": 6.0,  # high enough for losses that rise and fall
        "trainer.max_epochs": 12,
        "early_stopping.patience": None,
        **({} if validated else {"trainer.limit_val_batches": 0, "checkpoint.monitor": "train/loss"}),
    }
    _, rows = rates(settings(case, steps))
    losses = [row["val/loss" if validated else "train/loss"] for row in rows]
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=6.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    expected = []
    for loss in losses:
        expected.append(optimizer.param_groups[0]["lr"])
        scheduler.step(loss)
    assert [row["lr"] for row in rows] == pytest.approx(expected)
    assert len(set(expected)) >= 3  # twice reduced


def test_without_a_schedule_no_rate_is_logged(plain: list[Row]) -> None:
    assert all("lr" not in row for row in plain)


# Going on from a checkpoint


class StopAfter(Callback):
    """Ends the training after an epoch, as an interruption does."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 == self.epoch


RESUMED: dict[str, Config] = {
    "plateau": {"model.schedule.name": "plateau", **SCHEDULE_VALUES["plateau"]},
    "one cycle": {"model.schedule.name": "one_cycle", "model.optimizer.name": "nadam"},
    "muon": {"model.optimizer.name": "muon", "model.schedule.name": "cosine", "model.schedule.warmup_epochs": 2.5},
    "accumulation": {"model.optimizer.name": "adamax", **TRAINER["accumulation"], **NOISE["noise"]},
}


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint need to be provided.*")
@pytest.mark.parametrize("steps", [1, 10])
@pytest.mark.parametrize("name", RESUMED)
def test_a_resumed_run_equals_the_uninterrupted_one(
    settings: Callable[..., Config], tmp_path: Path, name: str, steps: int
) -> None:
    given = settings({**RESUMED[name], "trainer.max_epochs": 5, "early_stopping.patience": None}, steps)
    weights, rows = trained(given)
    part = build_run(given, RunLocation(tmp_path, "part"), callbacks=[StopAfter(3)])
    part.open()
    part.fit()
    torch.manual_seed(99)
    resumed = build_run(given)
    resumed.open()
    last = tmp_path / "checkpoints" / "last.ckpt"
    resumed.trainer.fit(resumed.module, datamodule=resumed.data, ckpt_path=last, weights_only=True)
    assert [without_time(row) for row in resumed.rows] == rows[3:]
    assert all(torch.equal(weights[key], value) for key, value in resumed.module.state_dict().items())


class Unsized(IterableDataset[tuple[Tensor, Tensor]]):
    """Forty samples, of which no loader knows the number."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter([(torch.ones(4), torch.tensor(number % 2)) for number in range(40)])


@pytest.mark.filterwarnings("ignore:.*have no `val_dataloader`.*")
@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
@pytest.mark.parametrize(
    ("schedule", "is_refused"),
    [({"name": "cosine"}, True), ({"warmup_epochs": 0.5}, True), ({"name": "exponential"}, False)],
)
def test_a_rate_that_changes_within_epochs_needs_their_length(schedule: Config, is_refused: bool) -> None:
    network = NetworkConfig(width=[3], input_shape=[4], outputs=2)
    module = Classifier(network=network, schedule=ScheduleConfig(**schedule))
    options: Config = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_epochs=2, accelerator="cpu", enable_model_summary=False, **options)
    loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(Unsized(), batch_size=10)
    if is_refused:
        with pytest.raises(ConfigError, match=r"^model\.schedule: must not change within an epoch"):
            trainer.fit(module, loader)
    else:
        trainer.fit(module, loader)
        assert float(trainer.callback_metrics["lr"]) == pytest.approx(0.001 * 0.95**2)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"model.schedule.name": "cosine"}, "name: 'cosine'"),
        ({"model.schedule.warmup_epochs": 0.5}, "warmup_epochs: 0.5"),
    ],
)
def test_a_schedule_over_epochs_does_not_go_with_a_number_of_steps(
    settings: Callable[..., Config], values: Config, key: str
) -> None:
    run = build_run(settings({**values, "trainer.max_steps": 20}, 1))
    with pytest.raises(ConfigError, match=rf"^model\.schedule\.{key} counts epochs; got trainer\.max_steps=20"):
        run.check()
