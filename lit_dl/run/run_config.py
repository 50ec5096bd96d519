"""The groups `early_stopping`, `checkpoint` and `tracking` of a run config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lit_dl.errors import ConfigError
from lit_dl.tracking import Mode


@dataclass(frozen=True)
class EarlyStoppingConfig:
    """When to stop before the limits of the Trainer.

    `early_stopping: null`, `early_stopping: false` and `early_stopping: {monitor: null}` switch it off.

    Args:
        monitor: Metric to watch. Left out: `val/loss` for our own models and their subclasses, and no early stopping
            for modules of others. In a sweep, left out: the objective, for our own models, and for modules of others
            if any key of early_stopping is set.
        mode: Whether min or max of the metric is better.
        patience: Epochs without improvement before stopping, 1 or more; where a run validates several times an epoch,
            validations. An epoch that does not log the metric does not count. `None` switches early stopping off.
        min_delta: Least change that counts as an improvement, 0 or more.
        check_finite: Stop at once when the metric is not finite. Otherwise such a value is one without improvement. In
            a sweep that sets the monitor, `divergence` of the sweep decides.
    """

    monitor: str | None = None
    mode: Literal["min", "max"] = "min"
    patience: int | None = 5
    min_delta: float = 0.0
    check_finite: bool = True

    def check(self) -> None:
        """Checks the values.

        Raises:
            ConfigError: A value out of range.
        """
        if self.patience is not None and self.patience < 1:
            raise ConfigError("early_stopping.patience", f"must be 1 or more, or null for none; got {self.patience!r}")
        if self.min_delta < 0:
            raise ConfigError("early_stopping.min_delta", f"must be 0 or more; got {self.min_delta!r}")


@dataclass(frozen=True)
class CheckpointConfig:
    """Which epochs are kept: the best, by its metrics at the end of the epoch, and the last.

    Args:
        monitor: Metric that says which epoch is best. `None`: `val/loss` for our own model; for others only the last
            is kept.
        mode: Whether min or max of the metric is better.
        last: Keep the last epoch beside the best.
    """

    monitor: str | None = None
    mode: Literal["min", "max"] = "min"
    last: bool = True


@dataclass(frozen=True)
class TrackingConfig:
    """Weights & Biases.

    Args:
        wandb: online, offline, disabled; or auto: online when a key is configured and the server answers, else offline.
        project: W&B project. `None`: `WANDB_PROJECT` of the environment, else `lit-sweeps`.
        entity: W&B account or team. `None`: `WANDB_ENTITY` of the environment, else the key's default.
        tags: Labels of the run.
    """

    wandb: Mode = "auto"
    project: str | None = None
    entity: str | None = None
    tags: list[str] | None = None


def validates_within_epochs(trainer: Mapping[str, Any]) -> bool:
    """Returns whether there may be validations elsewhere than at the end of an epoch.

    Args:
        trainer: Arguments of the Trainer, with or without defaults.
    """
    interval = trainer.get("val_check_interval")
    is_whole_epoch = interval is None or (isinstance(interval, float) and interval == 1.0)
    return not is_whole_epoch or trainer.get("check_val_every_n_epoch", 1) is None


def validations_of(trainer: Mapping[str, Any]) -> int | None:
    """Returns the number of validations up to `max_epochs`; epochs where there is at most one validation in each.

    That is the number of the last value that a run reports to a pruner.

    Args:
        trainer: Arguments of the Trainer, with or without defaults.

    Returns:
        `None` where it depends on the number of batches.
    """
    epochs, steps = trainer.get("max_epochs"), trainer.get("max_steps", -1)
    epochs = 20 if epochs is None else epochs
    if epochs < 1 or steps not in (None, -1):
        return None
    if not validates_within_epochs(trainer):
        return int(epochs)
    every, interval = trainer.get("check_val_every_n_epoch", 1), trainer.get("val_check_interval")
    return epochs // every * int(1 / interval) if every is not None and isinstance(interval, float) else None
