"""Penalties, clipping and the max norm constraint of a stack, with strengths and limits (members,)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lit_dl.fused.parameters import ParameterGroup


def activity_penalty(numbers: Mapping[str, Tensor], features: frozenset[str], outputs: Sequence[Tensor]) -> Tensor:
    """Returns the penalties (members,) on the outputs (members, batch, ...) of layers, as means over the batch."""
    total = torch.zeros_like(numbers["l1"])
    for layer in outputs:
        values = layer.flatten(2)
        if "activity_l1" in features:
            total = total + numbers["activity_l1"] * values.abs().sum((1, 2)) / values.shape[1]
        if "activity_l2" in features:
            total = total + numbers["activity_l2"] * values.square().sum((1, 2)) / values.shape[1]
    return total


def add_weight_penalties(
    numbers: Mapping[str, Tensor],
    features: frozenset[str],
    weights: Sequence[tuple[Tensor, Tensor]],
    samples: int | None,
) -> None:
    """Adds the gradients of the l1 and l2 penalties, which need no backward pass.

    Args:
        numbers: Strengths by name.
        features: Which of them are used.
        weights: Weight matrices (members, ...) and their gradients.
        samples: Samples of the minibatch for the textbook form; `None`: the form is sum.
    """
    l1, twice_l2 = numbers["l1"] / (samples or 1), 2 * numbers["l2"] / (2 * samples if samples else 1)
    for weight, gradient in weights:
        shape = (-1, *[1] * (weight.ndim - 1))
        if "l1" in features:
            gradient.addcmul_(weight.sign(), l1.view(shape))
        if "l2" in features:
            gradient.addcmul_(weight, twice_l2.view(shape))


def clip(numbers: Mapping[str, Tensor], features: frozenset[str], groups: Sequence[ParameterGroup]) -> None:
    """Clips the gradients of each member, as `clip_grad_norm_` and `clip_grad_value_` do."""
    if "clip_norm" in features:
        limit = numbers["clip_norm"]
        squares = torch.stack([torch.linalg.vector_norm(group.gradients, dim=1) for group in groups])
        factor = (limit / (torch.linalg.vector_norm(squares, dim=0) + 1e-6)).clamp(max=1.0)
        factor = torch.where(limit.isinf(), 1.0, factor).unsqueeze(1)
        for group in groups:
            group.gradients.mul_(factor)
    if "clip_value" in features:
        limit = numbers["clip_value"].unsqueeze(1)
        for group in groups:
            torch.clamp(group.gradients, -limit, limit, out=group.gradients)


def apply_max_norm(limits: Tensor, weights: Sequence[Tensor]) -> None:
    """Scales the incoming weights of each unit down to at most the limit of its member, as `torch.renorm` does."""
    for weight in weights:
        rows = weight.flatten(2)
        norms, limit = torch.linalg.vector_norm(rows, dim=2, keepdim=True), limits.view(-1, 1, 1)
        rows.mul_(torch.where(norms > limit, limit / (norms + 1e-7), 1.0))
