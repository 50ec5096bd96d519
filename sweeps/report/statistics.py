"""95 % confidence intervals of a mean and of a difference of means, by Student's t.

The quantile of Student's distribution is computed here and not by scipy: where scipy is installed, torchmetrics imports
`scipy.signal`, and every process that imports Lightning starts more than a second later (see LOG.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

CONFIDENCE = 0.95
_INTERVALS = 200  # of Simpson's rule
_BISECTIONS = 60
_MAX_QUANTILE = 13.0  # above 12.706, the quantile at one degree of freedom, which is the greatest


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % confidence interval.

    Args:
        mean: The estimate.
        half_width: Half the width of the interval around it; `None`: too few values for an interval.
    """

    mean: float
    half_width: float | None

    def contains(self, value: float) -> bool:
        """Returns whether a value lies in the interval; false without an interval."""
        return self.half_width is not None and abs(value - self.mean) <= self.half_width


def mean_interval(values: Sequence[float]) -> Interval:
    """Returns the mean of independent values with its interval; a single value has none.

    The interval is mean -+ t s / sqrt(n), where s**2 is the sample variance.

    Source: Student 1908, The probable error of a mean.
    """
    return _interval(fmean(values), [(variance(values) / len(values), len(values) - 1)] if len(values) > 1 else [])


def difference_interval(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> Interval:
    """Returns the difference of two means of independent values with unequal variances, by Welch's method.

    A side of several groups stands for the mean of its groups' means, whatever the sizes of the groups. The square of
    the standard error is then the sum over all groups of c**2 s**2 / n, where c is one over the number of groups on
    that side. Its degrees of freedom are those of Satterthwaite. With one group on each side this is Welch's interval.

    Source: Welch 1947, The generalization of Student's problem, eq. 28; Satterthwaite 1946.
    """
    mean = fmean(map(fmean, first)) - fmean(map(fmean, second))
    if any(len(group) < 2 for group in (*first, *second)):
        return _interval(mean, [])
    sides = [(len(side), group) for side in (first, second) for group in side]
    return _interval(mean, [(variance(g) / len(g) / groups**2, len(g) - 1) for groups, g in sides])


def _interval(mean: float, terms: Sequence[tuple[float, int]]) -> Interval:
    """Returns an interval from the terms of the squared standard error, each with its degrees of freedom."""
    if not terms:
        return Interval(mean, None)
    squared_error = math.fsum(term for term, _ in terms)
    if squared_error == 0:
        return Interval(mean, 0.0)
    freedom = 1 / math.fsum((term / squared_error) ** 2 / own for term, own in terms)
    return Interval(mean, t_quantile(freedom) * math.sqrt(squared_error))


def t_quantile(freedom: float) -> float:
    """Returns t such that Student's distribution is within -t and t with probability 0.95, to eight digits.

    With t = sqrt(freedom) tan(a), the probability of |T| < t is the integral of cos(x)**(freedom - 1) from 0 to a,
    divided by the same integral from 0 to pi / 2. The angle a is found by bisection.

    Args:
        freedom: Degrees of freedom, 1 or more; need not be whole.
    """
    whole = math.sqrt(math.pi) * math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2)) / 2
    low, high = 0.0, math.atan(_MAX_QUANTILE / math.sqrt(freedom))
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _integral(freedom - 1, middle) < CONFIDENCE * whole:
            low = middle
        else:
            high = middle
    return math.sqrt(freedom) * math.tan(low)


def _integral(power: float, end: float) -> float:
    """Returns the integral of cos(x)**power from 0 to `end`, by Simpson's rule."""
    step = end / _INTERVALS
    inner = math.fsum((4 if k % 2 else 2) * math.pow(math.cos(k * step), power) for k in range(1, _INTERVALS))
    return (1 + inner + math.pow(math.cos(end), power)) * step / 3
