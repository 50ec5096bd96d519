"""The groups `early_stopping`, `checkpoint` and `tracking` of a run config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lit_dl.errors import ConfigError
from lit_dl.tracking import Mode


@dataclass(frozen=True)
class EarlyStoppingConfig:
    """When to stop before `trainer.max_epochs`.

    Args:
        monitor: Metric to watch. `None`: `val/loss` for our own model, no early stopping for others.
        mode: Whether min or max of the metric is better.
        patience: Epochs without improvement before stopping, 1 or more. `None` switches early stopping off.
        min_delta: Least change that counts as an improvement, 0 or more.
    """

    monitor: str | None = None
    mode: Literal["min", "max"] = "min"
    patience: int | None = 5
    min_delta: float = 0.0

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


def validates_every_epoch(trainer: Mapping[str, Any]) -> bool:
    """Returns whether there is one validation in each epoch, so that its metrics are new at the end of each."""
    return trainer.get("check_val_every_n_epoch", 1) == 1 and trainer.get("val_check_interval") in (None, 1, 1.0)
