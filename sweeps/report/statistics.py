"""95 % intervals of a mean and of a difference of means, by Student's t. Needs nothing but the standard library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

CONFIDENCE = 0.95
_CELLS = 200
_HALVINGS = 60
_LARGEST = 13.0  # above the quantile at one degree of freedom, 12.706, the greatest that is asked for


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval.

    Args:
        mean: The estimate.
        half: Half the width of the interval around it. `None`: too few values for one.
    """

    mean: float
    half: float | None

    def holds(self, value: float) -> bool:
        """Whether a value lies in the interval; in none without an interval."""
        return self.half is not None and abs(value - self.mean) <= self.half


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean of independent values, with mean -+ t s / sqrt(n), s**2 the sample variance; one value has no interval.

    Source: Student 1908, The probable error of a mean.
    """
    return _interval(fmean(values), [(variance(values) / len(values), len(values) - 1)] if len(values) > 1 else [])


def difference_interval(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> Interval:
    """The difference of two means of independent values with variances of their own, by Welch's method.

    A side of several groups stands for the mean of its groups' means, whatever their sizes. The square of the standard
    error is then the sum over all groups of c**2 s**2 / n, with c one over the number of groups on that side; its
    degrees of freedom are Satterthwaite's. With one group a side this is Welch's interval.

    Source: Welch 1947, The generalization of Student's problem, eq. 28; Satterthwaite 1946.
    """
    mean = fmean(map(fmean, first)) - fmean(map(fmean, second))
    if any(len(group) < 2 for group in (*first, *second)):
        return _interval(mean, [])
    sides = [(len(side), group) for side in (first, second) for group in side]
    return _interval(mean, [(variance(g) / len(g) / groups**2, len(g) - 1) for groups, g in sides])


def _interval(mean: float, parts: Sequence[tuple[float, int]]) -> Interval:
    """An interval from the parts of a squared standard error, each with its degrees of freedom."""
    if not parts:
        return Interval(mean, None)
    squared = math.fsum(part for part, _ in parts)
    if squared == 0:
        return Interval(mean, 0.0)
    freedom = 1 / math.fsum((part / squared) ** 2 / own for part, own in parts)
    return Interval(mean, t_quantile(freedom) * math.sqrt(squared))


def t_quantile(freedom: float) -> float:
    """The t that Student's distribution keeps within -t and t in 95 % of cases, to eight digits.

    With t = sqrt(freedom) tan(a), the probability of |T| < t is the integral of cos(x)**(freedom - 1) from 0 to a, over
    that from 0 to pi / 2.

    Args:
        freedom: Degrees of freedom, 1 or more; need not be whole.
    """
    whole = math.sqrt(math.pi) * math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2)) / 2
    low, high = 0.0, math.atan(_LARGEST / math.sqrt(freedom))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _integral(freedom - 1, middle) < CONFIDENCE * whole:
            low = middle
        else:
            high = middle
    return math.sqrt(freedom) * math.tan(low)


def _integral(power: float, end: float) -> float:
    """The integral of cos(x)**power from 0 to `end`, by Simpson's rule."""
    width = end / _CELLS
    inner = math.fsum((4 if k % 2 else 2) * math.pow(math.cos(k * width), power) for k in range(1, _CELLS))
    return (1 + inner + math.pow(math.cos(end), power)) * width / 3
