"""Weight initializers by name: one table, one builder.

All draw with zero mean; the table gives the variance from the fans of the weight. For a dense layer `fan_in` is the
number of inputs and `fan_out` the number of units; for a convolution both are multiplied by the kernel's area.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lit_dl.activations import ACTIVATIONS
from lit_dl.errors import unknown_name

Variance = Callable[[int, int], float]


@dataclass(frozen=True)
class Initializer:
    """One row of the table.

    Args:
        variance: Variance of a weight, from (fan_in, fan_out).
        uniform: Draw uniformly from plus or minus sqrt(3 variance); otherwise from a normal distribution.
        source: Where the rule comes from.
    """

    variance: Variance
    uniform: bool
    source: str


_GLOROT = "Glorot & Bengio 2010, eq. 16: variance 2 / (fan_in + fan_out)"
_HE = "He et al. 2015 (arXiv 1502.01852), eq. 10: variance 2 / fan_in"
_LECUN = "LeCun et al. 1998, Efficient BackProp, eq. 16: variance 1 / fan_in"


def _glorot(fan_in: int, fan_out: int) -> float:
    return 2.0 / (fan_in + fan_out)


def _he(fan_in: int, fan_out: int) -> float:  # noqa: ARG001 - all rows take both fans
    return 2.0 / fan_in


def _lecun(fan_in: int, fan_out: int) -> float:  # noqa: ARG001
    return 1.0 / fan_in


INITIALIZERS: dict[str, Initializer] = {
    "glorot_normal": Initializer(_glorot, False, _GLOROT),
    "glorot_uniform": Initializer(_glorot, True, _GLOROT),
    "he_normal": Initializer(_he, False, _HE),
    "he_uniform": Initializer(_he, True, _HE),
    "lecun_normal": Initializer(_lecun, False, _LECUN),
    "lecun_uniform": Initializer(_lecun, True, _LECUN),
}

_AUTO = {"glorot": "glorot_uniform", "he": "he_normal", "lecun": "lecun_normal"}


def choose(name: str, activation: str | None) -> str:
    """The initializer that `name` stands for in front of `activation`.

    Args:
        name: A name of the table, or `auto`: Glorot for none, tanh, sigmoid and softmax; He for ReLU and its variants;
            LeCun for SELU.
        activation: The activation behind the layer; `None` for an output layer.

    Raises:
        ConfigError: No such initializer.
    """
    if name == "auto":
        return _AUTO[ACTIVATIONS[activation].family if activation else "glorot"]
    if name not in INITIALIZERS:
        raise unknown_name("initializer", name, ["auto", *INITIALIZERS])
    return name


def initialize(weight: Tensor, name: str, generator: torch.Generator) -> None:
    """Fills `weight`, (units, inputs) or (channels, inputs, height, width), in place from the generator alone."""
    row = INITIALIZERS[name]
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight)
    variance = row.variance(fan_in, fan_out)
    with torch.no_grad():
        if row.uniform:
            bound = math.sqrt(3.0 * variance)
            weight.uniform_(-bound, bound, generator=generator)
        else:
            weight.normal_(0.0, math.sqrt(variance), generator=generator)
