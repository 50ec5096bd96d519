"""`EpochMetrics`: loss and score of an epoch, summed on the device and read once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_BUFFERED_BATCHES = 16  # added by one call: on a CPU, calls for a small batch cost more than its arithmetic


class EpochMetrics:
    """Sums loss and score over the samples of an epoch, for batches of any size. Reads nothing from the device.

    Args:
        score: (outputs (n, ...), targets (n, ...)) -> a scalar summed over the samples, such as correct predictions.
    """

    def __init__(self, score: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.score = score
        self.clear()

    def clear(self) -> None:
        """Starts a new epoch: removes all batches."""
        self._buffer: list[tuple[Tensor, Tensor, Tensor]] = []
        self._loss: Tensor | float = 0.0
        self._score: Tensor | float = 0.0
        self.count = 0

    def add(self, loss: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Adds a batch.

        Args:
            loss: Mean over the batch, scalar.
            outputs: (batch, n).
            targets: (batch, ...).
        """
        self._buffer.append((loss.detach() * len(targets), outputs.detach(), targets))
        self.count += len(targets)
        if len(self._buffer) == _BUFFERED_BATCHES:
            self._flush()

    def _flush(self) -> None:
        """Adds the buffered batches to the sums."""
        if self._buffer:
            losses, outputs, targets = zip(*self._buffer, strict=True)
            self._buffer = []
            losses_sum = torch.stack(losses).sum()
            self._loss = self._loss + _precise(losses_sum)
            self._score = self._score + _precise(self.score(torch.cat(outputs), torch.cat(targets)))

    def sums(self, device: torch.device | None = None) -> Tensor:
        """Returns the sums of loss and score and the number of samples, (3,), to be added up over ranks.

        Args:
            device: The device of the result. `None`: that of the batches.
        """
        self._flush()
        loss = _precise(torch.as_tensor(self._loss, device=device))
        return torch.stack([loss, *(torch.as_tensor(part).to(loss) for part in (self._score, self.count))])


def _precise(value: Tensor) -> Tensor:
    """Converts to float64 where the device has it, else to float32."""
    return value.float() if value.device.type == "mps" else value.double()
