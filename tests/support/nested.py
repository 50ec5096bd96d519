"""Modules of someone else's whose arguments are classes: networks, optimizers, schedules, groups of settings."""

# ruff: noqa: B008 - objects as defaults are what is tested
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from foreign import Bare, Ones
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim.lr_scheduler import ConstantLR

from lit_dl.modules.classifier import Classifier


class Net(nn.Linear):
    """A linear map.

    Args:
        hidden: Outputs.
    """

    def __init__(self, hidden: int = 4) -> None:
        super().__init__(3, hidden)


class Wide(Net):
    """Several times as many outputs."""

    def __init__(self, hidden: int = 4, factor: int = 2) -> None:
        super().__init__(hidden * factor)
        self.factor = factor


class Deep(Net):
    """Takes other arguments.

    Args:
        layers: Any number.
    """

    def __init__(self, layers: int = 1) -> None:
        super().__init__()
        self.layers = layers


class Holder(Net):
    """Holds another network."""

    def __init__(self, inner: Net | None = None) -> None:
        super().__init__()
        self.inner = inner


class Optimized(Bare):
    """The signature of Lightning's documentation, with a schedule."""

    def __init__(
        self,
        hidden: int = 3,
        optimizer: OptimizerCallable = torch.optim.SGD,
        scheduler: LRSchedulerCallable = ConstantLR,
    ) -> None:
        super().__init__(hidden)
        self.optimizer, self.scheduler = optimizer, scheduler

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("score", self.map(batch).mean(), batch_size=len(batch))

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        return {"optimizer": optimizer, "lr_scheduler": self.scheduler(optimizer)}


class Built(Bare):
    """Takes networks: one with a default object, one that may be missing, a list."""

    def __init__(
        self, net: Net = Wide(factor=3), second: Net | None = None, nets: list[Net] | None = None, size: int = 1
    ) -> None:
        super().__init__()
        self.net, self.second, self.nets, self.size = net, second, nets, size


class FromDict(Bare):
    """Takes an optimizer as a mapping, whatever is in it."""

    def __init__(self, optimizer: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.given = optimizer


@dataclass
class OptCfg:
    """Settings that happen to be called as ours."""

    name: str = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0


class Settings(Bare):
    """Has groups of settings that are called as ours and mean something else."""

    def __init__(self, optimizer: OptCfg = OptCfg(), schedule: OptCfg = OptCfg(), loss: str = "huber") -> None:
        super().__init__()
        self.optimizer, self.schedule = optimizer, schedule


class OurSubclass(Classifier):
    """A model of ours in a user's file."""


class Sized(Optimized):
    """Needs to know how wide its data is.

    Args:
        width: Columns of the data.
    """

    def __init__(self, width: int, rows: int = 1, net: Net = Wide(factor=3), **more: Any) -> None:
        super().__init__(width, **more)
        self.width, self.rows, self.net = width, rows, net


class Validated(Ones):
    """The batches are validated on, too."""

    @property
    def columns(self) -> int:
        return self.width

    def val_dataloader(self) -> Any:
        return self.train_dataloader()
