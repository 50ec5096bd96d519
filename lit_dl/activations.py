"""Activation functions by name: one table, one builder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from lit_dl.errors import unknown_name


@dataclass(frozen=True)
class Activation:
    """One row of the table.

    Args:
        build: Makes the module.
        family: The initializer family that `initializer: auto` picks for layers in front of it.
        source: Where the function and its default parameters come from.
    """

    build: Callable[[], nn.Module]
    family: str
    source: str


ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": Activation(nn.Sigmoid, "glorot", "logistic function, 1 / (1 + exp(-x))"),
    "tanh": Activation(nn.Tanh, "glorot", "hyperbolic tangent"),
    "relu": Activation(nn.ReLU, "he", "Nair & Hinton 2010, max(0, x)"),
    "leaky_relu": Activation(
        lambda: nn.LeakyReLU(0.1), "he", "Maas et al. 2013, max(0.1 x, x); PyTorch's slope is 0.01"
    ),
    "elu": Activation(nn.ELU, "he", "Clevert et al. 2016 (arXiv 1511.07289), alpha 1"),
    "selu": Activation(nn.SELU, "lecun", "Klambauer et al. 2017 (arXiv 1706.02515)"),
    "silu": Activation(nn.SiLU, "he", "Elfwing et al. 2017 (arXiv 1702.03118), x sigmoid(x); also called swish"),
}


def activation(name: str) -> nn.Module:
    """A new module that computes the named activation elementwise.

    Raises:
        ConfigError: No such activation.
    """
    if name not in ACTIVATIONS:
        raise unknown_name("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name].build()
