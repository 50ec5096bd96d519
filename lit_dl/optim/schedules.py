"""Learning-rate schedules: a table of multipliers by name, warm-up before any of them, and reduce on plateau.

A schedule multiplies the learning rate. Time is counted in epochs of training: `elapsed` is 0 at the first step and 1
at the end of the first epoch. The four textbook formulas change once an epoch and count epochs from 1, so that the
first epoch already has `lr / (1 + decay_rate)`. Cosine, one cycle and warm-up change at every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from lit_dl.errors import ConfigError
from lit_dl.options import NON_NEGATIVE, POSITIVE, Option, Range, at_least, given_options, resolve_options


@dataclass(frozen=True)
class ScheduleConfig:
    """The learning-rate schedule. `None` means the default of the schedule, which stands in its line above.

    Args:
        name: The rule. Epochs count from 1 in the formulas.
        warmup_epochs: Epochs, or a part of one, in which the rate rises linearly from 0, before the schedule begins;
            less than trainer.max_epochs. Source: Goyal et al. 2017 (arXiv 1706.02677), section 2.2.
        decay_rate: Above 0; for exponential at most 1.
        factor: Above 0; for plateau below 1.
        step_epochs: Epochs between two steps of staircase, 1 or more.
        patience: Epochs without improvement before plateau reduces the rate, 0 or more.
        final: Share of lr at which cosine ends, in [0, 1].
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
    """A row of the table of schedules.

    Args:
        multiplier: (options, epochs elapsed, epochs in all) -> factor on the learning rate.
        source: Where the rule was published.
        options: Keys of `ScheduleConfig` that it takes.
        is_finite: Whether it must know the number of epochs.
    """

    multiplier: Multiplier
    source: str
    options: Mapping[str, Option] = field(default_factory=dict)
    is_finite: bool = False


def _epoch(elapsed: float) -> int:
    """Returns the current epoch, counted from 1."""
    return math.floor(elapsed) + 1


def _half_cosine(start: float, end: float, share: float) -> float:
    """Goes from `start` to `end` along half a cosine, as `share` goes from 0 to 1."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


# Share of the steps in which one cycle rises, and its factors at the first and the last step.
_RISE, _START, _END = 0.3, 1 / 25, 1 / 25e4


def _one_cycle(_: Mapping[str, float], elapsed: float, epochs: float) -> float:
    share = elapsed / epochs
    if share < _RISE:
        return _half_cosine(_START, 1.0, share / _RISE)
    return _half_cosine(1.0, _END, (share - _RISE) / (1 - _RISE))


def _unchanged(options: Mapping[str, float], elapsed: float, epochs: float) -> float:  # noqa: ARG001
    return 1.0


SCHEDULES: dict[str, ScheduleRow] = {
    "constant": ScheduleRow(_unchanged, "no change"),
    "inverse_time": ScheduleRow(
        lambda p, elapsed, _: 1 / (1 + p["decay_rate"] * _epoch(elapsed)),
        "lr / (1 + decay_rate epoch); Ng, Deep Learning Specialization, course 2",
        {"decay_rate": Option(1.0, POSITIVE)},
    ),
    "exponential": ScheduleRow(
        lambda p, elapsed, _: p["decay_rate"] ** _epoch(elapsed),
        "lr decay_rate^epoch; the same course",
        {"decay_rate": Option(0.95, Range("above 0 and at most 1", lambda value: 0 < value <= 1))},
    ),
    "inverse_sqrt": ScheduleRow(
        lambda p, elapsed, _: p["factor"] / math.sqrt(_epoch(elapsed)),
        "lr factor / sqrt(epoch); the same course, which calls the factor K",
        {"factor": Option(1.0, POSITIVE)},
    ),
    "staircase": ScheduleRow(
        lambda p, elapsed, _: p["factor"] ** math.floor(elapsed / p["step_epochs"]),
        "lr times factor after every step_epochs; the same course, PyTorch's StepLR",
        {"factor": Option(0.5, POSITIVE), "step_epochs": Option(10, at_least(1))},
    ),
    "cosine": ScheduleRow(
        lambda p, elapsed, epochs: _half_cosine(1.0, p["final"], elapsed / epochs),
        "from lr to final lr along half a cosine; Loshchilov & Hutter 2017 (arXiv 1608.03983), eq. 5, one cycle",
        {"final": Option(0.0, Range("in [0, 1]", lambda value: 0 <= value <= 1))},
        is_finite=True,
    ),
    "one_cycle": ScheduleRow(
        _one_cycle,
        "from lr / 25 to lr in the first 0.3 of the steps, then to lr / 250,000, the momentum as it is; Smith & Topin "
        "2019 (arXiv 1708.07120), with PyTorch's shares",
        is_finite=True,
    ),
    "plateau": ScheduleRow(
        _unchanged,  # its factor depends on the losses: see `Plateau`
        "lr times factor when val/loss has not fallen for patience epochs; PyTorch's and Keras's ReduceLROnPlateau",
        {
            "factor": Option(0.1, Range("above 0 and below 1", lambda value: 0 < value < 1)),
            "patience": Option(10, at_least(0)),
        },
    ),
}


def check_schedule(config: ScheduleConfig) -> None:
    """Refuses a schedule that cannot run.

    Raises:
        ConfigError: An unknown name, a value out of range, or an option that the schedule does not have.
    """
    NON_NEGATIVE.check("warmup_epochs", config.warmup_epochs)
    schedule_options(config)


def check_length(config: ScheduleConfig, max_epochs: int | None, max_steps: int = -1) -> None:
    """Refuses a schedule that does not fit the length of the training.

    Raises:
        ConfigError: A warm-up as long as the training, or a schedule that needs a number of epochs and gets none.
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


def schedule_options(config: ScheduleConfig) -> dict[str, float]:
    """Returns the options of a schedule, given or by default.

    Raises:
        ConfigError: See `resolve_options`.
    """
    return resolve_options(SCHEDULES, "name", config.name, given_options(SCHEDULES, config))


@lru_cache(maxsize=16)
def _options(config: ScheduleConfig) -> Mapping[str, float]:
    """Returns `schedule_options`, resolved once a config: `multiplier` runs at every step."""
    return schedule_options(config)


def multiplier(config: ScheduleConfig, elapsed: float, epochs: float) -> float:
    """Returns the factor on the learning rate, except that of plateau.

    Args:
        config: The schedule.
        elapsed: Epochs of training so far, with the part of the current one; from 0.
        epochs: Epochs of training in all.
    """
    warmup = config.warmup_epochs
    if elapsed < warmup:
        return elapsed / warmup
    return SCHEDULES[config.name].multiplier(_options(config), elapsed - warmup, epochs - warmup)


class Plateau:
    """Reduces a multiplier when a loss has stopped falling, as PyTorch's ReduceLROnPlateau with its defaults.

    Args:
        factor: Factor of a reduction.
        patience: Number of epochs without improvement before a reduction.
    """

    THRESHOLD = 1e-4  # smallest improvement that counts, relative to the best loss

    def __init__(self, factor: float, patience: float) -> None:
        self.factor, self.patience = factor, patience
        self.multiplier, self.best, self.bad_epochs = 1.0, math.inf, 0

    def step(self, loss: float) -> None:
        """Updates the multiplier with the loss of an epoch."""
        if loss < self.best * (1 - self.THRESHOLD):
            self.best, self.bad_epochs = loss, 0
        else:
            self.bad_epochs += 1
        if self.bad_epochs > self.patience:
            self.multiplier *= self.factor
            self.bad_epochs = 0

    def state_dict(self) -> dict[str, Any]:
        """Returns the state for a checkpoint."""
        return {"multiplier": self.multiplier, "best": self.best, "bad_epochs": self.bad_epochs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the state that `state_dict` returned."""
        self.multiplier, self.best, self.bad_epochs = state["multiplier"], state["best"], state["bad_epochs"]
