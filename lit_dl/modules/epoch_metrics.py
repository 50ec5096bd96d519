"""Loss and score of an epoch, summed on the device and read once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_TOGETHER = 16  # batches counted by one call: on CPU the calls of a small batch cost more than its arithmetic


class EpochMetrics:
    """Means over the samples of an epoch, whatever the sizes of its batches; nothing is read from the device.

    Args:
        score: (outputs (n, ...), targets (n, ...)) -> a scalar summed over the samples, such as correct predictions.
    """

    def __init__(self, score: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.score = score
        self.clear()

    def clear(self) -> None:
        """Forgets everything."""
        self._waiting: list[tuple[Tensor, Tensor, Tensor]] = []
        self._loss: Tensor | float = 0.0
        self._score: Tensor | float = 0.0
        self.count = 0

    def add(self, loss: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Counts a batch.

        Args:
            loss: Mean over the batch, scalar.
            outputs: (batch, n).
            targets: (batch, ...).
        """
        self._waiting.append((loss.detach() * len(targets), outputs.detach(), targets))
        self.count += len(targets)
        if len(self._waiting) == _TOGETHER:
            self._settle()

    def _settle(self) -> None:
        if self._waiting:
            losses, outputs, targets = zip(*self._waiting, strict=True)
            self._waiting = []
            losses_sum = torch.stack(losses).sum()
            self._loss = self._loss + _precise(losses_sum)
            self._score = self._score + _precise(self.score(torch.cat(outputs), torch.cat(targets)))

    def sums(self, device: torch.device | None = None) -> Tensor:
        """Loss and score summed over samples, and samples: (3,), to be added up over ranks; zeros without a sample.

        Args:
            device: Where it shall be. `None`: where the batches were.
        """
        self._settle()
        loss = _precise(torch.as_tensor(self._loss, device=device))
        return torch.stack([loss, *(torch.as_tensor(part).to(loss) for part in (self._score, self.count))])


def _precise(value: Tensor) -> Tensor:
    """As float64, where the device has it."""
    return value.float() if value.device.type == "mps" else value.double()
