"""Batches cut from tensors in memory: no DataLoader, no worker process, no copy but the batch itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor]

_BLOCK_BATCHES = 20  # one gather for as many batches: the fixed cost of an indexing call is that of a small batch


class Minibatches(NamedTuple):
    """Several minibatches for one `training_step`, each with an optimizer step of its own (`steps_per_execution`).

    A named tuple, which DistributedDataParallel hands on as it is; of a list's subclass some versions make a list.
    """

    batches: list[Batch]


@dataclass(frozen=True)
class Scale:
    """Pixels to inputs: (pixel / divisor - mean) / deviation."""

    divisor: float = 1.0
    mean: float = 0.0
    deviation: float = 1.0

    def __call__(self, images: Tensor) -> Tensor:
        """Pixels uint8, or numbers float32 with a scale that changes nothing -> inputs float32 of the same shape."""
        scaled = images.to(torch.float32)
        if self.divisor != 1.0:
            scaled.div_(self.divisor)
        if (self.mean, self.deviation) != (0.0, 1.0):
            scaled.sub_(self.mean).div_(self.deviation)
        return scaled


class Batches:
    """An iterable of (inputs, targets), or of `Minibatches`, that Lightning takes in the place of a DataLoader.

    On several devices each process, a rank, has its share of every batch: rows rank, rank + ranks, rank + 2 ranks and
    so on. So the batches of all devices together are those of one device, and as many.

    Args:
        inputs: (n, channels, height, width) uint8 pixels, or (n, ...) float32, on the device that trains.
        targets: (n,) int64 labels, or (n, outputs) float32, on the same device.
        scale: Pixels to inputs.
        order: Called at the start of an epoch; gives the rows to serve, (m,) int64 on the CPU.
        rows: How many rows `order` gives.
        batch_size: Rows a batch, over all ranks. No batch, the last included, may have fewer rows than there are ranks.
        drop_last: Leave out a last batch that is not full.
        steps: Minibatches an item; 1 gives plain batches.
        rank: Whose shares these are, from 0.
        ranks: How many processes share the batches.
    """

    def __init__(
        self,
        inputs: Tensor,
        targets: Tensor,
        *,
        scale: Scale,
        order: Callable[[], Tensor],
        rows: int,
        batch_size: int,
        drop_last: bool = False,
        steps: int = 1,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.inputs, self.targets, self.scale, self.order = inputs, targets, scale, order
        self.batch_size, self.steps, self.rank, self.ranks = batch_size, steps, rank, ranks
        self.batches = rows // batch_size if drop_last else -(-rows // batch_size)
        self.rows = min(rows, self.batches * batch_size)

    def __len__(self) -> int:
        return -(-self.batches // self.steps)

    def samples_of(self, minibatch: int) -> int:
        """Rows of a minibatch, counted from 0, over all ranks."""
        return min(self.batch_size, self.rows - minibatch * self.batch_size)

    def __iter__(self) -> Iterator[Batch | Minibatches]:
        # A generator: `order` runs at the first `next`, which Lightning calls when the epoch has begun.
        order = self._shares(self.order()[: self.rows]).to(self.inputs.device)
        share = len(range(self.rank, self.batch_size, self.ranks))  # rows of a full batch; the last may have fewer
        step = share * self.steps
        block = step * max(1, _BLOCK_BATCHES // self.steps)
        for start in range(0, len(order), block):
            rows = order[start : start + block]
            inputs, targets = self.scale(self.inputs[rows]), self.targets[rows]
            batches = zip(torch.split(inputs, share), torch.split(targets, share), strict=True)
            if self.steps == 1:
                yield from batches
            else:
                several = list(batches)
                for first in range(0, len(several), self.steps):
                    yield Minibatches(several[first : first + self.steps])

    def _shares(self, order: Tensor) -> Tensor:
        """The rows of this rank's shares, batch after batch."""
        if self.ranks == 1:
            return order
        return order[torch.arange(len(order)) % self.batch_size % self.ranks == self.rank]
