"""A module of someone else's that chooses its learning-rate schedule by name, and logs the rate of each epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from resumable import Shuffled
from torch import Tensor
from torch.optim import Optimizer
from torch.optim import lr_scheduler as schedulers

Make = Callable[[Optimizer, int, int], Any]


def _chained(optimizer: Optimizer, epochs: int) -> Any:
    parts = [schedulers.ConstantLR(optimizer, 0.5, 2), schedulers.CosineAnnealingLR(optimizer, epochs)]
    return schedulers.ChainedScheduler(parts, optimizer)


def _sequential(optimizer: Optimizer, epochs: int) -> Any:
    parts = [schedulers.LinearLR(optimizer, 0.1, total_iters=1), schedulers.CosineAnnealingLR(optimizer, epochs - 1)]
    return schedulers.SequentialLR(optimizer, parts, milestones=[1])


# By name: (optimizer, epochs, steps) -> scheduler.
SCHEDULES: dict[str, Make] = {
    "cosine": lambda optimizer, epochs, steps: schedulers.CosineAnnealingLR(optimizer, epochs),
    "one cycle": lambda optimizer, epochs, steps: schedulers.OneCycleLR(optimizer, 0.1, total_steps=steps),
    "polynomial": lambda optimizer, epochs, steps: schedulers.PolynomialLR(optimizer, epochs, 2.0),
    "lambda": lambda optimizer, epochs, steps: schedulers.LambdaLR(optimizer, lambda epoch: 1 - epoch / epochs),
    "chained": lambda optimizer, epochs, steps: _chained(optimizer, epochs),
    "sequential": lambda optimizer, epochs, steps: _sequential(optimizer, epochs),
    "steps": lambda optimizer, epochs, steps: schedulers.StepLR(optimizer, 2, 0.3),
    "exponential": lambda optimizer, epochs, steps: schedulers.ExponentialLR(optimizer, 0.83),
}
DEPEND_ON_LENGTH = ["cosine", "one cycle", "polynomial", "lambda", "chained", "sequential"]


class Scheduled(Shuffled):
    """`Shuffled` with a learning-rate schedule.

    Args:
        schedule: Its name.
    """

    def __init__(self, schedule: str) -> None:
        super().__init__()
        self.schedule = schedule

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = SCHEDULES[self.schedule](optimizer, int(self.trainer.max_epochs or 0), steps)
        interval = "step" if self.schedule == "one cycle" else "epoch"
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": interval}}

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        group = self.trainer.optimizers[0].param_groups[0]
        self.log("lr", group["lr"], on_step=False, on_epoch=True)
        self.log("momentum", group["momentum"], on_step=False, on_epoch=True)
        return super().training_step(batch, batch_idx)
