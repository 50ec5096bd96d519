from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.results.ranking import none_feasible, ranking, winners
from sweeps.results.trial_result import TrialResult
from sweeps.spec.objective import Objective

ACC = [Objective("val/acc", "maximize")]
LOSS_AND_TIME = [Objective("val/loss", "minimize"), Objective("time", "minimize")]


def trial(
    number: int,
    value: float | None,
    config_id: str | None = None,
    state: str = "COMPLETE",
    best: dict[str, float] | None = None,
    infeasible: str = "",
) -> TrialResult:
    config_id = config_id or str(number)
    return TrialResult(number, state, "completed", config_id, value=value, best=best or {}, infeasible=infeasible)


def test_completed_trials_are_ranked_and_no_others() -> None:
    trials = [trial(0, 0.9), trial(1, 0.95), trial(2, 0.99, state="PRUNED"), trial(3, None, state="FAIL")]
    assert [entry.numbers for entry in ranking(trials, ACC)] == [[1], [0]]


def test_configurations_rank_by_the_mean_over_their_seeds() -> None:
    trials = [trial(0, 0.99, "a"), trial(1, 0.91, "a"), trial(2, 0.96, "b"), trial(3, 0.96, "b")]
    best, second = ranking(trials, ACC)
    assert (best.config_id, best.mean, best.std, len(best.trials)) == ("b", 0.96, 0.0, 2)
    assert (second.best_trial.number, second.numbers) == (0, [0, 1])
    assert second.mean == pytest.approx(0.95)
    assert second.std == pytest.approx(0.08 / 2**0.5)


def test_a_row_has_the_best_trial_and_the_statistics_over_all() -> None:
    (entry,) = ranking([trial(0, 0.5, "a", best={"val/acc": 0.5}), trial(1, 0.75, "a", best={"val/acc": 0.75})], ACC)
    row = entry.to_row()
    assert {name: row[name] for name in ("number", "value", "best.val/acc", "mean", "n", "numbers")} == {
        "number": 1,
        "value": 0.75,
        "best.val/acc": 0.75,
        "mean": 0.625,
        "n": 2,
        "numbers": [0, 1],
    }


def test_with_several_objectives_the_pareto_front_comes_first() -> None:
    points = {0: (0.5, 9.0), 1: (0.1, 5.0), 2: (0.4, 1.0), 3: (0.5, 8.0)}
    trials = [trial(n, a, best={"val/loss": a, "time": b}) for n, (a, b) in points.items()]
    assert [entry.best_trial.number for entry in ranking(trials, LOSS_AND_TIME)] == [1, 2, 0, 3]


def test_what_violates_a_constraint_comes_last_and_is_never_the_best() -> None:
    trials = [trial(0, 0.9, infeasible="b"), trial(1, 0.5), trial(2, 0.95, "c"), trial(3, 0.95, "c", infeasible="a")]
    trials[0] = replace(trials[0], violation=0.1)
    trials[3] = replace(trials[3], violation=0.2)
    ranked = ranking(trials, ACC)
    assert [entry.config_id for entry in ranked] == ["1", "0", "c"]  # all seeds must meet the constraints
    assert [entry.best_trial.number for entry in winners(ranked)] == [1]
    assert [entry.infeasible for entry in ranked] == ["", "b", "a"]
    assert none_feasible(ranked) == ""
    left = ranking([trials[0], *trials[2:]], ACC)
    assert winners(left) == []
    assert none_feasible(left) == "no completed trial meets the constraints; the nearest is trial 0: b"


def test_what_violates_a_constraint_is_not_on_the_front_and_beats_nothing() -> None:
    points = {0: (0.1, 1.0), 1: (0.5, 9.0), 2: (0.6, 8.0), 3: (0.6, 9.0)}
    trials = [trial(n, a, best={"val/loss": a, "time": b}) for n, (a, b) in points.items()]
    ranked = ranking([replace(trials[0], infeasible="a", violation=1.0), *trials[1:]], LOSS_AND_TIME)
    assert [(entry.best_trial.number, entry.on_pareto_front) for entry in ranked] == [
        (1, True),
        (2, True),
        (3, False),
        (0, False),
    ]
    assert winners(ranking([replace(trials[0], infeasible="a", violation=1.0)], LOSS_AND_TIME)) == []


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from([0.0, 0.25, 1.0, math.nan])] * 3), min_size=1, max_size=12))
def test_the_pareto_front_is_what_no_other_dominates(points: list[tuple[float, ...]]) -> None:
    names = ("val/acc", "size", "loss")
    objectives = [Objective("val/acc", "maximize"), Objective("size", "minimize"), Objective("loss", "minimize")]
    trials = [trial(number, point[0], best=dict(zip(names, point, strict=True))) for number, point in enumerate(points)]
    worst = [-math.inf, math.inf, math.inf]  # a missing value counts as the worst
    full = [[w if math.isnan(value) else value for value, w in zip(point, worst, strict=True)] for point in points]

    def dominates(a: list[float], b: list[float]) -> bool:
        return a[0] >= b[0] and a[1] <= b[1] and a[2] <= b[2] and a != b

    expected = {number for number, point in enumerate(full) if not any(dominates(other, point) for other in full)}
    assert {entry.best_trial.number for entry in ranking(trials, objectives) if entry.on_pareto_front} == expected


def test_a_configuration_whose_other_seeds_were_lost_stands_below_the_whole_ones() -> None:
    whole = [trial(n, 0.97, "whole") for n in range(3)]
    lucky = [trial(3, 0.99, "lucky"), trial(4, None, "lucky", state="PRUNED"), trial(5, None, "lucky", state="FAIL")]
    assert [entry.config_id for entry in ranking([*whole, *lucky], ACC)] == ["whole", "lucky"]
