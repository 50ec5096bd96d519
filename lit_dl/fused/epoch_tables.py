"""`EpochTables`: what the steps of an epoch look up: the rows of each batch, and the factors on the learning rates.

All of it is known when an epoch starts. So a step needs no number from Python, only its place in these tables.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lit_dl.fused.member import Member


class EpochTables:
    """The batches and learning rates of one epoch of each member.

    Args:
        member: Any member; all have as many batches, of the same sizes.
        members: Number of members.
        device: The device that trains.
    """

    def __init__(self, member: Member, members: int, device: torch.device) -> None:
        data = member.data
        rows, self.batch_size = len(data.train_rows), data.batch_size
        self.full, rest = divmod(rows, self.batch_size)
        self.rest = 0 if data.drop_last else rest
        self.steps = self.full + bool(self.rest)
        self.rows = torch.zeros(members, self.full, self.batch_size, dtype=torch.int64, device=device)
        self.last_rows = torch.zeros(members, self.rest, dtype=torch.int64, device=device)
        self.factors = torch.ones(members, self.steps, dtype=torch.float64, device=device)
        self.at = torch.zeros(1, dtype=torch.int64, device=device)
        """The current step, from 0."""

    def write(self, place: int, member: Member, epoch: int) -> list[float]:
        """Fills the tables of a member for one of its epochs, counted from 1. Returns the factors."""
        order = member.data.order(epoch)
        end = self.full * self.batch_size
        self.rows[place] = order[:end].view(self.full, self.batch_size)
        self.last_rows[place] = order[end : end + self.rest]
        factors = [1.0] * self.steps
        if member.module.is_scheduled:
            starts = (epoch - 1 + step / self.steps for step in range(self.steps))
            factors = [member.module.lr_factor(elapsed, float(member.max_epochs)) for elapsed in starts]
        self.factors[place] = torch.tensor(factors, dtype=torch.float64)
        return factors

    def batch(self) -> Tensor:
        """Returns the rows (members, batch) of the current step, which is one with a full batch."""
        return self.rows.index_select(1, self.at).squeeze(1)

    def factor(self) -> Tensor:
        """Returns the factors (members,) of the current step."""
        return self.factors.index_select(1, self.at).squeeze(1)

    def tensors(self) -> dict[str, Tensor]:
        """Returns all that belongs to members, by name."""
        return {"rows": self.rows, "last_rows": self.last_rows, "factors": self.factors}
