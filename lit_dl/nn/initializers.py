"""Weight initializers by name: one table, one builder.

All draw with zero mean. The scaled ones take their variance from the fans of the weight: for a dense layer `fan_in` is
the number of inputs and `fan_out` the number of units; for a convolution both are multiplied by the kernel's area.

`*_normal` is the plain normal distribution of the papers and of PyTorch. `*_truncated_normal` is what Keras (and JAX)
call `*_normal`: cut off at two deviations, and widened so that the variance is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lit_dl.errors import unknown_name
from lit_dl.nn.activations import ACTIVATIONS

Fill = Callable[[Tensor, torch.Generator], object]
Draw = Callable[[Tensor, float, torch.Generator], object]

SMALL = 0.01  # the deviation of small_normal
# Deviation of a standard normal cut off at plus and minus 2: what Keras's VarianceScaling divides by.
TRUNCATED_DEVIATION = 0.87962566103423978


@dataclass(frozen=True)
class Initializer:
    """One row of the table.

    Args:
        fill: Fills a weight, (units, inputs) or (channels, inputs, height, width), in place from the generator alone.
        source: What it draws, and where the rule comes from.
    """

    fill: Fill
    source: str


def _uniform(weight: Tensor, variance: float, generator: torch.Generator) -> None:
    bound = math.sqrt(3.0 * variance)
    weight.uniform_(-bound, bound, generator=generator)


def _normal(weight: Tensor, variance: float, generator: torch.Generator) -> None:
    weight.normal_(0.0, math.sqrt(variance), generator=generator)


def _truncated_normal(weight: Tensor, variance: float, generator: torch.Generator) -> None:
    deviation = math.sqrt(variance) / TRUNCATED_DEVIATION
    nn.init.trunc_normal_(weight, 0.0, deviation, -2 * deviation, 2 * deviation, generator=generator)


_DRAWS: dict[str, Draw] = {"normal": _normal, "uniform": _uniform, "truncated_normal": _truncated_normal}
_VARIANCES: dict[str, tuple[Callable[[int, int], float], str]] = {
    "glorot": (
        lambda fan_in, fan_out: 2.0 / (fan_in + fan_out),
        "2 / (fan_in + fan_out); Glorot & Bengio 2010, eq. 16",
    ),
    "he": (lambda fan_in, _: 2.0 / fan_in, "2 / fan_in; He et al. 2015 (arXiv 1502.01852), eq. 10"),
    "lecun": (lambda fan_in, _: 1.0 / fan_in, "1 / fan_in; LeCun et al. 1998, Efficient BackProp, eq. 16"),
}


def _scaled(family: str, draw: str) -> Initializer:
    variance, source = _VARIANCES[family]

    def fill(weight: Tensor, generator: torch.Generator) -> None:
        fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight)
        _DRAWS[draw](weight, variance(fan_in, fan_out), generator)

    return Initializer(fill, f"{draw.replace('_', ' ')}, variance {source}")


def _orthogonal(weight: Tensor, generator: torch.Generator) -> None:
    nn.init.orthogonal_(weight, generator=generator)


INITIALIZERS: dict[str, Initializer] = {
    **{f"{family}_{draw}": _scaled(family, draw) for family in _VARIANCES for draw in _DRAWS},
    "orthogonal": Initializer(
        _orthogonal, "orthonormal rows or columns, gain 1; Saxe et al. 2014 (arXiv 1312.6120), section 3"
    ),
    "small_normal": Initializer(
        lambda weight, generator: weight.normal_(0.0, SMALL, generator=generator), "sigma 0.01"
    ),
    "zeros": Initializer(
        lambda weight, _: weight.zero_(), "all alike: with any activation the units of a layer stay alike for ever"
    ),
}

AUTO = "glorot_uniform for none, tanh, sigmoid and softmax; he_normal for relu and its variants; lecun_normal for selu"
_AUTO = {"glorot": "glorot_uniform", "he": "he_normal", "lecun": "lecun_normal"}


def choose(name: str, activation: str | None) -> str:
    """The initializer that `name` stands for in front of `activation`.

    Args:
        name: A name of the table, or `auto`, which picks by activation.
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
    with torch.no_grad():
        INITIALIZERS[name].fill(weight, generator)
