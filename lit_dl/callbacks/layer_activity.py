"""`LayerActivity`: mean, standard deviation, dead and saturated units of the activations of hidden layers."""

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

from lit_dl.nn.network import Network

# Classes of torch that are flat below zero, exactly or in the limit. A unit that stays there passes (nearly) no
# gradient: it is dead. An activation of ours has the attribute `is_flat_below_zero` instead.
FLAT_BELOW_ZERO = ("ReLU", "ReLU6", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish", "Hardswish")
# Classes of torch with a bounded range: its ends, where the function is flat.
BOUNDED = {"Sigmoid": (0.0, 1.0), "Hardsigmoid": (0.0, 1.0), "Tanh": (-1.0, 1.0), "Softsign": (-1.0, 1.0)}
SATURATED_WITHIN = 0.05  # share of the range, from either end
_CLASSES = tuple(getattr(activations, name) for name in activations.__all__ if name != "MultiheadAttention")


@dataclass
class _LayerRecord:
    """Statistics of the activations of a layer so far."""

    counts: list[int] = field(default_factory=list)
    """Number of outputs in each batch."""
    figures: list[Tensor] = field(default_factory=list)
    """Mean, variance and saturated share of each batch, (3,)."""
    maxima: Tensor | None = None
    """The largest output of each unit; `None` for an activation that has no dead units."""


class LayerActivity:
    """Records figures of the activations of hidden layers by forward hooks, on the device, until it is closed.

    A compiled network runs uncompiled meanwhile.

    A `Network` names its activations. In other modules, an activation is any module of `torch.nn.modules.activation`
    and any child named `activation`. It belongs to the layer whose weights were applied last before it. The last layer
    is no hidden layer, and has no figures.

    - Mean and standard deviation are over all samples and units (and positions): what Glorot & Bengio 2010
      (Understanding the difficulty of training deep feedforward neural networks, figure 2) draw by layer.
    - Dead is the share of units whose output was never above zero over all samples (and positions), for activations
      that are flat below zero (of hardmax: units that never were the maximum). Undefined for others: a leaky or a tanh
      unit below zero still learns.
    - Saturated is the share of outputs, over units and samples, within 5 % of the range from either end, for bounded
      activations: sigmoid below 0.05 or above 0.95 and tanh beyond 0.9 on both sides, where their slope is below a
      fifth of its greatest. A softmax saturates as a whole, when one output outweighs all others (Goodfellow et al.
      2016, Deep Learning, 6.2.2.3): the share of samples whose largest output is above 0.95. Undefined for others.

    Args:
        module: The module.
        weights: The weights of its layers by name, first to last.
    """

    def __init__(self, module: nn.Module, weights: Mapping[str, nn.Parameter]) -> None:
        self._records: dict[str, _LayerRecord] = {}
        self._applied: tuple[str, int] | None = None
        self._closing = ExitStack()
        for handle in self._hooks(module, weights):
            self._closing.callback(handle.remove)
        if "torch._dynamo" in sys.modules:  # hooks would cut a compiled network into pieces, each compiled anew
            self._closing.enter_context(torch.compiler.set_stance("force_eager"))

    def _hooks(self, module: nn.Module, weights: Mapping[str, nn.Parameter]) -> Iterator[RemovableHandle]:
        names = {id(weight): name for name, weight in weights.items()}
        last = list(weights)[-1] if weights else None
        activations = _activations_of(module)
        for part in module.modules():
            own = [weight for weight in part.parameters(recurse=False) if id(weight) in names]
            if own:
                name = names[id(own[0])]
                # A dense layer has its units along the last axis, a convolution along the second.
                applied = None if name == last else (name, -1 if own[0].ndim == 2 else 1)
                yield part.register_forward_pre_hook(partial(self._apply, applied))
            elif id(part) in activations:
                yield part.register_forward_hook(self._observe)

    def close(self) -> None:
        """Removes the hooks."""
        self._closing.close()

    def _apply(self, applied: tuple[str, int] | None, *_: Any) -> None:
        """Stores the layer whose weights are applied, and the axis of its units; `None` for the last layer."""
        self._applied = applied

    def _observe(self, part: nn.Module, _: Any, output: Any) -> None:
        """Records the output of an activation for the layer applied last."""
        applied, self._applied = self._applied, None
        if applied is None or not isinstance(output, Tensor) or not output.is_floating_point() or output.ndim < 2:
            return
        name, axis = applied
        record = self._records.setdefault(name, _LayerRecord())
        output = output.detach().float()
        mean = output.mean()
        variance = (output - mean).square_().mean()  # two passes: faster here than torch.var_mean, and as exact
        record.counts.append(output.numel())
        record.figures.append(torch.stack((mean, variance, _saturated(part, output, axis))))
        if _is_flat_below_zero(part):
            maxima = output.amax([other for other in range(output.ndim) if other != axis % output.ndim])
            record.maxima = maxima if record.maxima is None else torch.maximum(record.maxima, maxima)

    def tensors(self) -> list[Tensor]:
        """Returns two tensors for each layer, on the device: the figures by batch, (batches, 3), and the share of dead
        units, (1,), or an empty tensor (0,) where it is undefined."""
        found = []
        for record in self._records.values():
            dead = torch.empty(0) if record.maxima is None else (record.maxima <= 0).float().mean().reshape(1)
            found += [torch.stack(record.figures), dead.to(record.figures[0].device)]
        return found

    def rows(self, read: list[Tensor]) -> dict[str, dict[str, float | None]]:
        """Returns the figures by layer.

        Args:
            read: The result of `tensors`, in host memory.
        """
        pairs = zip(self._records.items(), read[::2], read[1::2], strict=True)
        return {name: _pooled(record.counts, figures, dead) for (name, record), figures, dead in pairs}


def _activations_of(module: nn.Module) -> set[int]:
    """Returns the ids of the activations in a module."""
    found = {id(part) for path, part in module.named_modules() if _is_activation(path, part)}
    for network in (part for part in module.modules() if isinstance(part, Network)):
        found -= {id(part) for part in network.modules()}
        found |= {id(part) for part in network.activations().values()}
    return found


def _is_activation(path: str, part: nn.Module) -> bool:
    return path.split(".")[-1] == "activation" or isinstance(part, _CLASSES)


def _is_flat_below_zero(part: nn.Module) -> bool:
    return getattr(part, "is_flat_below_zero", _torch_class(part) in FLAT_BELOW_ZERO)


def _torch_class(part: nn.Module) -> str | None:
    """Returns the name of the class in the tables above that a module has or inherits."""
    known = (*FLAT_BELOW_ZERO, *BOUNDED, "Hardtanh", "Softmax", "Softmin")
    return next((cls.__name__ for cls in type(part).__mro__ if cls.__name__ in known), None)


def _saturated(part: nn.Module, output: Tensor, axis: int) -> Tensor:
    """Returns the share of saturated outputs; NaN where it is undefined."""
    kind = _torch_class(part)
    if kind in ("Softmax", "Softmin"):
        return (output.amax(axis) > 1 - SATURATED_WITHIN).float().mean()
    ends = (part.min_val, part.max_val) if kind == "Hardtanh" else BOUNDED.get(kind or "")
    if ends is None:
        return output.new_full((), math.nan)
    low, high = float(ends[0]), float(ends[1])  # type: ignore[arg-type]
    far = (output - (low + high) / 2).abs_() > (0.5 - SATURATED_WITHIN) * (high - low)
    return far.count_nonzero() / output.numel()


def _pooled(counts: list[int], figures: Tensor, dead: Tensor) -> dict[str, float | None]:
    """Returns the figures over all batches, from those of each batch weighted by its size."""
    share = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    means, variances, saturated = figures.double().T
    mean = (share * means).sum()
    variance = (share * (variances + (means - mean).square())).sum()
    all_saturated = (share * saturated).sum()
    return {
        "activation_mean": float(mean),
        "activation_std": float(variance.sqrt()),
        "dead": float(dead) if len(dead) else None,
        "saturated": None if all_saturated.isnan() else float(all_saturated),
    }
