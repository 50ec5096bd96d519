"""Schedules against values worked out by hand, and the rates of real training against both."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from lit_dl.cli.lit_cli import build_run
from lit_dl.errors import ConfigError
from lit_dl.optim.schedules import (
    SCHEDULES,
    Plateau,
    ScheduleConfig,
    check_length,
    check_schedule,
    multiplier,
    schedule_options,
)
from lit_dl.run.run_result import RunLocation

Config = dict[str, Any]
MakeConfig = Callable[..., Config]
Points = dict[float, float]  # epochs elapsed, out of 20 -> what the rate is multiplied by

_45_DEGREES = math.sqrt(0.5)
# By hand. The four textbook formulas count epochs from 1: the epoch from `elapsed` 2.0 to 3.0 is the third.
REFERENCES: dict[str, list[tuple[dict[str, float], Points]]] = {
    "constant": [({}, {0.0: 1.0, 7.3: 1.0, 20.0: 1.0})],
    "inverse_time": [
        ({}, {0.0: 1 / 2, 0.99: 1 / 2, 1.0: 1 / 3, 2.5: 1 / 4, 9.0: 1 / 11, 19.5: 1 / 21}),
        ({"decay_rate": 0.5}, {0.0: 1 / 1.5, 1.0: 1 / 2, 3.9: 1 / 3}),
    ],
    "exponential": [
        ({}, {0.0: 0.95, 0.5: 0.95, 1.0: 0.9025, 2.0: 0.857375, 9.0: 0.95**10}),
        ({"decay_rate": 0.5}, {0.0: 0.5, 1.7: 0.25, 4.0: 0.03125}),
    ],
    "inverse_sqrt": [
        ({}, {0.0: 1.0, 0.9: 1.0, 1.0: _45_DEGREES, 3.5: 1 / 2, 8.0: 1 / 3, 15.0: 1 / 4}),
        ({"factor": 3.0}, {0.0: 3.0, 3.0: 1.5, 8.9: 1.0}),
    ],
    "staircase": [
        ({}, {0.0: 1.0, 9.99: 1.0, 10.0: 0.5, 19.9: 0.5}),
        ({"step_epochs": 3, "factor": 0.1}, {2.9: 1.0, 3.0: 0.1, 6.0: 0.01, 9.5: 0.001, 19.9: 1e-6}),
    ],
    "cosine": [
        ({}, {0.0: 1.0, 5.0: (1 + _45_DEGREES) / 2, 10.0: 0.5, 15.0: (1 - _45_DEGREES) / 2, 20.0: 0.0}),
        ({"final": 0.1}, {0.0: 1.0, 10.0: 0.55, 15.0: 0.1 + 0.9 * (1 - _45_DEGREES) / 2, 20.0: 0.1}),
    ],
    # Up from 1/25 within six epochs, then down to 1/250,000 within fourteen.
    "one_cycle": [
        (
            {},
            {0.0: 0.04, 1.5: 0.04 + 0.96 * (1 - _45_DEGREES) / 2, 3.0: 0.52, 4.5: 0.04 + 0.96 * (1 + _45_DEGREES) / 2},
        ),
        ({}, {6.0: 1.0, 9.5: 4e-6 + (1 - 4e-6) * (1 + _45_DEGREES) / 2, 13.0: (1 + 4e-6) / 2, 20.0: 4e-6}),
    ],
    # What it does depends on the losses: below, against torch's.
    "plateau": [({}, {0.0: 1.0, 7.3: 1.0, 20.0: 1.0})],
}
CASES = [(name, *case) for name, cases in REFERENCES.items() for case in cases]


def test_every_row_has_a_reference_here() -> None:
    missing = sorted(set(SCHEDULES) - set(REFERENCES))
    assert not missing, f"work out some values of {missing} by hand, and add them to REFERENCES"


def test_every_parameter_is_tested_here() -> None:
    for name, row in SCHEDULES.items():
        tested = {key for given, _ in REFERENCES[name] for key in given}
        if name != "plateau":
            assert tested == set(row.options), f"let REFERENCES[{name!r}] have values of {set(row.options)}"


@pytest.mark.parametrize(("name", "given", "points"), CASES)
def test_multipliers_are_those_worked_out_by_hand(name: str, given: dict[str, Any], points: Points) -> None:
    config = ScheduleConfig(name, **given)
    check_schedule(config)
    for elapsed, expected in points.items():
        assert multiplier(config, elapsed, 20.0) == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_every_row_names_its_source() -> None:
    assert all(row.source for row in SCHEDULES.values())


def test_inverse_time_gives_the_published_rates() -> None:
    """Printed in the documents this project grew from, for a rate of 0.2 and a decay of 1 in epochs 1 to 10."""
    config = ScheduleConfig("inverse_time", decay_rate=1.0)
    rates = {epoch: 0.2 * multiplier(config, epoch - 1.0, 10.0) for epoch in (1, 2, 10)}
    assert rates == pytest.approx({1: 0.1, 2: 0.0666667, 10: 0.0181818}, abs=5e-8)


@pytest.mark.parametrize(("name", "steepest"), [("cosine", math.pi / 2 / 20), ("one_cycle", 0.96 * math.pi / 2 / 6)])
def test_smooth_schedules_do_not_jump(name: str, steepest: float) -> None:
    """Half a cosine of height h over n epochs is nowhere steeper than h pi / (2 n)."""
    times = np.linspace(0, 20, 4001)
    values = [multiplier(ScheduleConfig(name), float(time), 20.0) for time in times]
    assert np.abs(np.diff(values)).max() <= steepest * (times[1] - times[0]) * (1 + 1e-9)


# Warm-up


@pytest.mark.parametrize("name", SCHEDULES)
def test_warm_up_rises_linearly_and_the_schedule_then_has_the_epochs_that_are_left(name: str) -> None:
    warm, plain = ScheduleConfig(name, warmup_epochs=2.5), ScheduleConfig(name)
    for elapsed, expected in {0.0: 0.0, 0.5: 0.2, 1.25: 0.5, 2.0: 0.8}.items():
        assert multiplier(warm, elapsed, 20.0) == pytest.approx(expected)
    for elapsed in (2.5, 3.5, 7.25, 10.0, 20.0):
        assert multiplier(warm, elapsed, 20.0) == multiplier(plain, elapsed - 2.5, 17.5)


@pytest.mark.parametrize(("warmup", "max_epochs"), [(2.0, 2), (3.0, 2), (0.5, 0)])
def test_warm_up_must_end_before_training_does(warmup: float, max_epochs: int) -> None:
    with pytest.raises(ConfigError) as caught:
        check_length(ScheduleConfig(warmup_epochs=warmup), max_epochs)
    expected = f"warmup_epochs: must be less than trainer.max_epochs={max_epochs}; got {warmup!r}"
    assert str(caught.value) == expected


def test_a_run_refuses_a_warm_up_as_long_as_its_training(config: MakeConfig) -> None:
    settings = config(model__schedule__warmup_epochs=2.0, trainer__max_epochs=2)
    with pytest.raises(ConfigError) as caught:
        build_run(settings).check()
    assert str(caught.value) == "model.schedule.warmup_epochs: must be less than trainer.max_epochs=2; got 2.0"


@pytest.mark.parametrize("max_epochs", [None, -1])
def test_schedules_over_all_epochs_need_their_number(max_epochs: int | None) -> None:
    for name in ("cosine", "one_cycle"):
        with pytest.raises(ConfigError, match=rf"^name: '{name}' needs .*; got trainer\.max_epochs={max_epochs}$"):
            check_length(ScheduleConfig(name), max_epochs)
    check_length(ScheduleConfig("staircase", warmup_epochs=3), max_epochs)


# Reduce on plateau


def torch_rates(losses: list[float], lr: float, factor: float, patience: int) -> list[float]:
    """The learning rate after each loss, by torch."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=factor, patience=patience)
    rates = []
    for loss in losses:
        optimizer.step()
        scheduler.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_plateau_reduces_when_torch_does(patience: int) -> None:
    draw = np.random.default_rng(0)
    losses = list(1 / np.arange(1, 61) ** 0.3 + draw.normal(scale=0.1, size=60)) + [0.02, 0.019999, 0.02, math.nan] * 3
    plateau, ours = Plateau(0.9, patience), []
    for loss in losses:
        plateau.step(float(loss))
        ours.append(0.8 * plateau.multiplier)
    expected = torch_rates(losses, 0.8, 0.9, patience)
    assert ours == pytest.approx(expected, rel=1e-12)
    assert len(set(expected)) > 3


def test_plateau_by_hand() -> None:
    """Patience 2: the third epoch that improves by no more than one in 10,000 reduces, and counting begins anew."""
    plateau, seen = Plateau(0.1, 2), []
    for loss in (1.0, 0.99995, 1.1, 1.0, 1.0, 0.5, 0.6, 0.6, 0.6, 0.6):
        plateau.step(loss)
        seen.append(plateau.multiplier)
    assert seen == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_plateau_goes_on_from_its_state() -> None:
    losses = [1.0, 0.9, 0.95, 0.94, 0.93, 0.8, 0.9, 0.9, 0.9]
    whole, first = Plateau(0.5, 1), Plateau(0.5, 1)
    for loss in losses:
        whole.step(loss)
    for loss in losses[:4]:
        first.step(loss)
    second = Plateau(0.5, 1)
    second.load_state_dict(first.state_dict())
    for loss in losses[4:]:
        second.step(loss)
    assert second.state_dict() == whole.state_dict()
    assert second.multiplier < 1


# In training: 230 samples in batches of 20, the last of 10, are 12 minibatches an epoch


class StepRecord(Callback):
    """What each optimizer step was about to do: its rate, and the first kernel with its gradient."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.states: list[tuple[np.ndarray, np.ndarray]] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        (group,) = optimizer.param_groups
        kernel = pl_module.weight_matrices[0]
        self.rates.append(group["lr"])
        self.states.append((kernel.detach().double().numpy().copy(), kernel.grad.double().numpy().copy()))


def fitted(settings: Config, location: RunLocation | None = None) -> tuple[StepRecord, list[dict[str, Any]]]:
    """The steps of a run and its rows."""
    record = StepRecord()
    run = build_run(settings, location, callbacks=[record])
    run.check()
    run.open()
    run.fit()
    run.close()
    return record, run.rows


def starts_of_steps(epochs: int, accumulate: int) -> list[float]:
    """Epochs elapsed when each step's last minibatch begins."""
    batches = [number for number in range(12) if (number + 1) % accumulate == 0 or number == 11]
    return [epoch + number / 12 for epoch in range(epochs) for number in batches]


@pytest.mark.parametrize("accumulate", [1, 2, 5])
@pytest.mark.parametrize("steps", [1, 5], ids=["automatic", "fused"])
@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"name": "inverse_time"}, lambda t: 1 / (2 + math.floor(t))),
        ({"name": "staircase", "step_epochs": 2}, lambda t: 1.0 if t < 2 else 0.5),
        ({"name": "cosine", "warmup_epochs": 1.0}, lambda t: t if t < 1 else (1 + math.cos(math.pi * (t - 1) / 2)) / 2),
    ],
    ids=["inverse time", "staircase", "cosine after a warm-up"],
)
def test_training_takes_its_steps_at_these_rates(
    config: MakeConfig, schedule: Config, expected: Callable[[float], float], steps: int, accumulate: int
) -> None:
    settings = config(
        **{f"model__schedule__{key}": value for key, value in schedule.items()},
        model__optimizer__lr=0.4,
        model__steps_per_execution=steps,
        trainer__accumulate_grad_batches=accumulate,
        trainer__max_epochs=3,
    )
    record, rows = fitted(settings)
    rates = [0.4 * expected(time) for time in starts_of_steps(3, accumulate)]
    assert record.rates == pytest.approx(rates, rel=1e-9, abs=1e-12)
    assert [row["lr"] for row in rows] == pytest.approx(rates[len(rates) // 3 - 1 :: len(rates) // 3], rel=1e-6)
    for rate, (before, gradient), (after, _) in zip(rates, record.states, record.states[1:], strict=False):
        np.testing.assert_allclose(after, before - rate * gradient, rtol=1e-5, atol=1e-6)


def test_a_constant_rate_is_left_alone_and_not_logged(config: MakeConfig) -> None:
    record, rows = fitted(config(model__optimizer__lr=0.3))
    assert record.rates == [0.3] * 24
    assert "lr" not in rows[0]


PLATEAU = {
    "model__schedule__name": "plateau",
    "model__schedule__factor": 0.5,
    "model__schedule__patience": 0,
    "model__optimizer__lr": 3.0,  # so large that the loss rises again and again
    "early_stopping__patience": None,
}


@pytest.mark.parametrize("steps", [1, 5], ids=["automatic", "fused"])
def test_plateau_sees_the_validation_loss_of_every_epoch(config: MakeConfig, steps: int) -> None:
    record, rows = fitted(config(**PLATEAU, model__steps_per_execution=steps, trainer__max_epochs=8))
    after = torch_rates([row["val/loss"] for row in rows], 3.0, 0.5, 0)
    assert record.rates == pytest.approx([rate for rate in [3.0, *after[:-1]] for _ in range(12)])
    assert 1 < len(set(after)) < 8


def test_plateau_sees_each_validation_loss_once(config: MakeConfig) -> None:
    """Keras skips an epoch without the loss; the training loss of the first is no measure for the second."""
    record, rows = fitted(config(**PLATEAU, trainer__max_epochs=8, trainer__check_val_every_n_epoch=2))
    after = torch_rates([row["val/loss"] for row in rows[1::2]], 3.0, 0.5, 0)
    rates = [rate for rate in [3.0, *after[:-1]] for _ in range(2)]
    assert record.rates == pytest.approx([rate for rate in rates for _ in range(12)])


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")  # it goes on in its folder
def test_plateau_is_kept_in_a_checkpoint(config: MakeConfig, tmp_path: Path) -> None:
    """Four epochs and four more from the last checkpoint take the steps of eight."""
    whole, _ = fitted(config(**PLATEAU, trainer__max_epochs=8))
    location, record = RunLocation(tmp_path / "run", "run"), StepRecord()
    first, _ = fitted(config(**PLATEAU, trainer__max_epochs=4), location)
    assert first.rates == whole.rates[:48]
    resumed = build_run(config(**PLATEAU, trainer__max_epochs=8), location, callbacks=[record])
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    resumed.trainer.fit(resumed.module, datamodule=resumed.data, ckpt_path=last, weights_only=True)
    assert record.rates == whole.rates[48:]
    assert record.rates[0] < 3.0


# What cannot run


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "cosin"}, "name: 'cosin' is not one of constant, inverse_time, "),
        ({"warmup_epochs": -1.0}, "warmup_epochs: must be 0 or more and finite; got -1.0"),
        ({"warmup_epochs": math.inf}, "warmup_epochs: must be 0 or more and finite; got inf"),
        ({"name": "inverse_time", "decay_rate": 0.0}, "decay_rate: must be above 0 and finite; got 0.0"),
        ({"name": "exponential", "decay_rate": 1.5}, "decay_rate: must be above 0 and at most 1; got 1.5"),
        ({"name": "inverse_sqrt", "factor": -1.0}, "factor: must be above 0 and finite; got -1.0"),
        ({"name": "staircase", "step_epochs": 0}, "step_epochs: must be 1 or more; got 0"),
        ({"name": "plateau", "factor": 1.0}, "factor: must be above 0 and below 1; got 1.0"),
        ({"name": "plateau", "patience": -1}, "patience: must be 0 or more; got -1"),
        ({"name": "cosine", "final": 1.1}, "final: must be in [0, 1]; got 1.1"),
        (
            {"name": "cosine", "decay_rate": 0.5},
            "decay_rate: 0.5 does not apply to name='cosine', but to inverse_time, exponential; set it to null",
        ),
        ({"factor": 0.5}, "factor: 0.5 does not apply to name='constant', but to inverse_sqrt, staircase, plateau; "),
    ],
)
def test_what_cannot_run_is_refused_by_key(values: Config, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_schedule(ScheduleConfig(**values))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "values",
    [
        {"warmup_epochs": 0.5},
        {"name": "exponential", "decay_rate": 1.0},
        {"name": "plateau", "patience": 0},
        {"name": "cosine", "final": 1.0},
        {"name": "inverse_sqrt", "factor": 5.0},
    ],
)
def test_the_boundaries_are_allowed(values: Config) -> None:
    check_schedule(ScheduleConfig(**values))


def test_parameters_are_given_or_by_default() -> None:
    assert schedule_options(ScheduleConfig("staircase", factor=0.1)) == {"factor": 0.1, "step_epochs": 10}
    assert schedule_options(ScheduleConfig("plateau", patience=0)) == {"factor": 0.1, "patience": 0}
