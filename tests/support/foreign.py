"""Modules and data of someone else's, named by import path in the tests: they know nothing of this project."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import PositiveInt
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn


class Served:
    """An iterable that stands for a DataLoader: the same batch some times over."""

    def __init__(self, batch: Any, times: int = 1) -> None:
        self.batch, self.times = batch, times

    def __len__(self) -> int:
        return self.times

    def __iter__(self) -> Iterator[Any]:
        yield from [self.batch] * self.times


class Scripted(LightningModule):
    """Logs `score` from a list, one figure an epoch; its weight goes up by 1 with every epoch.

    Args:
        figures: One an epoch.
        lr: Step of the weight.
    """

    def __init__(self, figures: list[float], lr: float = 1.0) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.weight = nn.Parameter(torch.zeros(()))
        self.figures, self.lr = figures, lr

    def train_dataloader(self) -> Served:
        return Served(torch.zeros(1))

    def val_dataloader(self) -> Served:
        return Served(torch.zeros(1))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return -self.weight

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("score", self.figures[self.current_epoch], batch_size=1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class OftenValidated(Scripted):
    """Logs `score` from a list, one a validation, and `trained`, the epoch's number; four steps of 1 an epoch.

    Args:
        scores: One a validation, over and over.
        lr: Step of the weight.
    """

    def __init__(self, scores: list[float], lr: float = 1.0) -> None:
        super().__init__([], lr)
        self.save_hyperparameters()
        self.scores, self.validations = scores, 0

    def train_dataloader(self) -> Served:
        return Served(torch.zeros(1), 4)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.log("trained", float(self.current_epoch), on_step=False, on_epoch=True, batch_size=1)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("score", self.scores[self.validations % len(self.scores)], batch_size=1)
        self.validations += 1


class Bare(LightningModule):
    """A linear map without an optimizer of its own, and without loaders.

    Args:
        hidden: Inputs of the map.
        name: Any name; no selector of anything.
    """

    def __init__(self, hidden: int = 3, name: str = "bare") -> None:
        super().__init__()
        self.name = name
        self.map = nn.Linear(hidden, 1)
        nn.init.ones_(self.map.weight)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.map(batch).square().mean()
        self.log("my_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch))
        return loss


class Ones(LightningDataModule):
    """Batches of ones.

    Args:
        width: Columns.
        count: Batches.
    """

    def __init__(self, width: int = 3, count: int = 2) -> None:
        super().__init__()
        self.width, self.count = width, count

    def train_dataloader(self) -> Served:
        return Served(torch.ones(4, self.width), self.count)


class Plain(Bare):
    """Takes no argument."""

    def __init__(self) -> None:
        super().__init__()


class PlainOnes(Ones):
    """Takes no argument."""

    def __init__(self) -> None:
        super().__init__()


class Numbers(Bare):
    """Takes numbers of all kinds of types."""

    def __init__(
        self,
        whole: int = 3,
        whole_or_null: int | None = None,
        whole_or_list: int | list[int] = 3,
        positive: PositiveInt = 3,
        fraction: float = 0.5,
        fraction_or_null: float | None = None,
        fraction_or_text: float | str = "auto",
        either: int | float = 3,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()


class Mode(Enum):
    """A choice."""

    FAST = "fast"
    EXACT = "exact"


class Typed(Bare):
    """Takes values that YAML does not know."""

    def __init__(
        self,
        mode: Mode = Mode.FAST,
        folder: Path = Path("a/b"),
        size: tuple[int, int] = (3, 4),
        wait: timedelta = timedelta(seconds=90),
        parts: list[Any] | None = None,
        weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__()


class Refusing(Bare):
    """Refuses its argument with an exception of its own.

    Args:
        licence: Any text.
    """

    def __init__(self, licence: str = "") -> None:
        raise RuntimeError(f"no licence {licence!r}")


def not_a_class() -> Any:
    """No LightningModule."""


class Weights(Callback):
    """Keeps the weights of every epoch."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, Tensor]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epochs.append({name: value.clone() for name, value in pl_module.state_dict().items()})


def scripted(figures: list[float], **groups: dict[str, Any]) -> dict[str, Any]:
    """A foreign module that logs `score` as listed; its weight equals the number of epochs."""
    return {
        "model": {"class_path": "foreign.Scripted", "init_args": {"figures": figures}},
        "trainer": {"max_epochs": len(figures), "accelerator": "cpu"},
        "tracking": {"wandb": "disabled"},
        **groups,
    }
