"""`Batches`: batches cut from tensors in memory, without a DataLoader, worker processes or further copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor]
Augment = Callable[[Tensor, Sequence[tuple[int, int]]], Tensor]

# Batches gathered by one call: the fixed cost of an indexing call is that of a small batch. Fewer of large images.
_BLOCK_BATCHES = 20
_BLOCK_NUMBERS = 2**20


class Minibatches(NamedTuple):
    """Minibatches for one `training_step`, one optimizer step each (`steps_per_execution`).

    A named tuple, because DistributedDataParallel passes it on unchanged. Some versions turn a subclass of list into a
    list.
    """

    batches: list[Batch]


@dataclass(frozen=True)
class Scale:
    """Scales pixels to inputs: (pixel / divisor - mean) / std."""

    divisor: float = 1.0
    mean: float = 0.0
    std: float = 1.0

    def __call__(self, images: Tensor) -> Tensor:
        """Maps pixels (uint8) or numbers (float32) to inputs (float32) of the same shape."""
        scaled = images.to(torch.float32)
        if self.divisor != 1.0:
            scaled.div_(self.divisor)
        if (self.mean, self.std) != (0.0, 1.0):
            scaled.sub_(self.mean).div_(self.std)
        return scaled


class Batches:
    """An iterable of (inputs, targets), or of `Minibatches`, that Lightning accepts instead of a DataLoader.

    On several devices, each process (rank) has its share of every batch: rows rank, rank + world_size, rank + 2
    world_size and so on. So the batches of all devices together are the batches of one device.

    Args:
        inputs: (n, channels, height, width) uint8 pixels, or (n, ...) float32, on the device that trains.
        targets: (n,) int64 labels, or (n, outputs) float32, on the same device.
        scale: Scales pixels to inputs.
        order: Called at the start of an epoch; returns the rows of the epoch in order, (m,) int64 on the CPU.
        rows: Number of rows that `order` returns.
        batch_size: Rows of a batch, over all ranks. Every batch, the last included, must have a row for each rank.
        drop_last: Leave out a last batch that is not full.
        steps: Minibatches in an item; 1 gives plain batches.
        rank: The rank of this process, from 0.
        world_size: Number of processes that share the batches.
        augment: Called with the inputs of this rank in some minibatches, not yet scaled, and the number of each
            minibatch, from 0, with its rows over all ranks; returns the inputs to train on. `None`: as they are.
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
        world_size: int = 1,
        augment: Augment | None = None,
    ) -> None:
        self.inputs = inputs
        self.targets = targets
        self.scale = scale
        self.order = order
        self.batch_size = batch_size
        self.steps = steps
        self.rank = rank
        self.world_size = world_size
        self.augment = augment
        self.batches = rows // batch_size if drop_last else -(-rows // batch_size)
        self.rows = min(rows, self.batches * batch_size)

    def __len__(self) -> int:
        return -(-self.batches // self.steps)

    def samples_of(self, minibatch: int) -> int:
        """Returns the number of rows of a minibatch over all ranks; minibatches are counted from 0."""
        return min(self.batch_size, self.rows - minibatch * self.batch_size)

    def __iter__(self) -> Iterator[Batch | Minibatches]:
        # A generator runs `order` at the first `next`, which Lightning calls after the start of the epoch.
        order = self._shares(self.order()[: self.rows]).to(self.inputs.device)
        share = len(range(self.rank, self.batch_size, self.world_size))  # rows of a full batch; the last may have fewer
        numbers = share * max(1, self.inputs[:1].numel())
        gathered = max(1, min(_BLOCK_BATCHES, _BLOCK_NUMBERS // numbers) // self.steps) * self.steps
        for first in range(0, self.batches, gathered):
            rows = order[first * share : (first + gathered) * share]
            inputs = self._inputs(rows, range(first, min(first + gathered, self.batches)))
            batches = zip(torch.split(inputs, share), torch.split(self.targets[rows], share), strict=True)
            if self.steps == 1:
                yield from batches
            else:
                several = list(batches)
                for start in range(0, len(several), self.steps):
                    yield Minibatches(several[start : start + self.steps])

    def _inputs(self, rows: Tensor, minibatches: range) -> Tensor:
        """Returns the inputs at some rows, which are those of some minibatches."""
        inputs = self.inputs[rows]
        if self.augment is not None:
            inputs = self.augment(inputs, [(number, self.samples_of(number)) for number in minibatches])
        return self.scale(inputs)

    def _shares(self, order: Tensor) -> Tensor:
        """Returns the rows of this rank's shares, batch after batch."""
        if self.world_size == 1:
            return order
        return order[torch.arange(len(order)) % self.batch_size % self.world_size == self.rank]
