"""A sweep from Python: a script that defines its own module, launches a sweep of it, and prints the trials.

From the folder above: `python examples/spirals.py`.
"""

from __future__ import annotations

import math

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import sweeps


class SpiralsNet(LightningModule):
    """Tells two spirals apart; has its data itself.

    Args:
        hidden: Units of the hidden layer.
        lr: Learning rate of Adam.
        activation: Class of the activation function.
    """

    def __init__(self, hidden: int, lr: float = 0.01, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(nn.Linear(2, hidden), activation(), nn.Linear(hidden, 1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        points, labels = batch
        return nn.functional.binary_cross_entropy_with_logits(self.net(points).squeeze(1), labels)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        points, labels = batch
        self.log("error", ((self.net(points).squeeze(1) > 0) != labels.bool()).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(spirals(400), batch_size=50, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(spirals(200), batch_size=200)


def spirals(points: int) -> TensorDataset:
    """Points (points, 2) float32 on two spirals, and which of them each is on, (points,) float32."""
    labels = (torch.arange(points) % 2).float()
    radius = torch.linspace(0.2, 1, points)
    angle = 2 * math.pi * radius + math.pi * labels
    return TensorDataset(radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1), labels)


def main() -> None:
    sweep = sweeps.launch(
        {
            "base": {"model": SpiralsNet, "trainer": {"max_epochs": 5, "accelerator": "cpu"}},
            "objective": {"metric": "error", "direction": "minimize"},
            "n_trials": 4,
            "space": {
                "model.hidden": {"low": 4, "high": 64, "log": True},
                "model.lr": {"low": 1e-3, "high": 1e-1, "log": True},
                "model.activation": {"choices": [nn.ReLU, nn.Tanh]},
            },
            "evaluate_test": "none",
        },
        run_dir="runs/spirals",
        wandb="offline",
    )
    trials = sweep.trials.sort_values("value")
    print(trials[["number", "outcome", "value", "model.hidden", "model.lr", "model.activation"]])
    print("best:", sweep.best.params, sweep.best.checkpoint)


if __name__ == "__main__":  # each worker imports this file for its classes
    main()
