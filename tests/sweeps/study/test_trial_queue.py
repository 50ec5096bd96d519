"""Claims: which trial comes next, with which values, and in which order it is written."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState, create_trial
from studies import claimed, complete, create_study, study_spec

from sweeps.study.study import SharedStudy


def test_a_released_trial_comes_back_under_its_number_with_its_values(tmp_path: Path) -> None:
    study = create_study(tmp_path, n_trials=1)
    first = study.claim(0)
    assert first is not None
    study.release(first)
    second = study.claim(1)
    assert second is not None
    assert (second.number, second.values, second.attempt) == (first.number, first.values, 2)
    assert study.claim(0) is None


def test_a_trial_that_somebody_queued_with_optuna_is_run_as_one_of_ours(tmp_path: Path) -> None:
    study = create_study(tmp_path, n_trials=2)
    study._handle.study.enqueue_trial({"model.network.width": 13})
    claim = claimed(study)
    assert (claim.number, claim.attempt, claim.run, claim.config_id, claim.seed_number) == (0, 1, None, "0", 0)
    assert claim.values["model.network.width"] == 13
    assert set(claim.values) == {"model.network.width", "model.optimizer.lr"}
    assert complete(study, claim)


def test_draws_depend_on_the_number_of_a_trial_not_on_who_asks(tmp_path: Path) -> None:
    spec = study_spec(n_trials=4)
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    alone = create_study(one, spec)
    expected = [claim.values for _ in range(4) if (claim := alone.claim(0))]
    shared = create_study(two, spec)
    others = [shared, *(SharedStudy(two, spec) for _ in range(3))]  # as after restarts
    drawn = [claim.values for study in others if (claim := study.claim(0))]
    assert drawn == expected
    assert len({str(values) for values in expected}) == 4


def test_named_runs_come_first_and_every_configuration_has_all_its_seeds(tmp_path: Path) -> None:
    runs = {"deep": {"model.network.depth": 4}, "wide": {"model.network.width": 16}}
    study = create_study(tmp_path, runs=runs, seeds=3, n_trials=12)
    claims = [claim for _ in range(20) if (claim := study.claim(0))]
    assert len(claims) == 12
    assert [claim.run for claim in claims[:6]] == ["deep"] * 3 + ["wide"] * 3
    assert claims[3].values == {"model.network.width": 16}
    assert set(Counter(claim.config_id for claim in claims).values()) == {3}
    by_config = {claim.config_id: [c.seed_number for c in claims if c.config_id == claim.config_id] for claim in claims}
    assert all(sorted(numbers) == [0, 1, 2] for numbers in by_config.values())
    sampled = [claim for claim in claims if claim.run is None]
    assert all(a.values == b.values for a in sampled for b in sampled if a.config_id == b.config_id)


def test_repeats_that_were_not_queued_are_made_up_for(tmp_path: Path) -> None:
    study = create_study(tmp_path, seeds=2, n_trials=2)
    claim = claimed(study)
    create_study(tmp_path, study.spec)
    study.release(claim)
    for _ in range(2):
        again = study.claim(0)
        assert again is not None
    assert len(study.trials()) == 2


def test_a_trial_that_runs_already_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = create_study(tmp_path, n_trials=1)
    claim = claimed(study)
    study.release(claim)
    take = study._handle.storage.set_trial_state_values
    with monkeypatch.context() as patch:  # as a database does that has given the lock to another, who took the trial
        patch.setattr(study._handle.storage, "set_trial_state_values", lambda *given: take(*given) and False)
        assert study.claim(0) is None
    assert study.claim(0) is not None


def test_a_trial_that_somebody_queues_during_a_claim_has_a_number_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = study_spec(n_trials=3)
    study, other = create_study(tmp_path, spec), SharedStudy(tmp_path, spec)
    create = study._handle.storage.create_new_trial

    def create_second(*given: Any) -> int:
        other._handle.study.enqueue_trial({"model.network.width": 5})
        return create(*given)

    with monkeypatch.context() as patch:
        patch.setattr(study._handle.storage, "create_new_trial", create_second)
        claims = [study.claim(0)]
    claims += [study.claim(0), study.claim(0)]
    assert [claim and (claim.number, claim.config_id) for claim in claims] == [(1, "1"), (0, "0"), (2, "2")]
    assert all(claim and complete(study, claim) for claim in claims)
    assert study.is_finished()


def test_a_trial_that_was_added_from_elsewhere_counts_as_one(tmp_path: Path) -> None:
    study = create_study(tmp_path, n_trials=4, seeds=2)
    study._handle.study.add_trial(create_trial(state=TrialState.COMPLETE, value=0.5))
    while claim := study.claim(0):
        assert complete(study, claim)
    assert study.is_finished()
    assert len(study.trials()) == 5  # as configurations are whole


def test_a_trial_that_another_finished_while_this_process_hung_in_its_claim_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = create_study(tmp_path, n_trials=2)
    study.release(claimed(study))
    other = SharedStudy(tmp_path, study.spec)
    take = study._handle.storage.set_trial_state_values

    def take_and_hang(trial_id: int, state: TrialState) -> bool:
        taken = take(trial_id, state)
        other._handle.storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.5])  # without the lock
        return taken

    with monkeypatch.context() as patch:
        patch.setattr(study._handle.storage, "set_trial_state_values", take_and_hang)
        assert study.claim(0) is None
    claim = claimed(study)
    assert claim.number == 1
