"""The ranking of configurations. There is one order, for every command, the report and checkpoint retention."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from sweeps.results.trial_result import TrialResult
from sweeps.spec.objective import Objective

Point = tuple[float, ...]
"""Values of all objectives, each with the sign that makes less better."""


@dataclass(frozen=True)
class RankedConfiguration:
    """A configuration with at least one completed trial.

    Args:
        trials: Its completed trials, one a seed.
        best_trial: The one with the best value.
        mean: Mean of the first objective over the trials.
        std: Sample standard deviation over the trials; `None` for a single trial.
        on_pareto_front: Whether it is feasible and no other such configuration dominates it. False in a sweep with one
            objective.
    """

    trials: list[TrialResult]
    best_trial: TrialResult
    mean: float
    std: float | None
    on_pareto_front: bool

    @property
    def config_id(self) -> str:
        return self.best_trial.config_id

    @property
    def run(self) -> str | None:
        """Name of the configuration in `runs` of the spec."""
        return self.best_trial.run

    @property
    def numbers(self) -> list[int]:
        """Numbers of the trials."""
        return [trial.number for trial in self.trials]

    def statistics(self, metric: str) -> tuple[float | None, float | None]:
        """Returns the mean and the sample standard deviation of a metric over the trials, as far as there are any."""
        values = [trial.best[metric] for trial in self.trials if metric in trial.best]
        return fmean(values) if values else None, stdev(values) if len(values) > 1 else None

    @property
    def untested(self) -> str | None:
        """Why trials of the configuration have no metrics on the test set; `None`: nothing was in the way."""
        return "; ".join(dict.fromkeys(trial.untested for trial in self.trials if trial.untested)) or None

    @property
    def infeasible(self) -> str:
        """Which constraints its trials violate; empty if none. Each of its seeds must meet them."""
        return "; ".join(dict.fromkeys(trial.infeasible for trial in self.trials if trial.infeasible))

    @property
    def violation(self) -> float:
        """The greatest violation of its trials; 0.0 where all constraints are met."""
        return max(trial.violation for trial in self.trials)

    def to_row(self) -> dict[str, Any]:
        """Returns the row of the best trial, with the statistics over all trials. `sweeps best --json` prints it."""
        statistics = {"mean": self.mean, "std": self.std, "n": len(self.trials), "numbers": self.numbers}
        infeasible = {"infeasible": self.infeasible} if self.infeasible else {}
        return {**self.best_trial.to_row(), **infeasible, **statistics, "on_pareto_front": self.on_pareto_front}


def ranking(results: Iterable[TrialResult], objectives: Sequence[Objective]) -> list[RankedConfiguration]:
    """Returns the configurations with a completed trial, best first.

    Those that violate a constraint come last, the least violation first.

    The order is by the mean of the first objective over the seeds. With several objectives, the Pareto front comes
    first. A configuration with fewer completed trials than others (a seed was pruned, failed, or has not run yet) comes
    after all that have every seed: the missing trials were probably its worst. Trials that are PRUNED or FAIL are not
    ranked, because their values are of other epochs.
    """
    groups: dict[str, list[TrialResult]] = {}
    for result in results:
        if result.is_completed:
            groups.setdefault(result.config_id, []).append(result)
    feasible = {config_id: ts for config_id, ts in groups.items() if not any(trial.infeasible for trial in ts)}
    points = {config_id: _point(trials, objectives) for config_id, trials in feasible.items()}
    front = _pareto_front(points.values()) if len(objectives) > 1 else set()
    sign = objectives[0].sign
    ranked = [_configuration(trials, sign, points.get(config_id) in front) for config_id, trials in groups.items()]
    seeds = max((len(entry.trials) for entry in ranked), default=0)

    def order(entry: RankedConfiguration) -> tuple[float, bool, bool, float, int]:
        is_dominated = len(objectives) > 1 and not entry.on_pareto_front
        return entry.violation, len(entry.trials) < seeds, is_dominated, sign * entry.mean, entry.best_trial.number

    return sorted(ranked, key=order)


def winners(ranked: Sequence[RankedConfiguration]) -> list[RankedConfiguration]:
    """Returns the best of all configurations: with several objectives those on the Pareto front, else the first.

    None is the best if none meets all constraints.
    """
    return [entry for entry in ranked if entry.on_pareto_front] or [e for e in ranked[:1] if not e.infeasible]


def none_feasible(ranked: Sequence[RankedConfiguration]) -> str:
    """Returns that no configuration meets the constraints, and which is nearest; an empty text if any does."""
    if not ranked or not ranked[0].infeasible:
        return ""
    nearest = f"trial {ranked[0].best_trial.number}: {ranked[0].infeasible}"
    return f"no completed trial meets the constraints; the nearest is {nearest}"


def _configuration(trials: list[TrialResult], sign: float, on_pareto_front: bool) -> RankedConfiguration:
    values = [_value(trial) for trial in trials]
    best = min(trials, key=lambda trial: sign * _value(trial))
    return RankedConfiguration(trials, best, fmean(values), stdev(values) if len(values) > 1 else None, on_pareto_front)


def _value(trial: TrialResult) -> float:
    assert trial.value is not None, "a completed trial has a value"
    return trial.value


def _point(trials: Sequence[TrialResult], objectives: Sequence[Objective]) -> Point:
    """Returns the means of all objectives over the trials. A missing value counts as infinitely bad."""
    point = []
    for objective in objectives:
        mean = fmean(trial.best.get(objective.metric, math.nan) for trial in trials)
        point.append(math.inf if math.isnan(mean) else objective.sign * mean)
    return tuple(point)


def _pareto_front(points: Iterable[Point]) -> set[Point]:
    """Returns the points that no other point dominates.

    Points are visited in lexicographic order, so a point is visited after all points that dominate it. One of those is
    in the front already, because dominance is transitive.
    """
    front: list[Point] = []
    for point in sorted(set(points)):
        if not any(all(a <= b for a, b in zip(other, point, strict=True)) for other in front):
            front.append(point)
    return set(front)
