from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from sweep_specs import resolved_spec

from sweeps.results.ranking import ranking
from sweeps.results.trial_result import finished_results
from sweeps.trial_folder import TrialFolder
from sweeps.worker.checkpoint_retention import CheckpointRetention

COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
RUNNING, WAITING = TrialState.RUNNING, TrialState.WAITING
Trials = list[FrozenTrial]


def trials(folder: Path, *ends: tuple[TrialState, float | list[float] | None, Any]) -> Trials:
    """Trials by (state, value, configuration), each with a checkpoint."""
    made = []
    for number, (state, value, config_id) in enumerate(ends):
        values = None if value is None else value if isinstance(value, list) else [value]
        result = {"metrics.latency_ms": float(number)}
        trial = create_trial(state=state, values=values, user_attrs={"config_id": str(config_id), "result": result})
        trial.number = number
        made.append(trial)
        path = TrialFolder(folder, number).checkpoints
        path.mkdir(parents=True, exist_ok=True)
        (path / "best.ckpt").touch()
        (path.parent / "metrics.csv").touch()
    return made


def kept(folder: Path) -> list[int]:
    return sorted(int(path.parent.name) for path in folder.glob("trials/*/checkpoints"))


@pytest.fixture
def keep(tmp_path: Path) -> Callable[..., CheckpointRetention]:
    def make(what: str, **changes: Any) -> CheckpointRetention:
        return CheckpointRetention(resolved_spec(tmp_path, keep=what, **changes), tmp_path)

    return make


def tidied(retention: CheckpointRetention, made: Iterable[FrozenTrial], is_over: bool = False) -> list[int]:
    retention.apply(made, is_over)
    return kept(retention.run_dir)


ENDS = [(COMPLETE, 0.5, 0), (COMPLETE, 0.9, 1), (PRUNED, None, 2), (FAIL, None, 3), (COMPLETE, 0.7, 4)]


def test_all_keeps_all(tmp_path: Path, keep: Callable[..., CheckpointRetention]) -> None:
    assert tidied(keep("all"), trials(tmp_path, *ENDS), is_over=True) == [0, 1, 2, 3, 4]


def test_none_keeps_the_winner_until_it_is_evaluated(tmp_path: Path, keep: Callable[..., CheckpointRetention]) -> None:
    retention, made = keep("none"), trials(tmp_path, *ENDS)
    assert tidied(retention, made) == [1]
    assert tidied(retention, made, is_over=True) == []
    assert len(list(tmp_path.glob("trials/*/metrics.csv"))) == 5  # checkpoints go, and nothing else


def test_none_keeps_none_where_nothing_is_evaluated_at_the_end(
    tmp_path: Path, keep: Callable[..., CheckpointRetention]
) -> None:
    assert tidied(keep("none", evaluate_test="none"), trials(tmp_path, *ENDS)) == []


@pytest.mark.parametrize(
    ("what", "direction", "expected"),
    [
        ("best_1", "maximize", [1]),
        ("best_2", "maximize", [1, 4]),
        ("best_1", "minimize", [0]),
        ("best_9", "minimize", [0, 1, 4]),
    ],
)
def test_the_best_configurations_stay(
    tmp_path: Path, keep: Callable[..., CheckpointRetention], what: str, direction: str, expected: list[int]
) -> None:
    retention = keep(what, objective={"metric": "val/acc", "direction": direction})
    made = trials(tmp_path, *ENDS)
    assert tidied(retention, made) == expected
    assert tidied(retention, made, is_over=True) == expected


def test_a_better_one_takes_the_place_of_the_best(tmp_path: Path, keep: Callable[..., CheckpointRetention]) -> None:
    retention = keep("best_1")
    assert tidied(retention, trials(tmp_path, *ENDS[:1])) == [0]
    assert tidied(retention, trials(tmp_path, *ENDS)) == [1]


def test_a_configuration_is_its_mean_over_seeds(tmp_path: Path, keep: Callable[..., CheckpointRetention]) -> None:
    a, b = [(COMPLETE, 0.9, "a"), (COMPLETE, 0.1, "a")], [(COMPLETE, 0.6, "b"), (COMPLETE, 0.5, "b")]
    assert tidied(keep("best_1", seeds=2), trials(tmp_path, *a, *b)) == [2, 3]


def test_what_stays_is_what_the_ranking_shows_first(tmp_path: Path, keep: Callable[..., CheckpointRetention]) -> None:
    """Of configurations with missing seeds the better mean comes first, however many seeds each has."""
    a = [(COMPLETE, 0.6, "a"), (COMPLETE, 0.6, "a"), (FAIL, None, "a")]
    b = [(COMPLETE, 0.8, "b"), (FAIL, None, "b"), (FAIL, None, "b")]
    c = [(COMPLETE, 0.5, "c")] * 3
    retention = keep("best_2", seeds=3, n_trials=9)
    made = trials(tmp_path, *a, *b, *c)
    shown = ranking(finished_results(retention.spec, made, {}), retention.spec.objectives)
    assert [entry.config_id for entry in shown] == ["c", "b", "a"]
    assert tidied(retention, made) == [3, 6, 7, 8]


def test_one_that_lost_a_seed_stands_below(tmp_path: Path, keep: Callable[..., CheckpointRetention]) -> None:
    a, b = [(COMPLETE, 0.9, "a"), (FAIL, None, "a")], [(COMPLETE, 0.6, "b"), (COMPLETE, 0.5, "b")]
    assert tidied(keep("best_1", seeds=2), trials(tmp_path, *a, *b)) == [2, 3]


@pytest.mark.parametrize("state", [RUNNING, WAITING])
def test_a_configuration_is_no_loser_while_seeds_of_it_are_to_come(
    tmp_path: Path, keep: Callable[..., CheckpointRetention], state: TrialState
) -> None:
    a, b = [(COMPLETE, 0.5, "a"), (COMPLETE, 0.5, "a")], [(COMPLETE, 0.9, "b"), (state, None, "b")]
    retention = keep("best_1", seeds=2)
    assert tidied(retention, trials(tmp_path, *a, *b)) == [0, 1, 2, 3]
    ended = [*a, b[0], (COMPLETE, 0.8, "b")]
    assert tidied(retention, trials(tmp_path, *ended)) == [2, 3]


@pytest.mark.parametrize("state", [RUNNING, WAITING])
@pytest.mark.parametrize("what", ["none", "best_1"])
def test_trials_that_run_or_wait_keep_theirs(
    tmp_path: Path, keep: Callable[..., CheckpointRetention], what: str, state: TrialState
) -> None:
    made = trials(tmp_path, (state, None, 0), (COMPLETE, 0.1, 1), (COMPLETE, 0.2, 2))
    assert tidied(keep(what), made) == [0, 2]


def test_a_worker_tidies_its_own_folder(tmp_path: Path, keep: Callable[..., CheckpointRetention]) -> None:
    made = trials(tmp_path, *ENDS)
    other = tmp_path / "elsewhere"
    trials(other, ENDS[0], ENDS[1])
    assert tidied(CheckpointRetention(keep("best_1").spec, other), made) == [1]
    assert kept(tmp_path) == [0, 1, 2, 3, 4]


def test_of_several_objectives_the_front_stays_until_it_is_evaluated_then_the_first_says_what_is_best(
    tmp_path: Path, keep: Callable[..., CheckpointRetention]
) -> None:
    both = [{"metric": "val/acc", "direction": "maximize"}, {"metric": "val/loss", "direction": "minimize"}]
    made = trials(tmp_path, (COMPLETE, [0.9, 3.0], 0), (COMPLETE, [0.5, 1.0], 1), (COMPLETE, [0.4, 2.0], 2))
    assert tidied(keep("best_1", objective=both), made) == [0, 1]
    assert tidied(keep("best_1", objective=both), made, is_over=True) == [0]


def test_trials_that_violate_a_constraint_are_not_among_the_best(
    tmp_path: Path, keep: Callable[..., CheckpointRetention]
) -> None:
    made = trials(tmp_path, (COMPLETE, 0.5, 0), (COMPLETE, 0.4, 1), (COMPLETE, 0.9, 2), (COMPLETE, 0.8, 3))
    assert tidied(keep("best_1", constraints={"latency_ms": {"high": 1}}), made) == [0]


def test_of_trials_that_all_violate_a_constraint_the_nearest_is_kept_and_none_waits_for_the_test(
    tmp_path: Path, keep: Callable[..., CheckpointRetention]
) -> None:
    made = trials(tmp_path, (COMPLETE, 0.9, 0), (COMPLETE, 0.4, 1))
    assert tidied(keep("best_1", constraints={"latency_ms": {"low": 5}}), made) == [1]
    assert tidied(keep("none", constraints={"latency_ms": {"low": 5}}), made) == []
