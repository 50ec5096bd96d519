"""What the activations of the hidden layers give over some batches: mean, deviation, dead and saturated units."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import activation as activations
from torch.utils.hooks import RemovableHandle

# Flat below zero, exactly or in the limit: a unit that stays there passes (nearly) no gradient, and is dead.
RECTIFYING = ("ReLU", "ReLU6", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish", "Hardswish", "Hardmax")
# The ends of the range, where they are flat.
BOUNDED = {"Sigmoid": (0.0, 1.0), "Hardsigmoid": (0.0, 1.0), "Tanh": (-1.0, 1.0), "Softsign": (-1.0, 1.0)}
SATURATED_WITHIN = 0.05  # of the range, from either end
_CLASSES = tuple(getattr(activations, name) for name in activations.__all__ if name != "MultiheadAttention")


@dataclass
class _Seen:
    """What a layer's activation gave so far."""

    counts: list[int] = field(default_factory=list)
    """Outputs in each batch."""
    figures: list[Tensor] = field(default_factory=list)
    """Mean, variance and saturated share of each batch, (3,)."""
    highest: Tensor | None = None
    """The highest output of each unit."""


class LayerActivity:
    """Takes figures from the hidden layers' activations while it is open, by forward hooks, all on the device.

    A compiled network runs uncompiled meanwhile.

    An activation is a child named `activation`, as in our own networks, or any module of `torch.nn.modules.activation`;
    it is that of the layer whose kernel was applied last before it. The last layer is not hidden, and has no figures.

    - Mean and standard deviation are over all samples and units (and positions): what Glorot & Bengio 2010
      (Understanding the difficulty of training deep feedforward neural networks, figure 2) draw by layer.
    - Dead is the share of units whose output was never above zero over all samples (and positions), for activations
      that are flat below zero (`RECTIFYING`; of hardmax: units that never were the maximum). Undefined for others:
      a leaky or a tanh unit below zero still learns.
    - Saturated is the share of outputs, over units and samples, within 5 % of the range from either end, for bounded
      activations: sigmoid below 0.05 or above 0.95 and tanh beyond 0.9 on both sides, where their slope is below a
      fifth of its greatest. A softmax saturates as a whole, when one output outweighs all others (Goodfellow et al.
      2016, Deep Learning, 6.2.2.3): the share of samples whose largest output is above 0.95. Undefined for others.

    Args:
        module: The module whose layers are watched.
        kernels: Its kernels by layer name, first to last.
    """

    def __init__(self, module: nn.Module, kernels: Mapping[str, nn.Parameter]) -> None:
        self.seen: dict[str, _Seen] = {}
        self._applied: tuple[str, int] | None = None
        self._closing = ExitStack()
        for handle in self._hooks(module, kernels):
            self._closing.callback(handle.remove)
        if "torch._dynamo" in sys.modules:  # hooks would cut a compiled network into pieces, each compiled anew
            self._closing.enter_context(torch.compiler.set_stance("force_eager"))

    def _hooks(self, module: nn.Module, kernels: Mapping[str, nn.Parameter]) -> Iterator[RemovableHandle]:
        names = {id(kernel): name for name, kernel in kernels.items()}
        last = list(kernels)[-1] if kernels else None
        for path, part in module.named_modules():
            own = [weight for weight in part.parameters(recurse=False) if id(weight) in names]
            if own:
                name = names[id(own[0])]
                # A dense layer has its units along the last axis, a convolution along the second.
                applied = None if name == last else (name, -1 if own[0].ndim == 2 else 1)
                yield part.register_forward_pre_hook(partial(self._apply, applied))
            elif path.split(".")[-1] == "activation" or isinstance(part, _CLASSES):
                yield part.register_forward_hook(self._observe)

    def close(self) -> None:
        """Takes no more figures."""
        self._closing.close()

    def _apply(self, applied: tuple[str, int] | None, *_: Any) -> None:
        self._applied = applied

    def _observe(self, part: nn.Module, _: Any, output: Any) -> None:
        applied, self._applied = self._applied, None
        if applied is None or not isinstance(output, Tensor) or not output.is_floating_point() or output.ndim < 2:
            return
        name, axis = applied
        seen = self.seen.setdefault(name, _Seen())
        output = output.detach().float()
        mean = output.mean()
        variance = (output - mean).square_().mean()  # in two passes: faster here than torch.var_mean, and as exact
        seen.counts.append(output.numel())
        seen.figures.append(torch.stack((mean, variance, _saturated(part, output, axis))))
        if _kind(part) in RECTIFYING:
            highest = output.amax([at for at in range(output.ndim) if at != axis % output.ndim])
            seen.highest = highest if seen.highest is None else torch.maximum(seen.highest, highest)

    def tensors(self) -> list[Tensor]:
        """For each layer of `seen`: figures by batch (batches, 3), and the share of dead units (1,) or nothing (0,)."""
        found = []
        for seen in self.seen.values():
            dead = torch.empty(0) if seen.highest is None else (seen.highest <= 0).float().mean().reshape(1)
            found += [torch.stack(seen.figures), dead.to(seen.figures[0].device)]
        return found

    def rows(self, read: list[Tensor]) -> dict[str, dict[str, float | None]]:
        """The figures of each layer, from its `tensors` as read from the device."""
        pairs = zip(self.seen.items(), read[::2], read[1::2], strict=True)
        return {name: _pooled(seen.counts, figures, dead) for (name, seen), figures, dead in pairs}


def _kind(part: nn.Module) -> str | None:
    """The class of the tables above that a module is of."""
    known = (*RECTIFYING, *BOUNDED, "Hardtanh", "Softmax", "Softmin")
    return next((cls.__name__ for cls in type(part).__mro__ if cls.__name__ in known), None)


def _saturated(part: nn.Module, output: Tensor, axis: int) -> Tensor:
    """The share of saturated outputs; not a number where that means nothing."""
    kind = _kind(part)
    if kind in ("Softmax", "Softmin"):
        return (output.amax(axis) > 1 - SATURATED_WITHIN).float().mean()
    ends = (part.min_val, part.max_val) if kind == "Hardtanh" else BOUNDED.get(kind or "")
    if ends is None:
        return output.new_full((), math.nan)
    low, high = float(ends[0]), float(ends[1])  # type: ignore[arg-type]
    far = (output - (low + high) / 2).abs_() > (0.5 - SATURATED_WITHIN) * (high - low)
    return far.count_nonzero() / output.numel()


def _pooled(counts: list[int], figures: Tensor, dead: Tensor) -> dict[str, float | None]:
    """Mean and deviation over all batches from those of each, weighted by their size."""
    share = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    means, variances, saturated = figures.double().T
    mean = (share * means).sum()
    variance = (share * (variances + (means - mean).square())).sum()
    of_all = (share * saturated).sum()
    return {
        "activation_mean": float(mean),
        "activation_std": float(variance.sqrt()),
        "dead": float(dead) if len(dead) else None,
        "saturated": None if of_all.isnan() else float(of_all),
    }
