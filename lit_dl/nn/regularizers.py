"""Penalties on the weights and activations of a network, and the max norm constraint, by Keras's definitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lit_dl.errors import unknown_name
from lit_dl.options import NON_NEGATIVE, Range

FORMS = ("sum", "textbook")
_MAX_NORM = Range("above 0, or null for none", lambda value: value > 0)


@dataclass(frozen=True)
class RegularizationConfig:
    """Penalties on the loss, and a constraint on the weights after each step. Both leave biases and norms alone.

    Args:
        l1: Adds l1 times the sum of absolute weights to the loss; 0 or more. With l2: elastic net.
        l2: Adds l2 times the sum of squared weights to the loss; 0 or more.
        form: sum, as written above (Keras); or textbook, l1 / m and l2 / (2 m) with m the samples of the minibatch
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
        """Whether there is a penalty on activations."""
        return bool(self.activity_l1 or self.activity_l2)


def check_regularization(config: RegularizationConfig) -> None:
    """Refuses values out of range.

    Raises:
        ConfigError: A negative strength, a max norm that is not above 0, or an unknown form.
    """
    for key in ("l1", "l2", "activity_l1", "activity_l2"):
        NON_NEGATIVE.check(key, getattr(config, key))
    if config.form not in FORMS:
        raise unknown_name("form", config.form, FORMS)
    if config.max_norm is not None:
        _MAX_NORM.check("max_norm", config.max_norm)


def weight_penalty(config: RegularizationConfig, weights: Sequence[Tensor], samples: int) -> Tensor | None:
    """Returns the l1 and l2 penalty on weight matrices for a minibatch; `None` when both strengths are 0.

    Args:
        config: The strengths and the form.
        weights: The weight matrices.
        samples: Number of samples in the minibatch.
    """
    l1, l2 = config.l1, config.l2
    if config.form == "textbook":
        l1, l2 = l1 / samples, l2 / (2 * samples)
    return _weighted_sum(l1, l2, weights)


def activity_penalty(config: RegularizationConfig, outputs: Sequence[Tensor]) -> Tensor | None:
    """Returns the penalty on the outputs of layers, (batch, ...) each, as a mean over the batch.

    `None` when both strengths are 0.
    """
    terms = [_weighted_sum(config.activity_l1, config.activity_l2, [layer]) for layer in outputs]
    means = [term / len(layer) for term, layer in zip(terms, outputs, strict=True) if term is not None]
    return torch.stack(means).sum() if means else None


def _weighted_sum(l1: float, l2: float, tensors: Sequence[Tensor]) -> Tensor | None:
    terms = []
    if l1:
        terms += [l1 * tensor.abs().sum() for tensor in tensors]
    if l2:
        terms += [l2 * tensor.square().sum() for tensor in tensors]
    return torch.stack(terms).sum() if terms else None


def apply_max_norm(config: RegularizationConfig, weights: Sequence[Tensor]) -> None:
    """Scales the incoming weights of every unit down to at most `max_norm`, in place."""
    if config.max_norm is not None:
        with torch.no_grad():
            for weight in weights:
                weight.copy_(weight.renorm(p=2, dim=0, maxnorm=config.max_norm))
