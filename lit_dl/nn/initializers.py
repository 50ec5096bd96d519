"""Weight initializers: a table by name, and the function that fills a weight.

All of them draw with zero mean. The scaled ones take their variance from the fans of the weight. For a dense layer,
`fan_in` is the number of inputs and `fan_out` the number of units. For a convolution, both are multiplied by the area
of the kernel.

`*_normal` is the plain normal distribution, as in the papers and in PyTorch. `*_truncated_normal` is what Keras (and
JAX) call `*_normal`: truncated at two standard deviations, and widened so that the variance is the same.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lit_dl.errors import unknown_name
from lit_dl.nn.activations import ACTIVATIONS

Fill = Callable[[Tensor, torch.Generator], object]
Draw = Callable[[Tensor, float, torch.Generator], object]

SMALL_STD = 0.01  # standard deviation of small_normal
# Standard deviation of a standard normal truncated at plus and minus 2: what Keras's VarianceScaling divides by.
TRUNCATED_STD = 0.87962566103423978
OUTPUT_INITIALIZER = "glorot_uniform"
"""The initializer that `auto` picks where no activation follows: for the output layer and for projections."""


@dataclass(frozen=True)
class Initializer:
    """A row of the table of initializers.

    Args:
        fill: Fills a weight, (units, inputs) or (channels, inputs, height, width), in place from the generator alone.
        source: What it draws, and where the rule was published.
    """

    fill: Fill
    source: str


def _uniform(weight: Tensor, variance: float, generator: torch.Generator) -> None:
    bound = math.sqrt(3.0 * variance)
    weight.uniform_(-bound, bound, generator=generator)


def _normal(weight: Tensor, variance: float, generator: torch.Generator) -> None:
    weight.normal_(0.0, math.sqrt(variance), generator=generator)


def _truncated_normal(weight: Tensor, variance: float, generator: torch.Generator) -> None:
    std = math.sqrt(variance) / TRUNCATED_STD
    nn.init.trunc_normal_(weight, 0.0, std, -2 * std, 2 * std, generator=generator)


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
    """Returns the row of a variance rule and a distribution."""
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
        lambda weight, generator: weight.normal_(0.0, SMALL_STD, generator=generator), "sigma 0.01"
    ),
    "zeros": Initializer(
        lambda weight, _: weight.zero_(), "all alike: with any activation the units of a layer stay alike for ever"
    ),
}


def describe_auto() -> str:
    """Returns the rule of `auto` in words: which initializer for which activations."""
    names: dict[str, list[str]] = defaultdict(list)
    names[OUTPUT_INITIALIZER].append("the output layer")
    for name, row in ACTIVATIONS.items():
        names[row.initializer].append(name)
    return "; ".join(f"{initializer} for {', '.join(activations)}" for initializer, activations in names.items())


def resolve_initializer(name: str, activation: str | None) -> str:
    """Returns the initializer that `name` means for the layer before `activation`.

    Args:
        name: A name of the table, or `auto`, which picks by activation.
        activation: The activation after the layer. `None`: no activation, as for an output layer.

    Raises:
        ConfigError: No such initializer.
    """
    if name == "auto":
        return ACTIVATIONS[activation].initializer if activation else OUTPUT_INITIALIZER
    if name not in INITIALIZERS:
        raise unknown_name("initializer", name, ["auto", *INITIALIZERS])
    return name


def initialize(weight: Tensor, name: str, generator: torch.Generator) -> None:
    """Fills `weight`, (units, inputs) or (channels, inputs, height, width), in place from the generator alone."""
    with torch.no_grad():
        INITIALIZERS[name].fill(weight, generator)
