"""`StepSampler`: gradient norms and update ratios of layers at some steps of an epoch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

MAX_SAMPLES = 32  # even; an epoch of more steps keeps 16 to 32 samples, evenly spread


class StepSampler:
    """Samples optimizer steps, spread evenly over an epoch of unknown length.

    Samples every step until there are `MAX_SAMPLES` samples. Then drops every other sample and takes only every second
    step, and so on.

    Args:
        weights: The weights of the layers that one optimizer trains, by layer name.
        stride: Steps from one sample to the next at first. An epoch begins with the stride with which the last ended.
    """

    def __init__(self, weights: dict[str, nn.Parameter], stride: int = 1) -> None:
        self.weights = weights
        self.stride = stride
        self.calls = 0
        self.gradients: list[Tensor] = []
        self.updates: list[Tensor] = []
        self._before: list[Tensor] = []

    def before_step(self, scaler: Any = None) -> None:
        """Takes a sample, if it is due, before an optimizer step.

        Args:
            scaler: The gradient scaler, when gradients are still multiplied by its scale. `None`: they are not.
        """
        self._compare()
        if self.calls % self.stride == 0 and self.weights:
            if len(self.gradients) == MAX_SAMPLES:
                del self.gradients[1::2], self.updates[1::2]
                self.stride *= 2
            self.gradients.append(self._gradient_norms(scaler))
            self._before = [weight.detach().clone() for weight in self.weights.values()]
        self.calls += 1

    def _gradient_norms(self, scaler: Any) -> Tensor:
        weights = list(self.weights.values())
        missing = torch.full((), math.nan, device=weights[0].device)
        norms = torch.stack([missing if weight.grad is None else _norm(weight.grad) for weight in weights])
        if scaler is not None:
            norms = norms / scaler.scale(torch.ones_like(missing))
        # In mixed precision, a step whose gradients overflow is skipped. NaN leaves it out of the mean.
        return _nan_if_infinite(norms)

    def _compare(self) -> None:
        """Computes the update ratios of the last sampled step, from the weights before and after it."""
        if not self._before:
            return
        pairs = list(zip(self._before, self.weights.values(), strict=True))
        sizes = torch.stack([_norm(before) for before, _ in pairs])
        changes = torch.stack([_norm(before.sub_(weight.detach())) for before, weight in pairs])
        self.updates.append(_nan_if_infinite(changes / sizes))  # weights of zero have no ratio
        self._before = []

    def tensors(self) -> list[Tensor]:
        """Returns gradient norms and update ratios on the device, means over the samples, (layers,) each.

        The list is empty when there was no step.
        """
        self._compare()
        return [torch.stack(taken).nanmean(0) for taken in (self.gradients, self.updates)] if self.gradients else []

    def rows(self, read: list[Tensor]) -> dict[str, dict[str, float | None]]:
        """Returns the figures by layer, without layers that have no gradient.

        Args:
            read: The result of `tensors`, in host memory.
        """
        if not read:
            return {}
        columns = zip(self.weights, read[0].tolist(), read[1].tolist(), strict=True)
        return {
            name: {"gradient_norm": gradient, "update_ratio": None if math.isnan(update) else update}
            for name, gradient, update in columns
            if not math.isnan(gradient)
        }


def _norm(tensor: Tensor) -> Tensor:
    values = tensor.coalesce().values() if tensor.is_sparse else tensor
    norm: Tensor = torch.linalg.vector_norm(values, dtype=torch.promote_types(values.dtype, torch.float32))
    return norm


def _nan_if_infinite(values: Tensor) -> Tensor:
    return values.where(values.isfinite(), math.nan)
