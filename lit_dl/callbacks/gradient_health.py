"""The criterion for vanishing and exploding gradients, for the warning of a run and the labels of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence

VANISHING_BELOW = 1e-3
EXPLODING_ABOVE = 1e3


def per_weight(norm: float, weights: int) -> float:
    """Returns the root mean square of the entries of a gradient, from its Euclidean norm and their number."""
    return norm / math.sqrt(weights)


def gradient_ratio(gradients: Sequence[float | None]) -> float | None:
    """Returns the gradient of the first layer over that of the last; `None` with fewer than two known gradients.

    The gradients are per weight because a norm grows with the number of weights: a healthy first layer of 784 x 300 has
    15 times the norm of an output layer of 100 x 10 from its size alone.

    Args:
        gradients: Root mean square per weight of the gradient of each layer, first to last; `None` for a frozen layer.

    Returns:
        0 if the gradient of the first layer is zero, infinity if that of the last is zero, NaN if both are.
    """
    known = [gradient for gradient in gradients if gradient is not None]
    if len(known) < 2:
        return None
    if known[-1] == 0:
        return math.inf if known[0] > 0 else math.nan
    return known[0] / known[-1]


def gradient_status(ratio: float | None) -> str | None:
    """Returns `vanishing` below `VANISHING_BELOW`, `exploding` above `EXPLODING_ABOVE`, else (also for NaN) `None`."""
    if ratio is None or VANISHING_BELOW <= ratio <= EXPLODING_ABOVE or math.isnan(ratio):
        return None
    return "vanishing" if ratio < VANISHING_BELOW else "exploding"
