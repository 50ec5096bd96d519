"""How well the parameters predict the value: a kernel regression, judged by what it says of trials it has not seen.

scikit-learn, which Optuna's fANOVA takes, is not a dependency; a kernel regression with closed-form leave-one-out
errors is a few lines of numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sweeps.report.sweep_data import SweepData, option_index
from sweeps.results.ranking import RankedConfiguration
from sweeps.spec.space import Parameter

MAX_CONFIGURATIONS = 300  # an even selection of more
_LENGTHS = (0.2, 0.5, 1.0, 2.0)  # of the kernel, in units of the root of the number of dimensions
_NOISES = (1e-2, 1e-1, 1.0)  # variance, in units of the variance of the values


def predicted_share(sweep: SweepData) -> float | None:
    """Returns the share of the variance of the ranks that parameters predict in left-out trials, at most 1.

    It is 1 - SSE / SST of the leave-one-out errors of the best of a few kernel ridge regressions, 0 where none beats
    the mean. Ranks are predicted, because a few very bad values would be all of the variance. `None`: too few
    configurations, or nothing varies.

    Source: leave-one-out residuals, Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, eq. 5.12.
    """
    import numpy as np

    step = math.ceil(len(sweep.ranked) / MAX_CONFIGURATIONS) or 1
    entries = sweep.ranked[::step]
    if len(entries) < 8 or len({entry.mean for entry in entries}) < 2:
        return None
    points = np.array([_point(sweep, entry) for entry in entries], dtype=float)
    order = np.argsort([entry.mean for entry in entries], kind="stable")
    ranks = np.empty(len(entries))
    ranks[order] = np.arange(len(entries))
    y = (ranks - ranks.mean()) / ranks.std()
    squared = ((points[:, None, :] - points[None, :, :]) ** 2).sum(-1) / points.shape[1]
    errors = [
        _left_out_error(np.exp(-squared / (2 * length**2)) + noise * np.eye(len(y)), y)
        for length in _LENGTHS
        for noise in _NOISES
    ]
    n = len(y)
    return max(0.0, 1 - min(errors) / (n / (n - 1)) ** 2)  # the left-out error of the mean itself


def _left_out_error(kernel: Any, y: Any) -> float:
    """Returns the mean squared leave-one-out error of the regression with a kernel matrix."""
    import numpy as np

    inverse = np.linalg.inv(kernel)
    return float(np.mean((inverse @ y / np.diag(inverse)) ** 2))


def _point(sweep: SweepData, entry: RankedConfiguration) -> list[float]:
    params = entry.best_trial.params
    return [x for parameter in sweep.spec.space for x in _coordinates(parameter, params)]


def _coordinates(parameter: Parameter, params: dict[str, Any]) -> Sequence[float]:
    """Returns a range as a number from 0 to 1 and whether it applies; choices as one coordinate an option."""
    if not parameter.is_range:
        options = parameter.options()
        chosen = option_index(options, params[parameter.name]) if _is_known(parameter, params) else -1
        return [float(index == chosen) for index in range(len(options))]
    if parameter.name not in params:
        return [0.5, 0.0]
    return [share_of_range(parameter, float(params[parameter.name])), 1.0]


def _is_known(parameter: Parameter, params: dict[str, Any]) -> bool:
    value = params.get(parameter.name, parameter)
    return (type(value), value) in [(type(option), option) for option in parameter.options()]


def share_of_range(parameter: Parameter, value: float) -> float:
    """Returns where a value lies in a range, on the scale of the range: 0 at its lower end, 1 at its upper end."""
    low, high = float(parameter.low or 0), float(parameter.high or 0)
    if parameter.log and value > 0:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low) if high > low else 0.5
