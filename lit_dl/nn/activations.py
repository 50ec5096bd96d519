"""Activation functions: a table by name, and the function that builds one.

A new activation is a new row of `ACTIVATIONS`. The tests say which formula they need for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lit_dl.options import FRACTION, Option, at_least, resolve_options


class Maxout(nn.Module):
    """The maximum of `pieces` neighbouring inputs: (batch, units x pieces, ...) -> (batch, units, ...)."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, inputs: Tensor) -> Tensor:
        maxima: Tensor = inputs.unflatten(1, (-1, self.pieces)).max(2).values
        return maxima


class _OneHotOfMaximum(torch.autograd.Function):
    """One-hot encoding of the maximum, with a straight-through gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(inputs: Tensor) -> Tensor:
        return torch.zeros_like(inputs).scatter(1, inputs.argmax(1, keepdim=True), 1.0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Keeps nothing. `torch.func` demands the method."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004 - autograd's signature
        return gradient


class Hardmax(nn.Module):
    """1 for the largest unit of a layer, 0 for the others. The gradient passes as through the identity."""

    is_flat_below_zero: ClassVar[bool] = True
    """Read by `LayerActivity`: a unit that is never above zero counts as dead."""

    def forward(self, inputs: Tensor) -> Tensor:
        return _OneHotOfMaximum.apply(inputs)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Activation:
    """A row of the table of activations.

    Args:
        build: Builds the module from the number of units and the options of the row.
        initializer: The initializer of the layer before it under `initializer: auto`.
        source: What it computes, and where the function and its defaults were published.
        options: Keys of `NetworkConfig` that it takes.
    """

    build: Callable[..., nn.Module]
    initializer: str
    source: str
    options: Mapping[str, Option] = field(default_factory=dict)


def _plain(cls: type[nn.Module], **arguments: Any) -> Callable[[int], nn.Module]:
    """Returns a builder for a class that does not depend on the number of units."""
    return lambda units: cls(**arguments)  # noqa: ARG005 - every builder gets the number of units


def _leaky_relu(units: int, negative_slope: float) -> nn.Module:  # noqa: ARG001
    return nn.LeakyReLU(negative_slope)


def _prelu(units: int, negative_slope: float) -> nn.Module:
    return nn.PReLU(units, init=negative_slope)


def _maxout(units: int, pieces: int) -> nn.Module:  # noqa: ARG001
    return Maxout(pieces)


_GLOROT, _HE, _LECUN = "glorot_uniform", "he_normal", "lecun_normal"

ACTIVATIONS: dict[str, Activation] = {
    "linear": Activation(_plain(nn.Identity), _GLOROT, "the identity: a stack of such layers is one linear map"),
    "sigmoid": Activation(_plain(nn.Sigmoid), _GLOROT, "logistic function, 1 / (1 + exp(-x))"),
    "tanh": Activation(_plain(nn.Tanh), _GLOROT, "hyperbolic tangent"),
    "relu": Activation(_plain(nn.ReLU), _HE, "max(0, x); Nair & Hinton 2010"),
    "leaky_relu": Activation(
        _leaky_relu,
        _HE,
        "max(slope x, x); Maas et al. 2013; PyTorch's slope is 0.01",
        {"negative_slope": Option(0.1, FRACTION)},
    ),
    "prelu": Activation(
        _prelu,
        _HE,
        "as leaky_relu, the slope of each unit learned; He et al. 2015 (arXiv 1502.01852)",
        {"negative_slope": Option(0.25, FRACTION)},
    ),
    "elu": Activation(_plain(nn.ELU), _HE, "x, or exp(x) - 1 below 0; Clevert et al. 2016 (arXiv 1511.07289), alpha 1"),
    "selu": Activation(
        _plain(nn.SELU), _LECUN, "1.0507 elu(x) with alpha 1.6733; Klambauer et al. 2017 (arXiv 1706.02515)"
    ),
    "gelu": Activation(_plain(nn.GELU), _HE, "x times the normal distribution of x; Hendrycks & Gimpel 2016"),
    "silu": Activation(_plain(nn.SiLU), _HE, "x sigmoid(x); Elfwing et al. 2017 (arXiv 1702.03118)"),
    "swish": Activation(_plain(nn.SiLU), _HE, "silu by its other name; Ramachandran et al. 2017 (arXiv 1710.05941)"),
    "softplus": Activation(_plain(nn.Softplus), _HE, "log(1 + exp(x)); Dugas et al. 2001"),
    "mish": Activation(_plain(nn.Mish), _HE, "x tanh(softplus(x)); Misra 2019 (arXiv 1908.08681)"),
    "softmax": Activation(_plain(nn.Softmax, dim=1), _GLOROT, "exp(x) over its sum over the units of the layer"),
    "hardmax": Activation(
        _plain(Hardmax), _GLOROT, "one-hot of the largest unit, straight-through gradient; Bengio et al. 2013"
    ),
    "maxout": Activation(
        _maxout,
        _HE,
        "largest of k linear pieces a unit; Goodfellow et al. 2013 (arXiv 1302.4389)",
        {"pieces": Option(2, at_least(2))},
    ),
}

# The activations after the output layer. The default `None` means the one that the loss needs.
OUTPUT_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "softmax": lambda: nn.Softmax(1),
    "log_softmax": lambda: nn.LogSoftmax(1),
}


def build_activation(name: str, units: int, given: Mapping[str, float | None] | None = None) -> nn.Module:
    """Builds a new module that computes the named activation.

    Args:
        name: A name of the table.
        units: Number of units or channels of the layer.
        given: Values of its options. `None`: the default of the row.

    Raises:
        ConfigError: See `activation_options`.
    """
    options = activation_options(name, given or {})  # before the look-up, because it refuses an unknown name
    return ACTIVATIONS[name].build(units, **options)


def activation_options(name: str, given: Mapping[str, float | None]) -> dict[str, float]:
    """Returns the options of an activation, given or by default.

    Raises:
        ConfigError: See `resolve_options`.
    """
    return resolve_options(ACTIVATIONS, "activation", name, given)
