"""A fast stand-in for a model: epochs of some milliseconds, in which everything that a resume must restore is used."""

from __future__ import annotations

import time

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class StandIn(LightningModule):
    """A line through points, with dropout and momentum, so that a generator or a buffer that is not restored shows.

    Args:
        lr: Learning rate; above 0.3 or so it grows without bound, and beyond 50 it is infinite within an epoch.
        dropout: Share of inputs dropped.
        pause_s: Seconds that each training step waits, for a kill to hit.
    """

    def __init__(self, lr: float = 0.05, dropout: float = 0.1, pause_s: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Dropout(dropout), nn.Linear(8, 1))
        self.lr, self.pause_s = lr, pause_s

    def _loss(self, batch: list[Tensor]) -> Tensor:
        points, values = batch
        return nn.functional.mse_loss(self.net(points).squeeze(1), values)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        time.sleep(self.pause_s)
        loss = self._loss(batch)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("valid_loss", self._loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.5)


class Points(LightningDataModule):
    """96 noisy points (batch, 8) float32 of a line and their values (batch,) float32; a third for validation."""

    def setup(self, stage: str) -> None:
        random = torch.Generator().manual_seed(0)
        points = torch.randn(96, 8, generator=random)
        values = points @ torch.linspace(-1, 1, 8) + 0.1 * torch.randn(96, generator=random)
        self.train, self.valid = TensorDataset(points[:64], values[:64]), TensorDataset(points[64:], values[64:])

    def train_dataloader(self) -> DataLoader[list[Tensor]]:
        return DataLoader(self.train, 16, shuffle=True)

    def val_dataloader(self) -> DataLoader[list[Tensor]]:
        return DataLoader(self.valid, 32)
