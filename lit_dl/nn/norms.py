"""Normalization layers: a table by `norm_type`, and the function that builds one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from lit_dl.options import POSITIVE, Option, Range, resolve_options


@dataclass(frozen=True)
class Norm:
    """A row of the table of normalizations.

    Args:
        build: Builds the module from the number of units or channels, from whether they have pixels (a convolution),
            and from the options of the row.
        source: What it computes, and where it was published.
        options: Keys of `NetworkConfig` that it takes.
        cancels_bias: Whether it subtracts the mean of each unit, so that a bias before it has no effect.
    """

    build: Callable[..., nn.Module]
    source: str
    options: Mapping[str, Option]
    cancels_bias: bool = False


def _batch_norm(units: int, has_pixels: bool, norm_momentum: float, norm_eps: float) -> nn.Module:
    cls = nn.BatchNorm2d if has_pixels else nn.BatchNorm1d
    return cls(units, norm_eps, norm_momentum)


def _layer_norm(units: int, has_pixels: bool, norm_eps: float) -> nn.Module:
    # GroupNorm with one group normalizes over channels and pixels, with one scale and one shift for each channel.
    return nn.GroupNorm(1, units, norm_eps) if has_pixels else nn.LayerNorm(units, norm_eps)


# Keras keeps a share of 0.99 of the running statistics at each step. PyTorch calls this 0.01 of the new ones.
_MOMENTUM = Option(0.1, Range("in (0, 1], where Keras's 0.99 is 0.01", lambda value: 0 < value <= 1), keras=0.01)
_EPS = Option(1e-5, POSITIVE, keras=1e-3)

NORMS: dict[str, Norm] = {
    "batch": Norm(
        _batch_norm,
        "over the samples (and pixels) of a batch; Ioffe & Szegedy 2015 (arXiv 1502.03167). Of several devices each "
        "normalizes its share, and the running statistics are those of the first, unless trainer.sync_batchnorm is set",
        {"norm_momentum": _MOMENTUM, "norm_eps": _EPS},
        cancels_bias=True,
    ),
    "layer": Norm(
        _layer_norm, "over the units (and pixels) of a sample; Ba et al. 2016 (arXiv 1607.06450)", {"norm_eps": _EPS}
    ),
}


def norm_options(name: str, given: Mapping[str, float | None], keras: bool = False) -> dict[str, float]:
    """Returns the options of a normalization, given or by default.

    Raises:
        ConfigError: See `resolve_options`.
    """
    return resolve_options(NORMS, "norm_type", name, given, keras)
