"""Modules of somebody else that a sweep or a run cannot use."""

import torch
from lightning.pytorch import LightningModule


class NotAModule:
    pass


class Silent(LightningModule):
    """Trains and logs nothing.

    Args:
        units: Inputs.
    """

    def __init__(self, units: int = 4) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(units, 1)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.zeros(4, 4), batch_size=2)

    val_dataloader = train_dataloader

    def training_step(self, batch):
        return self.layer(batch).sum()

    def validation_step(self, batch):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Plain(Silent):
    def __init__(self):
        super().__init__()

    def training_step(self, batch):
        loss = super().training_step(batch)
        self.log("loss", loss)
        return loss


class NoOptimizer(Silent):
    def configure_optimizers(self):
        raise RuntimeError("no optimizer today")


class Odd(Silent):
    def __init__(self, units: int = 4) -> None:
        super().__init__(units)
        if units % 2:
            raise RuntimeError("units must be even")


class Leaves(Silent):
    def __init__(self, units: int = 4) -> None:
        raise SystemExit("good bye")


class Needs(Silent):
    def __init__(self, hidden: int) -> None:
        super().__init__()


class Fails(Silent):
    def training_step(self, batch):
        raise RuntimeError("shapes do not fit")
