"""Activation functions by name: one table, one builder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lit_dl.errors import ConfigError, unknown_name


class Maxout(nn.Module):
    """The largest of `pieces` neighbouring inputs: (batch, units x pieces, ...) -> (batch, units, ...)."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, inputs: Tensor) -> Tensor:
        largest: Tensor = inputs.unflatten(1, (-1, self.pieces)).max(2).values
        return largest


class _OneHotOfMaximum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:  # noqa: ARG004 - autograd's signature
        return torch.zeros_like(inputs).scatter_(1, inputs.argmax(1, keepdim=True), 1.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return gradient


class Hardmax(nn.Module):
    """1 for the largest unit of a layer and 0 for the others; the gradient passes as if it were the identity."""

    def forward(self, inputs: Tensor) -> Tensor:
        return _OneHotOfMaximum.apply(inputs)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Activation:
    """One row of the table.

    Args:
        build: Makes the module, from the number of units and the parameters of the row.
        family: The initializer family that `initializer: auto` picks for layers in front of it.
        source: What it computes, and where the function and its default parameters come from.
        parameters: Keys of `NetworkConfig` that it takes, with their defaults.
    """

    build: Callable[..., nn.Module]
    family: str
    source: str
    parameters: Mapping[str, float] = field(default_factory=dict)


def _plain(cls: type[nn.Module], **arguments: Any) -> Callable[[int], nn.Module]:
    return lambda units: cls(**arguments)  # noqa: ARG005 - all rows are given the number of units


def _leaky_relu(units: int, negative_slope: float) -> nn.Module:  # noqa: ARG001
    return nn.LeakyReLU(negative_slope)


def _prelu(units: int, negative_slope: float) -> nn.Module:
    return nn.PReLU(units, init=negative_slope)


def _maxout(units: int, pieces: int) -> nn.Module:  # noqa: ARG001
    return Maxout(pieces)


_SLOPE = "negative_slope"

ACTIVATIONS: dict[str, Activation] = {
    "linear": Activation(_plain(nn.Identity), "glorot", "the identity: a stack of such layers is one linear map"),
    "sigmoid": Activation(_plain(nn.Sigmoid), "glorot", "logistic function, 1 / (1 + exp(-x))"),
    "tanh": Activation(_plain(nn.Tanh), "glorot", "hyperbolic tangent"),
    "relu": Activation(_plain(nn.ReLU), "he", "max(0, x); Nair & Hinton 2010"),
    "leaky_relu": Activation(
        _leaky_relu, "he", "max(slope x, x), slope 0.1; Maas et al. 2013; PyTorch's slope is 0.01", {_SLOPE: 0.1}
    ),
    "prelu": Activation(
        _prelu, "he", "as leaky_relu, the slope of each unit learned; He et al. 2015 (arXiv 1502.01852)", {_SLOPE: 0.25}
    ),
    "elu": Activation(
        _plain(nn.ELU), "he", "x, or exp(x) - 1 below 0; Clevert et al. 2016 (arXiv 1511.07289), alpha 1"
    ),
    "selu": Activation(
        _plain(nn.SELU), "lecun", "1.0507 elu(x) with alpha 1.6733; Klambauer et al. 2017 (arXiv 1706.02515)"
    ),
    "gelu": Activation(_plain(nn.GELU), "he", "x times the normal distribution of x; Hendrycks & Gimpel 2016"),
    "silu": Activation(_plain(nn.SiLU), "he", "x sigmoid(x); Elfwing et al. 2017 (arXiv 1702.03118)"),
    "swish": Activation(_plain(nn.SiLU), "he", "silu by its other name; Ramachandran et al. 2017 (arXiv 1710.05941)"),
    "softplus": Activation(_plain(nn.Softplus), "he", "log(1 + exp(x)); Dugas et al. 2001"),
    "mish": Activation(_plain(nn.Mish), "he", "x tanh(softplus(x)); Misra 2019 (arXiv 1908.08681)"),
    "softmax": Activation(_plain(nn.Softmax, dim=1), "glorot", "exp(x) over its sum over the units of the layer"),
    "hardmax": Activation(
        _plain(Hardmax), "glorot", "one-hot of the largest unit, straight-through gradient; Bengio et al. 2013"
    ),
    "maxout": Activation(
        _maxout, "he", "largest of k linear pieces a unit; Goodfellow et al. 2013 (arXiv 1302.4389)", {"pieces": 2}
    ),
}

# What may follow the output layer; `None`, the default, stands for what the loss takes.
OUTPUT_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "softmax": lambda: nn.Softmax(1),
    "log_softmax": lambda: nn.LogSoftmax(1),
}


def activation(name: str, units: int, given: Mapping[str, float | None] | None = None) -> nn.Module:
    """A new module that computes the named activation.

    Args:
        name: A name of the table.
        units: Units or channels it has to serve.
        given: Values of its parameters; `None`: the row's default.

    Raises:
        ConfigError: As `activation_parameters`.
    """
    parameters = activation_parameters(name, given or {})
    return ACTIVATIONS[name].build(units, **parameters)


def activation_parameters(name: str, given: Mapping[str, float | None]) -> dict[str, float]:
    """The parameters of an activation, given or by default.

    Raises:
        ConfigError: No such activation, a parameter that it does not have, or one out of range.
    """
    if name not in ACTIVATIONS:
        raise unknown_name("activation", name, ACTIVATIONS)
    row = ACTIVATIONS[name]
    chosen = {key: value for key, value in given.items() if value is not None}
    for key, value in chosen.items():
        if key not in row.parameters:
            takers = ", ".join(taker for taker, other in ACTIVATIONS.items() if key in other.parameters)
            raise ConfigError(key, f"{value!r} does not apply to activation={name!r}, but to {takers}; set it to null")
    if not 0 <= chosen.get(_SLOPE, 0.0) < 1:
        raise ConfigError(_SLOPE, f"must be in [0, 1); got {chosen[_SLOPE]!r}")
    if chosen.get("pieces", 2) < 2:
        raise ConfigError("pieces", f"must be 2 or more; got {chosen['pieces']!r}")
    return {**row.parameters, **chosen}
