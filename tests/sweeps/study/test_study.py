"""A shared study as a whole: opening, totals, stale attempts, and failures in a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from studies import claimed, complete, create_study, study_spec

from lit_dl.errors import ConfigError, StorageError
from sweeps.study.handle import StudyHandle
from sweeps.study.records import TrialOutcome, now
from sweeps.study.study import SharedStudy


def test_the_total_is_exact(tmp_path: Path) -> None:
    study = create_study(tmp_path, n_trials=3)
    claims = [claim for _ in range(5) if (claim := study.claim(0))]
    assert [claim.number for claim in claims] == [0, 1, 2]
    assert not study.is_finished()
    assert all(complete(study, claim) for claim in claims)
    assert study.is_finished()


def test_a_stale_attempt_is_refused(tmp_path: Path) -> None:
    study = create_study(tmp_path, n_trials=1)
    late = study.claim(0)
    assert late is not None
    study.release(late)
    current = study.claim(1)
    assert current is not None
    assert not complete(study, late, 0.9)
    study.release(late)  # not its trial any more: nothing happens
    assert complete(study, current, 0.1)
    assert [trial.value for trial in study.trials()] == [0.1]


def test_divergence_reaches_the_sampler_as_a_violated_constraint(tmp_path: Path) -> None:
    study = create_study(tmp_path, n_trials=1)
    claim = claimed(study)
    assert study.finish(claim, TrialOutcome(TrialState.PRUNED, None, {"diverged": 1.0}, {"outcome": "diverged"}))
    (trial,) = study.trials()
    assert trial.state == TrialState.PRUNED
    assert trial.constraints == {"diverged": 1.0}


def test_a_study_of_that_name_with_other_directions_is_refused(tmp_path: Path) -> None:
    spec = study_spec()
    create_study(tmp_path, spec)
    other = study_spec(objective={"metric": "val/loss", "direction": "minimize"})
    with pytest.raises(StorageError, match="must keep the directions it began with, maximize; got minimize"):
        SharedStudy(tmp_path, other, create=True)


def test_a_folder_with_trials_that_the_study_does_not_know_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trials" / "00000").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"which knows fewer trials; give the --storage it began with"):
        create_study(tmp_path, runs={"one": {}})


def end(study: SharedStudy, outcome: str) -> None:
    """Claims a trial and ends it so."""
    claim = claimed(study)
    states = {"completed": TrialState.COMPLETE, "failed": TrialState.FAIL, "killed": TrialState.FAIL}
    state = states.get(outcome, TrialState.PRUNED)
    values = [0.5] if outcome == "completed" else None
    assert study.finish(claim, TrialOutcome(state, values, None, {"outcome": outcome, "finished": now()}))


@pytest.mark.parametrize(
    ("outcomes", "is_failing"),
    [
        (["failed"] * 3, True),
        (["completed", "failed", "failed", "failed"], True),
        (["failed"] * 2, False),
        (["failed", "failed", "completed", "failed", "failed"], False),
        (["failed", "failed", "out_of_memory"], False),
        (["failed", "failed", "diverged", "failed"], False),
        (["failed", "failed", "killed"], False),
        (["killed"] * 3, False),
        (["out_of_memory"] * 3, False),
        (["diverged"] * 3, False),
        (["timed_out"] * 3, False),
    ],
)
def test_failures_in_a_row_over_several_workers_end_the_study(
    tmp_path: Path, outcomes: list[str], is_failing: bool
) -> None:
    spec = study_spec(n_trials=50, max_failures=3)
    studies = [create_study(tmp_path, spec), SharedStudy(tmp_path, spec)]
    for number, outcome in enumerate(outcomes):
        end(studies[number % 2], outcome)
    for study in studies:
        assert study.is_over() == is_failing
        assert not study.is_finished()
    assert (studies[0].claim(0) is None) == is_failing


def test_a_new_launch_gives_failures_another_chance(tmp_path: Path) -> None:
    spec = study_spec(n_trials=50, max_failures=2)
    study = create_study(tmp_path, spec)
    end(study, "failed")
    end(study, "failed")
    assert study.claim(0) is None
    again = create_study(tmp_path, spec)
    end(again, "failed")
    assert again.claim(0) is not None


def test_a_trial_that_a_worker_begins_while_a_launcher_comes_back_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = create_study(tmp_path, n_trials=2)
    read, is_reading = StudyHandle.trials, [True]

    def begin_one_after(study: StudyHandle, *states: Any) -> Any:
        trials = read(study, *states)
        if is_reading.pop() if is_reading else False:
            claim = worker.claim(0)
            assert claim is not None
            (tmp_path / "trials" / f"{claim.number:05d}").mkdir(parents=True)
        return trials

    monkeypatch.setattr(StudyHandle, "trials", begin_one_after)
    SharedStudy(tmp_path, worker.spec, create=True)
    assert len(worker.trials()) == 1


def test_another_sweep_of_that_name_in_the_same_storage_is_refused(tmp_path: Path) -> None:
    create_study(tmp_path)
    other = study_spec(space={"model.network.depth": {"low": 1, "high": 2, "type": "int"}})
    with pytest.raises(ConfigError, match=r"^space: must stay what"):
        SharedStudy(tmp_path, other, create=True)


def test_the_total_is_that_of_the_last_launch(tmp_path: Path) -> None:
    worker = create_study(tmp_path, n_trials=1)
    assert worker.claim(0) is not None
    assert worker.claim(0) is None
    create_study(tmp_path, n_trials=2)
    assert worker.claim(0) is not None
    assert worker.claim(0) is None
