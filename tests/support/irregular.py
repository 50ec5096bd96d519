"""Modules of somebody else that log when they like to: not in every epoch, or within epochs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from foreign import OftenValidated, Scripted, Served
from torch import Tensor


class EverySecond(Scripted):
    """Logs `score` in every second epoch, and `val_loss` in each."""

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", 0.5, batch_size=1)
        if (self.current_epoch + 1) % 2 == 0:
            self.log("score", self.figures[self.current_epoch], batch_size=1)


class Endless(OftenValidated):
    """Has training data without an end."""

    def train_dataloader(self) -> Any:
        return Forever()


class Forever:
    """An iterable without an end."""

    def __iter__(self) -> Iterator[Tensor]:
        while True:
            yield torch.zeros(1)


class EarlyNaN(Scripted):
    """Logs `score` as listed and `val_loss`, which is not finite where `breaks` says so.

    Args:
        figures: One an epoch; `None` stands for NaN.
        breaks: Epochs, from 1, whose loss is NaN.
        lr: Step of the weight, and anything to be sampled.
    """

    def __init__(self, figures: list[float | None], breaks: list[int] | None = None, lr: float = 1.0) -> None:
        super().__init__([float("nan") if figure is None else figure for figure in figures], lr)
        self.breaks = breaks or []

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        breaks = self.current_epoch + 1 in self.breaks
        self.log("val_loss", float("nan") if breaks else 0.5, batch_size=1)


class TwoClasses(Scripted):
    """Has a score at the end of a validation that a single batch is too little for."""

    def val_dataloader(self) -> Served:
        return Served(torch.zeros(1), 3)

    def on_validation_epoch_start(self) -> None:
        self.batches = 0

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.batches += 1

    def on_validation_epoch_end(self) -> None:
        if self.batches < 2:
            raise ValueError("only one class is present")
        self.log("score", 0.5)


class WarmsUp(Scripted):
    """Its schedule divides by the epochs after the first, and asks for the number of steps."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr)
        steps, epochs = self.trainer.estimated_stepping_batches, self.trainer.max_epochs
        assert epochs is not None
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=int(steps), pct_start=2 / steps)
        assert 1 / (epochs - 1) > 0
        return [optimizer], [schedule]


class LogsToLogger(Scripted):
    """Writes to its logger."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        assert self.logger is not None
        self.logger.log_metrics({"mine": 1.0}, self.global_step)
        return super().training_step(batch, batch_idx)


class Broken(Scripted):
    """Fails in a function that its step calls."""

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("score", score_of(batch))


class BrokenEnd(Scripted):
    """Has a mistake at the end of a validation, which is one for any number of batches."""

    def on_validation_epoch_end(self) -> None:
        self.log("score", self.no_such_attribute)  # type: ignore[arg-type]


def score_of(batch: Tensor) -> Tensor:
    """Fails."""
    return batch @ torch.zeros(3)


def irregular_sweep(name: str, arguments: dict[str, Any], trainer: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A spec of one of these modules, which minimizes `score`."""
    base = {
        "model": {"class_path": f"irregular.{name}", "init_args": arguments},
        "trainer": {"accelerator": "cpu", **trainer},
        "tracking": {"wandb": "disabled"},
    }
    space = {} if "runs" in changes else {"model.lr": {"choices": [1.0]}}
    objective = {"metric": "score", "direction": "minimize"}
    return {"base": base, "objective": objective, "n_trials": 1, "space": space, **changes}
