"""Learning rate schedules by name: one table of multipliers, warm-up before any of them, and reduce on plateau.

A schedule multiplies the learning rate. Time is counted in epochs of training: `elapsed` is 0 at the first step, 1 when
the first epoch has ended. The four textbook formulas change once an epoch and count epochs from 1, so that the first
epoch already has `lr / (1 + decay_rate)`; cosine, one cycle and warm-up change at every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lit_dl.errors import ConfigError, unknown_name


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate changes. `None` takes the default of the schedule named.

    Args:
        name: How it changes. Epochs count from 1 in the formulas.
        warmup_epochs: Epochs, or a part of one, in which the rate rises linearly from 0, before the schedule begins;
            less than trainer.max_epochs. Source: Goyal et al. 2017 (arXiv 1706.02677), section 2.2.
        decay_rate: Above 0; default 1 for inverse_time, 0.95 for exponential, where it must be at most 1.
        factor: Above 0; default 1 for inverse_sqrt, 0.5 for staircase, 0.1 for plateau, below 1 for the last.
        step_epochs: Epochs between two steps of staircase, 1 or more; default 10.
        patience: Epochs without improvement that plateau waits for, 0 or more; default 10.
        final: Share of lr at which cosine ends, in [0, 1]; default 0.
    """

    name: str = "constant"
    warmup_epochs: float = 0.0
    decay_rate: float | None = None
    factor: float | None = None
    step_epochs: int | None = None
    patience: int | None = None
    final: float | None = None


Multiplier = Callable[[Mapping[str, float], float, float], float]


@dataclass(frozen=True)
class ScheduleRow:
    """One row of the table.

    Args:
        multiplier: (parameters, epochs elapsed, epochs in all) -> what the learning rate is multiplied by.
        source: Where the rule comes from.
        parameters: Keys of `ScheduleConfig` that it takes, with their defaults.
        is_finite: Whether it must know the number of epochs.
    """

    multiplier: Multiplier
    source: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    is_finite: bool = False


def _epoch(elapsed: float) -> int:
    """The epoch, from 1, that is under way."""
    return math.floor(elapsed) + 1


def _between(start: float, end: float, share: float) -> float:
    """From `start` to `end` along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


_RISE, _START, _END = 0.3, 1 / 25, 1 / 25e4


def _one_cycle(_: Mapping[str, float], elapsed: float, epochs: float) -> float:
    share = elapsed / epochs
    if share < _RISE:
        return _between(_START, 1.0, share / _RISE)
    return _between(1.0, _END, (share - _RISE) / (1 - _RISE))


def _unchanged(parameters: Mapping[str, float], elapsed: float, epochs: float) -> float:  # noqa: ARG001
    return 1.0


SCHEDULES: dict[str, ScheduleRow] = {
    "constant": ScheduleRow(_unchanged, "no change"),
    "inverse_time": ScheduleRow(
        lambda p, elapsed, _: 1 / (1 + p["decay_rate"] * _epoch(elapsed)),
        "lr / (1 + decay_rate epoch); Ng, Deep Learning Specialization, course 2",
        {"decay_rate": 1.0},
    ),
    "exponential": ScheduleRow(
        lambda p, elapsed, _: p["decay_rate"] ** _epoch(elapsed),
        "lr decay_rate^epoch; the same course",
        {"decay_rate": 0.95},
    ),
    "inverse_sqrt": ScheduleRow(
        lambda p, elapsed, _: p["factor"] / math.sqrt(_epoch(elapsed)),
        "lr factor / sqrt(epoch); the same course, which calls the factor K",
        {"factor": 1.0},
    ),
    "staircase": ScheduleRow(
        lambda p, elapsed, _: p["factor"] ** math.floor(elapsed / p["step_epochs"]),
        "lr times factor after every step_epochs; the same course, PyTorch's StepLR",
        {"factor": 0.5, "step_epochs": 10},
    ),
    "cosine": ScheduleRow(
        lambda p, elapsed, epochs: _between(1.0, p["final"], elapsed / epochs),
        "from lr to final lr along half a cosine; Loshchilov & Hutter 2017 (arXiv 1608.03983), eq. 5, one cycle",
        {"final": 0.0},
        is_finite=True,
    ),
    "one_cycle": ScheduleRow(
        _one_cycle,
        "from lr / 25 to lr in the first 0.3 of the steps, then to lr / 250,000, the momentum as it is; Smith & Topin "
        "2019 (arXiv 1708.07120), with PyTorch's shares",
        is_finite=True,
    ),
    "plateau": ScheduleRow(
        _unchanged,  # what it does depends on the losses: `Plateau`
        "lr times factor when val/loss has not fallen for patience epochs; PyTorch's and Keras's ReduceLROnPlateau",
        {"factor": 0.1, "patience": 10},
    ),
}
_PARAMETERS = ("decay_rate", "factor", "step_epochs", "patience", "final")


def check_schedule(config: ScheduleConfig) -> None:
    """Refuses what cannot run.

    Raises:
        ConfigError: An unknown name, a value out of range, or a parameter that the schedule does not have.
    """
    if config.name not in SCHEDULES:
        raise unknown_name("name", config.name, SCHEDULES)
    if not 0 <= config.warmup_epochs < math.inf:
        raise ConfigError("warmup_epochs", f"must be 0 or more; got {config.warmup_epochs!r}")
    takes = SCHEDULES[config.name].parameters
    for key in _PARAMETERS:
        value = getattr(config, key)
        if value is None:
            continue
        if key not in takes:
            what = f"which takes {', '.join(takes)}" if takes else "which takes none"
            raise ConfigError(key, f"{value!r} does not apply to name={config.name!r}, {what}; set it to null")
        _check_range(config.name, key, value)


def _check_range(name: str, key: str, value: float) -> None:
    if key in ("decay_rate", "factor") and not 0 < value < math.inf:
        raise ConfigError(key, f"must be above 0 and finite; got {value!r}")
    if key == "decay_rate" and name == "exponential" and value > 1:
        raise ConfigError(key, f"must be at most 1 for name={name!r}; got {value!r}")
    if key == "factor" and name == "plateau" and value >= 1:
        raise ConfigError(key, f"must be below 1 for name={name!r}; got {value!r}")
    if key == "step_epochs" and value < 1:
        raise ConfigError(key, f"must be 1 or more; got {value!r}")
    if key == "patience" and value < 0:
        raise ConfigError(key, f"must be 0 or more; got {value!r}")
    if key == "final" and not 0 <= value <= 1:
        raise ConfigError(key, f"must be in [0, 1]; got {value!r}")


def check_length(config: ScheduleConfig, max_epochs: int | None, max_steps: int = -1) -> None:
    """Refuses a schedule that does not fit the training.

    Raises:
        ConfigError: A warm-up that leaves no epoch, or a schedule over all epochs where their number is open.
    """
    if max_steps != -1 and (SCHEDULES[config.name].is_finite or config.warmup_epochs):
        key = "warmup_epochs" if config.warmup_epochs else "name"
        raise ConfigError(
            key, f"{getattr(config, key)!r} counts epochs; got trainer.max_steps={max_steps}; use trainer.max_epochs"
        )
    if max_epochs is None or max_epochs < 0:
        if SCHEDULES[config.name].is_finite:
            raise ConfigError(
                "name", f"{config.name!r} needs the number of epochs; got trainer.max_epochs={max_epochs!r}"
            )
    elif config.warmup_epochs and config.warmup_epochs >= max_epochs:
        raise ConfigError(
            "warmup_epochs", f"must be less than trainer.max_epochs={max_epochs}; got {config.warmup_epochs!r}"
        )


def schedule_parameters(config: ScheduleConfig) -> dict[str, float]:
    """The parameters of the schedule named, given or by default."""
    defaults = SCHEDULES[config.name].parameters
    return {k: v if (v := getattr(config, k)) is not None else default for k, default in defaults.items()}


def multiplier(config: ScheduleConfig, elapsed: float, epochs: float) -> float:
    """What the learning rate is multiplied by, plateau aside.

    Args:
        config: The schedule.
        elapsed: Epochs of training so far, with the part of the present one; from 0.
        epochs: Epochs of training in all.
    """
    warmup = config.warmup_epochs
    if elapsed < warmup:
        return elapsed / warmup
    return SCHEDULES[config.name].multiplier(schedule_parameters(config), elapsed - warmup, epochs - warmup)


class Plateau:
    """Reduces a multiplier whenever a loss has stopped falling, as PyTorch's ReduceLROnPlateau with its defaults.

    Args:
        factor: What the multiplier is multiplied by.
        patience: Epochs without improvement that are waited for.
    """

    THRESHOLD = 1e-4  # what counts as an improvement, relative to the best

    def __init__(self, factor: float, patience: float) -> None:
        self.factor, self.patience = factor, patience
        self.multiplier, self.best, self.bad_epochs = 1.0, math.inf, 0

    def step(self, loss: float) -> None:
        """Takes the loss of an epoch."""
        if loss < self.best * (1 - self.THRESHOLD):
            self.best, self.bad_epochs = loss, 0
        else:
            self.bad_epochs += 1
        if self.bad_epochs > self.patience:
            self.multiplier *= self.factor
            self.bad_epochs = 0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"multiplier": self.multiplier, "best": self.best, "bad_epochs": self.bad_epochs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        self.multiplier, self.best, self.bad_epochs = state["multiplier"], state["best"], state["bad_epochs"]
