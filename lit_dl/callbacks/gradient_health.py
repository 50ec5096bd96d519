"""When gradients count as vanishing or exploding: one criterion for a run's message and a report's labels."""

from __future__ import annotations

import math
from collections.abc import Sequence

VANISHING_BELOW = 1e-3
EXPLODING_ABOVE = 1e3


def per_weight(norm: float, weights: int) -> float:
    """Root mean square of a gradient's entries, from its Euclidean norm and their number."""
    return norm / math.sqrt(weights)


def gradient_ratio(gradients: Sequence[float | None]) -> float | None:
    """How large the first layer's gradient is beside the last's; `None` with fewer than two layers that have one.

    Args:
        gradients: Root mean square per weight of each layer's gradient, first to last; `None` for a frozen layer. Per
            weight, because a norm grows with the number of weights: a healthy first layer of 784 x 300 has 15 times
            the norm of an output layer of 100 x 10 from its size alone, and the criterion must mean the same for both.

    Returns:
        0 for a first layer without any gradient; infinite where only the last has none; not a number for both.
    """
    known = [gradient for gradient in gradients if gradient is not None]
    if len(known) < 2:
        return None
    if known[-1] == 0:
        return math.inf if known[0] > 0 else math.nan
    return known[0] / known[-1]


def gradient_verdict(ratio: float | None) -> str | None:
    """`vanishing` below `VANISHING_BELOW`, `exploding` above `EXPLODING_ABOVE`, `None` between and for no number."""
    if ratio is None or VANISHING_BELOW <= ratio <= EXPLODING_ABOVE or math.isnan(ratio):
        return None
    return "vanishing" if ratio < VANISHING_BELOW else "exploding"
