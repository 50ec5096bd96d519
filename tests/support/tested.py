"""Modules of someone else's with a test of their own: under any name, of any kind, or none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from foreign import Served
from lightning.pytorch import LightningModule
from torch import Tensor, nn


class NoTest(LightningModule):
    """Logs `score`: the batch less its weight, which goes up by `step` with every epoch. Validation has zeros.

    Args:
        step: Of the weight.
    """

    def __init__(self, step: float = 1.0) -> None:
        super().__init__()
        self.step = step
        self.weight = nn.Parameter(torch.zeros(()))

    def train_dataloader(self) -> Served:
        return Served(torch.zeros(1))

    def val_dataloader(self) -> Served:
        return Served(torch.zeros(1))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return -self.weight

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("score", batch.mean() - self.weight, batch_size=1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.step)


class NoLoader(NoTest):
    """Has a test step, and nothing to test."""

    test_step = NoTest.validation_step


class SameStep(NoLoader):
    """Logs in its test what it logs in its validation. The test has ones."""

    def test_dataloader(self) -> Served:
        return Served(torch.ones(1))


class TwoSets(SameStep):
    """Has two test sets."""

    def test_dataloader(self) -> list[Served]:  # type: ignore[override]
        return [Served(torch.ones(1)), Served(2 * torch.ones(1))]

    def test_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.validation_step(batch, batch_idx)


class OwnNames(SameStep):
    """Logs a metric whose name begins with `test` in its validation too."""

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.log("tested", 7.0, batch_size=1)

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log_dict({"tested": 8.0, "test_acc": 9.0, "owner": 10.0}, batch_size=1)


class Late(SameStep):
    """Makes a layer when it knows its data."""

    def setup(self, stage: str) -> None:
        self.late = nn.Linear(1, 1)


class Objects(SameStep):
    """Keeps objects as hyperparameters."""

    def __init__(self, step: float = 1.0, folder: Path = Path("a"), loss: nn.Module | None = None) -> None:
        super().__init__(step)
        given: dict[str, Callable[..., Any]] = {"call": print, "scale": lambda value: value}
        self.save_hyperparameters({"step": step, "folder": folder, "loss": loss or nn.MSELoss(), **given})


class Raises(SameStep):
    """Fails in its test."""

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        raise RuntimeError("no test <today>\nat all")


class LogsNothing(SameStep):
    """Logs nothing in its test."""

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        """Only looks."""


class NothingToTest(SameStep):
    """Has an empty test set."""

    def test_dataloader(self) -> list[Any]:  # type: ignore[override]
        return []


class Stepwise(SameStep):
    """Logs the number of each batch in its epoch as `batch`.

    Args:
        batches: Of an epoch.
    """

    def __init__(self, batches: int = 3, step: float = 1.0) -> None:
        super().__init__(step)
        self.batches = batches

    def train_dataloader(self) -> Served:
        return Served(torch.zeros(1), self.batches)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.log("batch", float(batch_idx), on_step=True, on_epoch=False, batch_size=1)
        return super().training_step(batch, batch_idx)


class Predicting(NoTest):
    """Predicts twice the values of the batch, from two loaders."""

    def predict_dataloader(self) -> list[Served]:
        return [Served(torch.ones(2), 2), Served(torch.zeros(1))]

    def forward(self, batch: Tensor, dataloader_idx: int = 0) -> Tensor:
        return 2 * batch


class NothingToPredict(NoTest):
    """Can predict, and has nothing to predict."""

    def forward(self, batch: Tensor) -> Tensor:
        return batch


class Unpredicting(NoTest):
    """Has something to predict, and no way to."""

    def predict_dataloader(self) -> Served:
        return Served(torch.ones(2))


class Unpacking(Unpredicting):
    """Has a forward that takes no whole batch."""

    def forward(self, batch: Tensor) -> Tensor:
        raise TypeError("no whole batches")
