"""A LightningModule that is given its optimizer and its scheduler, as Lightning's documentation of LightningCLI has it.

From the folder above: `sweeps launch examples/any_optimizer.yaml`.
"""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import ConstantLR


class MoonsNet(LightningModule):
    """Tells two interleaved half circles apart.

    Args:
        hidden: Units of the hidden layer.
        optimizer: Makes an optimizer of the parameters.
        scheduler: Makes a scheduler of the optimizer; it steps once an epoch.
    """

    def __init__(
        self,
        hidden: int = 16,
        optimizer: OptimizerCallable = torch.optim.Adam,
        scheduler: LRSchedulerCallable = ConstantLR,
    ) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        self.optimizer, self.scheduler = optimizer, scheduler

    def _loss(self, batch: list[Tensor], name: str) -> Tensor:
        points, labels = batch
        loss = nn.functional.binary_cross_entropy_with_logits(self.net(points).squeeze(1), labels)
        self.log(f"{name}_loss", loss, on_epoch=True, on_step=False)
        return loss

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self._loss(batch, "train")

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self._loss(batch, "valid")

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self._loss(batch, "test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.optimizer(self.parameters())
        return {"optimizer": optimizer, "lr_scheduler": self.scheduler(optimizer)}
