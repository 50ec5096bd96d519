"""A LightningModule and a LightningDataModule as anyone has them: nothing here knows of sweeps.

From the folder above: `sweeps launch examples/two_moons.yaml`.
"""

from __future__ import annotations

import math

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class MoonsNet(LightningModule):
    """Tells two interleaved half circles apart.

    Args:
        hidden: Units of the two hidden layers.
        lr: Learning rate of AdamW.
        dropout: Share of hidden outputs dropped.
    """

    def __init__(self, hidden: int, lr: float = 0.01, dropout: float = 0.0) -> None:
        super().__init__()
        self.save_hyperparameters()
        layers = [nn.Linear(2, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Linear(hidden, 1))

    def _loss(self, batch: list[Tensor], name: str) -> Tensor:
        points, labels = batch
        logits = self.net(points).squeeze(1)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels)
        error = ((logits > 0) != labels.bool()).float().mean()
        self.log_dict({f"{name}_loss": loss, f"{name}_error": error}, on_epoch=True, on_step=False)
        return loss

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self._loss(batch, "train")

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self._loss(batch, "valid")

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self._loss(batch, "test")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.hparams["lr"])


class MoonsData(LightningDataModule):
    """Points (batch, 2) float32 and labels (batch,) float32 of two noisy half circles.

    Args:
        points: Number of points; a fifth each for validation and test.
        noise: Standard deviation of the noise.
        batch_size: Points a batch.
    """

    def __init__(self, points: int = 1000, noise: float = 0.15, batch_size: int = 32) -> None:
        super().__init__()
        self.points, self.noise, self.batch_size = points, noise, batch_size

    def setup(self, stage: str) -> None:
        random = torch.Generator().manual_seed(0)
        labels = (torch.arange(self.points) % 2).float()
        angle = torch.rand(self.points, generator=random) * math.pi
        circle = torch.stack([angle.cos(), angle.sin()], 1)
        moons = torch.where(labels[:, None] == 0, circle, torch.tensor([1.0, 0.5]) - circle)
        noisy = moons + self.noise * torch.randn(self.points, 2, generator=random)
        self.parts = random_split(TensorDataset(noisy, labels), [0.6, 0.2, 0.2], random)

    def train_dataloader(self) -> DataLoader[list[Tensor]]:
        return DataLoader(self.parts[0], self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[list[Tensor]]:
        return DataLoader(self.parts[1], 200)

    def test_dataloader(self) -> DataLoader[list[Tensor]]:
        return DataLoader(self.parts[2], 200)
