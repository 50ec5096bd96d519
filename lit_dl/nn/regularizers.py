"""Penalties and projections on the kernels of a network, and penalties on its activations, by Keras's definitions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lit_dl.errors import ConfigError, unknown_name

FORMS = ("sum", "textbook")


@dataclass(frozen=True)
class RegularizationConfig:
    """What is added to the loss, and what the weights are held to after each step. Biases and norms are left alone.

    Args:
        l1: Adds l1 times the sum of absolute kernel weights to the loss; 0 or more. With l2: elastic net.
        l2: Adds l2 times the sum of squared kernel weights to the loss; 0 or more.
        form: sum, as it stands above (Keras); or textbook, l1 / m and l2 / (2 m) with m the samples of the minibatch
            (Goodfellow et al. 2016, section 7.1, has the half; Ng's course the m).
        activity_l1: Adds activity_l1 times the sum of absolute outputs of the hidden layers, a sample on average; 0 or
            more.
        activity_l2: The same with squared outputs.
        max_norm: After each step, scales the incoming weights of every unit down to at most this Euclidean norm; above
            0. `None` switches it off. Source: Srivastava et al. 2014, section 5.1.
    """

    l1: float = 0.0
    l2: float = 0.0
    form: Literal["sum", "textbook"] = "sum"
    activity_l1: float = 0.0
    activity_l2: float = 0.0
    max_norm: float | None = None

    @property
    def penalizes_activity(self) -> bool:
        return bool(self.activity_l1 or self.activity_l2)


def check_regularization(config: RegularizationConfig) -> None:
    """Refuses negative strengths.

    Raises:
        ConfigError: A value out of range, or an unknown form.
    """
    for key in ("l1", "l2", "activity_l1", "activity_l2"):
        if not 0 <= getattr(config, key) < math.inf:
            raise ConfigError(key, f"must be 0 or more and finite; got {getattr(config, key)!r}")
    if config.form not in FORMS:
        raise unknown_name("form", config.form, FORMS)
    if config.max_norm is not None and not config.max_norm > 0:
        raise ConfigError("max_norm", f"must be above 0, or null for none; got {config.max_norm!r}")


def penalty(config: RegularizationConfig, kernels: Sequence[Tensor], samples: int) -> Tensor | None:
    """The penalty on the kernels for a minibatch of so many samples; `None` when both strengths are 0."""
    l1, l2 = config.l1, config.l2
    if config.form == "textbook":
        l1, l2 = l1 / samples, l2 / (2 * samples)
    return _weighted(l1, l2, kernels)


def activity_penalty(config: RegularizationConfig, outputs: Sequence[Tensor]) -> Tensor | None:
    """The penalty on outputs of layers, (batch, ...) each, as a mean over the batch; `None` when both are 0."""
    terms = [_weighted(config.activity_l1, config.activity_l2, [layer]) for layer in outputs]
    means = [term / len(layer) for term, layer in zip(terms, outputs, strict=True) if term is not None]
    return torch.stack(means).sum() if means else None


def _weighted(l1: float, l2: float, tensors: Sequence[Tensor]) -> Tensor | None:
    terms = []
    if l1:
        terms += [l1 * tensor.abs().sum() for tensor in tensors]
    if l2:
        terms += [l2 * tensor.square().sum() for tensor in tensors]
    return torch.stack(terms).sum() if terms else None


def project(config: RegularizationConfig, kernels: Sequence[Tensor]) -> None:
    """Holds every unit's incoming weights to `max_norm`, in place."""
    if config.max_norm is not None:
        with torch.no_grad():
            for kernel in kernels:
                kernel.copy_(kernel.renorm(p=2, dim=0, maxnorm=config.max_norm))
