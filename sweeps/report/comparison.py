"""Compares published values, and published claims, with the results of a sweep.

The page and the terminal print the rules under every table (`VALUE_RULE`, `CLAIM_RULE`). A value is reproduced when
our mean differs from it by at most the tolerance, or when it lies in our 95 % interval. An interval that reaches
further than twice the tolerance to either side would contain nearly any value, so a value in such an interval is
undecided. One seed has no interval: only the difference counts. A claim about a run with one seed is undecided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.report.statistics import Interval, difference_interval, mean_interval
from sweeps.report.sweep_data import SweepData
from sweeps.results.trial_result import TrialResult
from sweeps.spec.objective import direction_sign
from sweeps.spec.published import COLUMNS, PublishedClaim, PublishedTable, Quantity

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
SUPPORTED, CONTRADICTED = "supported", "contradicted"
UNDECIDED = "undecided"
NO_RESULT = "no result"

VALUE_RULE = (
    "Ours is the mean over seeds with its 95 % interval (Student's t). Reproduced: the difference is at most the "
    "tolerance, or the published figure lies in our interval. Undecided: it lies in there, but the interval reaches "
    "further than twice the tolerance to either side, and proves nothing."
)
CLAIM_RULE = (
    "The difference of the means with its 95 % interval (Welch). Supported: all of the interval is on the claimed "
    "side of zero, or within the margin where two are said to be the same. Contradicted: none of it is. Each interval "
    "holds in 95 % of cases by itself, so among twenty claims expect one that chance decided."
)

_ROUNDING = 1 + 1e-9  # 0.817 - 0.812 is a little above 0.005 in binary


@dataclass(frozen=True)
class ValueComparison:
    """A published value and ours.

    Args:
        run: Name of the configuration.
        published: The published value.
        ours: Mean and interval over the seeds; `None` without a completed run.
        n: Number of completed runs.
        conclusion: reproduced, not reproduced, undecided, or no result.
        missing: Why other runs are not counted; empty when all are.
    """

    run: str
    published: float
    ours: Interval | None
    n: int
    conclusion: str
    missing: str

    @property
    def difference(self) -> float | None:
        """Ours minus the published value."""
        return None if self.ours is None else self.ours.mean - self.published


@dataclass(frozen=True)
class ClaimComparison:
    """A published claim and our results.

    Args:
        claim: The claim.
        means: Our mean of each run that the claim names; `None` without a completed run.
        difference: Difference of the first side and the second; `None` where a run has no result.
        conclusion: supported, contradicted, undecided, or no result.
    """

    claim: PublishedClaim
    means: dict[str, float | None]
    difference: Interval | None
    conclusion: str


def compare_values(sweep: SweepData, table: PublishedTable) -> list[ValueComparison]:
    """Compares each value of a published table with ours, in the order of the spec."""
    return [_compare_value(sweep, table, run, value) for run, value in table.values.items()]


def _compare_value(sweep: SweepData, table: PublishedTable, run: str, published: float) -> ValueComparison:
    values = values_of(sweep, run, table.quantity)
    missing = _missing(sweep, run, len(values))
    if not values:
        return ValueComparison(run, published, None, 0, NO_RESULT, missing)
    ours = mean_interval(values)
    conclusion = value_conclusion(published, ours, table.tolerance)
    return ValueComparison(run, published, ours, len(values), conclusion, missing)


def value_conclusion(published: float, ours: Interval, tolerance: float) -> str:
    """Returns whether a published value is reproduced, by `VALUE_RULE`."""
    is_inside = ours.contains(published)
    if is_inside and ours.half_width is not None and ours.half_width > 2 * tolerance * _ROUNDING:
        return UNDECIDED
    is_near = abs(ours.mean - published) <= tolerance * _ROUNDING
    return REPRODUCED if is_near or is_inside else NOT_REPRODUCED


def _missing(sweep: SweepData, run: str, n: int) -> str:
    """Returns why seeds are not among the `n` counted ones, such as `diverged, not finished`."""
    outcomes = [result.outcome for result in sweep.newest if result.run == run]
    reasons = sorted({outcome.replace("_", " ") for outcome in outcomes if outcome != "completed"})
    if outcomes.count("completed") > n:
        reasons.append("without the metric")
    if len(outcomes) < sweep.spec.seeds:
        reasons.append("not finished")
    return ", ".join(reasons)


def compare_claims(sweep: SweepData) -> list[ClaimComparison]:
    """Compares each claim of the spec with our results."""
    return [_compare_claim(sweep, claim) for claim in sweep.spec.claims]


def _compare_claim(sweep: SweepData, claim: PublishedClaim) -> ClaimComparison:
    values = {run: values_of(sweep, run, claim.quantity) for run in (*claim.first, *claim.second)}
    means = {run: mean_interval(ours).mean if ours else None for run, ours in values.items()}
    if not all(values.values()):
        return ClaimComparison(claim, means, None, NO_RESULT)
    first, second = ([values[run] for run in side] for side in (claim.first, claim.second))
    difference = difference_interval(first, second)
    return ClaimComparison(claim, means, difference, claim_conclusion(claim, difference))


def claim_conclusion(claim: PublishedClaim, difference: Interval) -> str:
    """Returns whether a claim is supported, by `CLAIM_RULE`."""
    if difference.half_width is None:
        return UNDECIDED
    sign = -direction_sign(claim.direction)  # here more is better
    low, high = sorted(sign * (difference.mean + end * difference.half_width) for end in (-1, 1))
    if claim.within is None:
        return SUPPORTED if low > 0 else CONTRADICTED if high < 0 else UNDECIDED
    margin = claim.within * _ROUNDING
    if -margin <= low and high <= margin:
        return SUPPORTED
    return CONTRADICTED if low > margin or high < -margin else UNDECIDED


def values_of(sweep: SweepData, run: str, quantity: Quantity) -> list[float]:
    """Returns a quantity of each completed trial of a named configuration; trials without it are left out."""
    values = [_value(sweep, trial, quantity) for trial in sweep.completed if trial.run == run]
    return [value for value in values if value is not None]


def _value(sweep: SweepData, trial: TrialResult, quantity: Quantity) -> float | None:
    if quantity.metric in COLUMNS:
        value = trial.to_row().get(quantity.metric)
        return None if value is None else float(value)
    if quantity.has_epochs and isinstance(quantity.at, int):
        return dict(sweep.curve(trial.number, quantity.metric)).get(quantity.at)
    metrics = trial.last if quantity.has_epochs and quantity.at == "last" else trial.best
    return metrics.get(quantity.metric)


def summarize(conclusions: Sequence[str]) -> str:
    """Returns how often each conclusion occurs, such as `7 of 9 reproduced, 1 undecided, 1 not reproduced`."""
    order = (REPRODUCED, SUPPORTED, UNDECIDED, NOT_REPRODUCED, CONTRADICTED, NO_RESULT)
    first, *rest = [f"{conclusions.count(name)} {name}" for name in order if name in conclusions]
    return ", ".join([first.replace(" ", f" of {len(conclusions)} ", 1), *rest])
