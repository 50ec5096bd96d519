"""Modules of someone else's as templates and documentation of Lightning have them: what is called later is annotated
as what it makes, arguments are kept as hyperparameters, attributes of the data size the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from foreign import Bare, Ones
from torch import nn


class Template(Bare):
    """Keeps `functools.partial`s among its hyperparameters and calls them by keyword, as lightning-hydra-template."""

    def __init__(
        self,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler,  # type: ignore[valid-type]
        warmup: torch.optim.lr_scheduler.LRScheduler | None = None,
        others: list[torch.optim.Optimizer] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False, ignore=["net"])
        self.net = net

    def configure_optimizers(self) -> Any:
        optimizer = self.hparams["optimizer"](params=self.trainer.model.parameters())
        if self.hparams["scheduler"] is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self.hparams["scheduler"](optimizer=optimizer)}


class Activated(nn.Module):
    """Takes a function or the name of one, as `torch.nn.TransformerEncoderLayer`."""

    def __init__(self, activation: str | Callable[..., Any] = nn.functional.relu) -> None:
        super().__init__()
        self.activation = activation


class Holding(Bare):
    """Takes any network, and an activation with a function for a default."""

    def __init__(self, net: nn.Module | None = None, activation: str | Callable[..., Any] = nn.functional.relu) -> None:
        super().__init__()
        self.net, self.activation = net, activation


class Sizing(Ones):
    """Knows the number of classes once it is made, and the number of rows once it is set up."""

    def __init__(self, width: int = 3) -> None:
        super().__init__(width)
        self.num_classes = 5

    def setup(self, stage: str) -> None:
        self.num_rows = 7


class Classes(Bare):
    """Needs the number of classes."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class FromDataset(Bare):
    """Is made by a class method that passes on names which its source does not show, as pytorch-forecasting's."""

    def __init__(self, rows: int = 1, size: int = 2) -> None:
        super().__init__()
        self.rows, self.size = rows, size

    @classmethod
    def from_rows(cls, rows: int, **kwargs):  # type: ignore[no-untyped-def]
        given = dict(kwargs)
        given["rows"] = rows
        return cls(**given)
