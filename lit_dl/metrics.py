"""Loss and accuracy of an epoch, summed on the device and read once."""

from __future__ import annotations

import torch
from torch import Tensor

_TOGETHER = 16  # batches counted by one call: on CPU the calls of a small batch cost more than its arithmetic


class EpochMetrics:
    """Means over the samples of an epoch, whatever the sizes of its batches; nothing is read from the device."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forgets everything."""
        self._waiting: list[tuple[Tensor, Tensor, Tensor]] = []
        self._loss: Tensor | float = 0.0
        self._correct: Tensor | int = 0
        self._count = 0

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Counts a batch.

        Args:
            loss: Mean over the batch, scalar.
            logits: (batch, classes).
            labels: (batch,) int64.
        """
        self._waiting.append((loss.detach() * len(labels), logits.detach(), labels))
        self._count += len(labels)
        if len(self._waiting) == _TOGETHER:
            self._settle()

    def _settle(self) -> None:
        if self._waiting:
            losses, logits, labels = zip(*self._waiting, strict=True)
            self._waiting = []
            losses_sum = torch.stack(losses).sum()
            self._loss = self._loss + (losses_sum if losses_sum.device.type == "mps" else losses_sum.double())
            self._correct = self._correct + (torch.cat(logits).argmax(1) == torch.cat(labels)).sum()

    def sums(self) -> Tensor:
        """Loss summed over samples, correct predictions, samples: (3,), to be added up over ranks."""
        self._settle()
        parts = [torch.as_tensor(part) for part in (self._loss, self._correct)]
        return torch.stack([*(part.to(parts[0]) for part in parts), torch.as_tensor(self._count).to(parts[0])])
