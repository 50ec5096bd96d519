"""Penalties and projections on the kernels of a network, by Keras's definitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_dl.errors import ConfigError


@dataclass(frozen=True)
class RegularizationConfig:
    """What is added to the loss, and what the weights are held to after each step. Biases and norms are left alone.

    Args:
        l1: Adds l1 times the sum of absolute kernel weights to the loss; 0 or more.
        l2: Adds l2 times the sum of squared kernel weights (no half, as Keras) to the loss; 0 or more.
        max_norm: After each step, scales the incoming weights of every unit down to at most this Euclidean norm; above
            0. `None` switches it off. Source: Srivastava et al. 2014, section 5.1.
    """

    l1: float = 0.0
    l2: float = 0.0
    max_norm: float | None = None


def check_regularization(config: RegularizationConfig) -> None:
    """Refuses negative strengths.

    Raises:
        ConfigError: A value out of range.
    """
    for key in ("l1", "l2"):
        if not getattr(config, key) >= 0:
            raise ConfigError(key, f"must be 0 or more; got {getattr(config, key)!r}")
    if config.max_norm is not None and not config.max_norm > 0:
        raise ConfigError("max_norm", f"must be above 0, or null for none; got {config.max_norm!r}")


def penalty(config: RegularizationConfig, kernels: Sequence[Tensor]) -> Tensor | None:
    """l1 times the sum of |w| plus l2 times the sum of w squared, over the kernels; `None` when both are 0."""
    terms = []
    if config.l1:
        terms += [config.l1 * kernel.abs().sum() for kernel in kernels]
    if config.l2:
        terms += [config.l2 * kernel.square().sum() for kernel in kernels]
    return torch.stack(terms).sum() if terms else None


def project(config: RegularizationConfig, kernels: Sequence[Tensor]) -> None:
    """Holds every unit's incoming weights to `max_norm`, in place."""
    if config.max_norm is not None:
        with torch.no_grad():
            for kernel in kernels:
                kernel.copy_(kernel.renorm(p=2, dim=0, maxnorm=config.max_norm))
