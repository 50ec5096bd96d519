"""Published figures beside ours, and claims judged by our runs.

The rules, which stand in words under every table (`FIGURE_RULE`, `CLAIM_RULE`): a figure is reproduced when the
difference of our mean and it is at most the tolerance, or it lies in our 95 % interval. An interval that reaches
further than twice the tolerance to either side would hold nearly anything, so a figure in such a one is undecided, near
or not. One seed has no interval: only the difference counts. A claim about a run with one seed is undecided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.report.statistics import Interval, difference_interval, mean_interval
from sweeps.report.sweep_data import SweepData
from sweeps.results import Row
from sweeps.spec.objective import direction_sign
from sweeps.spec.published import COLUMNS, PublishedClaim, PublishedTable, Quantity

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
SUPPORTED, CONTRADICTED = "supported", "contradicted"
UNDECIDED = "undecided"
NO_RESULT = "no result"

FIGURE_RULE = (
    "Ours is the mean over seeds with its 95 % interval (Student's t). Reproduced: the difference is at most the "
    "tolerance, or the published figure lies in our interval. Undecided: it lies in there, but the interval reaches "
    "further than twice the tolerance to either side, and proves nothing."
)
CLAIM_RULE = (
    "The difference of the means with its 95 % interval (Welch). Supported: all of the interval is on the claimed "
    "side of zero, or within the margin where two are said to be the same. Contradicted: none of it is. Each interval "
    "holds in 95 % of cases by itself, so among twenty claims expect one that chance decided."
)

_SLACK = 1 + 1e-9  # 0.817 - 0.812 is a little above 0.005 in binary


@dataclass(frozen=True)
class Figure:
    """A published figure and ours.

    Args:
        run: Name of the configuration.
        published: The published figure.
        ours: Mean and interval over seeds; `None` without a finished run.
        n: Finished runs.
        verdict: Reproduced, not reproduced, undecided; or no result.
        missing: What became of the runs that are not counted.
    """

    run: str
    published: float
    ours: Interval | None
    n: int
    verdict: str
    missing: str

    @property
    def difference(self) -> float | None:
        """Ours minus the published."""
        return None if self.ours is None else self.ours.mean - self.published


@dataclass(frozen=True)
class Judged:
    """A claim and what our runs say of it.

    Args:
        claim: The claim.
        means: Our mean of each run that it names; `None` without a finished one.
        difference: Of the first side and the second; `None` where a run is missing.
        verdict: Supported, contradicted, undecided; or no result.
    """

    claim: PublishedClaim
    means: dict[str, float | None]
    difference: Interval | None
    verdict: str


def figures(sweep: SweepData, table: PublishedTable) -> list[Figure]:
    """A row for each published figure, in the order of the spec."""
    return [_figure(sweep, table, run, value) for run, value in table.values.items()]


def _figure(sweep: SweepData, table: PublishedTable, run: str, value: float) -> Figure:
    ours = values_of(sweep, run, table.quantity)
    missing = _missing(sweep, run, len(ours))
    if not ours:
        return Figure(run, value, None, 0, NO_RESULT, missing)
    found = mean_interval(ours)
    return Figure(run, value, found, len(ours), figure_verdict(value, found, table.tolerance), missing)


def figure_verdict(published: float, ours: Interval, tolerance: float) -> str:
    """Whether a figure is reproduced, by the rule above."""
    holds = ours.holds(published)
    if holds and ours.half is not None and ours.half > 2 * tolerance * _SLACK:
        return UNDECIDED
    near = abs(ours.mean - published) <= tolerance * _SLACK
    return REPRODUCED if near or holds else NOT_REPRODUCED


def _missing(sweep: SweepData, run: str, n: int) -> str:
    """What became of the seeds that are not among the counted; empty when none is missing."""
    ended = [str(row["outcome"]) for row in sweep.rows if row.get("run") == run]
    lost = sorted({outcome.replace("_", " ") for outcome in ended if outcome != "completed"})
    unread = ["without the metric"] * (ended.count("completed") > n)
    return ", ".join([*lost, *unread, *["not finished"] * (len(ended) < sweep.spec.seeds)])


def judged(sweep: SweepData) -> list[Judged]:
    """Every claim of the spec with its verdict."""
    return [_judged(sweep, claim) for claim in sweep.spec.claims]


def _judged(sweep: SweepData, claim: PublishedClaim) -> Judged:
    sides = [[values_of(sweep, run, claim.quantity) for run in side] for side in (claim.first, claim.second)]
    ours = dict(zip([*claim.first, *claim.second], [*sides[0], *sides[1]], strict=True))
    means = {run: mean_interval(values).mean if values else None for run, values in ours.items()}
    if not all(ours.values()):
        return Judged(claim, means, None, NO_RESULT)
    difference = difference_interval(*sides)
    return Judged(claim, means, difference, claim_verdict(claim, difference))


def claim_verdict(claim: PublishedClaim, difference: Interval) -> str:
    """What the interval of a difference says of a claim, by the rule above."""
    if difference.half is None:
        return UNDECIDED
    sign = -direction_sign(claim.direction)  # here more is better
    low, high = sorted(sign * (difference.mean + end * difference.half) for end in (-1, 1))
    if claim.within is None:
        return SUPPORTED if low > 0 else CONTRADICTED if high < 0 else UNDECIDED
    margin = claim.within * _SLACK
    if -margin <= low and high <= margin:
        return SUPPORTED
    return CONTRADICTED if low > margin or high < -margin else UNDECIDED


def values_of(sweep: SweepData, run: str, quantity: Quantity) -> list[float]:
    """The values of a quantity that the completed runs of a configuration left, one a seed."""
    rows = [row for row in sweep.completed if row.get("run") == run]
    found = [_value(sweep, row, quantity) for row in rows]
    return [value for value in found if value is not None]


def _value(sweep: SweepData, row: Row, quantity: Quantity) -> float | None:
    if isinstance(quantity.at, int) and quantity.has_epochs:
        return dict(sweep.curve(row["number"], quantity.metric)).get(quantity.at)
    group = "final" if quantity.has_epochs and quantity.at == "last" else "metrics"
    value = row.get(quantity.metric if quantity.metric in COLUMNS else f"{group}.{quantity.metric}")
    return None if value is None else float(value)


def tally(verdicts: Sequence[str]) -> str:
    """How many of which verdict, such as `7 of 9 reproduced, 1 undecided, 1 not reproduced`."""
    order = (REPRODUCED, SUPPORTED, UNDECIDED, NOT_REPRODUCED, CONTRADICTED, NO_RESULT)
    first, *rest = [f"{verdicts.count(name)} {name}" for name in order if name in verdicts]
    return ", ".join([first.replace(" ", f" of {len(verdicts)} ", 1), *rest])
