"""A sweep that stops by itself: at a value that is good enough, or when a terminator of Optuna says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from studies import claimed, complete, create_study, study_spec

from sweeps.study.rehearsal import dry_run_sampler
from sweeps.study.study import SharedStudy

STAGNATION = {
    "class_path": "BestValueStagnationEvaluator",
    "init_args": {"max_stagnation_trials": 2},
}
TERMINATOR = {"class_path": "Terminator", "init_args": {"min_n_trials": 3, "improvement_evaluator": STAGNATION}}


def finish(study: SharedStudy, *values: float) -> None:
    """Runs trials as a worker does."""
    for value in values:
        assert complete(study, claimed(study), value)
        study.stopping.decide()


@pytest.mark.parametrize(("direction", "worse", "good"), [("maximize", 0.98, 0.99), ("minimize", 1.0, 0.98)])
def test_no_trial_is_started_after_one_that_is_good_enough(
    tmp_path: Path, direction: str, worse: float, good: float
) -> None:
    objective = {"metric": "score", "direction": direction}
    study = create_study(tmp_path, objective=objective, stop={"value": 0.99}, n_trials=9)
    finish(study, worse)
    running = claimed(study)
    finish(study, good)
    assert study.claim(0) is None
    assert not study.is_over()  # what runs goes on to its end
    assert complete(study, running, worse)
    assert study.is_over()
    assert study.is_finished()
    assert study.stopping.reason() == f"score has reached 0.99 (trial 2: {good})"
    assert len(study.trials()) == 3


def test_a_sweep_goes_on_only_when_its_rule_is_changed_or_removed(tmp_path: Path) -> None:
    finish(create_study(tmp_path, stop={"value": 0.5}, n_trials=4), 0.6)
    again = create_study(tmp_path, stop={"value": 0.5}, n_trials=9)
    assert again.claim(0) is None
    assert again.is_finished()
    further = create_study(tmp_path, stop={"value": 0.7}, n_trials=4)
    assert further.stopping.reason() is None
    finish(further, 0.8)
    assert further.claim(0) is None
    removed = create_study(tmp_path, n_trials=4)
    finish(removed, 0.9, 0.9)
    assert removed.claim(0) is None
    assert len(removed.trials()) == 4


def test_a_rule_that_is_added_later_looks_at_the_trials_before(tmp_path: Path) -> None:
    finish(create_study(tmp_path, n_trials=4), 0.6)
    assert create_study(tmp_path, stop={"value": 0.5}, n_trials=4).claim(0) is None


def test_a_trial_that_waits_is_not_started_after_a_stop(tmp_path: Path) -> None:
    study = create_study(tmp_path, stop={"value": 0.5}, n_trials=4)
    waits = claimed(study)
    finish(study, 0.6)
    study.release(waits)
    assert study.claim(0) is None
    assert study.is_finished()
    assert [trial.state for trial in study.trials()] == [TrialState.WAITING, TrialState.COMPLETE]


def test_repeats_count_by_their_mean(tmp_path: Path) -> None:
    study = create_study(tmp_path, stop={"value": 0.5}, seeds=2, n_trials=6)
    finish(study, 0.9)
    assert study.stopping.reason() is None  # its other seed may be worse
    finish(study, 0.0, 0.5)
    assert study.stopping.reason() is None
    finish(study, 0.7)
    assert study.stopping.reason() == "val/acc has reached 0.5 (the mean of trials 2, 3: 0.6)"


def test_a_terminator_of_optuna_stops_a_sweep(tmp_path: Path) -> None:
    spec = study_spec(stop={"terminator": TERMINATOR}, n_trials=9)
    dry_run_sampler(spec)
    study = create_study(tmp_path, spec)
    finish(study, 0.5, 0.4, 0.3)
    assert study.stopping.reason() is None
    finish(study, 0.2)
    assert study.claim(0) is None
    assert study.stopping.reason() == "Terminator expects too little from more trials"


@pytest.mark.parametrize("improvement", ["RegretBoundEvaluator", "EMMREvaluator"])
def test_terminators_with_a_model_are_rehearsed(improvement: str) -> None:
    arguments: dict[str, Any] = {"improvement_evaluator": improvement, "min_n_trials": 4}
    error = {"class_path": "StaticErrorEvaluator", "init_args": {"constant": 0.001}}
    stop = {"terminator": {"class_path": "Terminator", "init_args": {**arguments, "error_evaluator": error}}}
    dry_run_sampler(study_spec(stop=stop, n_trials=5))
