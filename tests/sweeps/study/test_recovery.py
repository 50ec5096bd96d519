"""Recovery: trials of dead owners and of interrupted claims are requeued, or given up."""

from __future__ import annotations

import errno
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from strict_storage import Killed, kill_after, make_strict
from studies import claim_and_die, claimed, complete, create_study, study_spec

from sweeps.study.crashes import MAX_CRASHES
from sweeps.study.journal import CrashSafeJournal
from sweeps.study.liveness import identity
from sweeps.study.study import SharedStudy


def test_the_trials_of_a_dead_process_wait_again_and_those_of_a_living_do_not(tmp_path: Path) -> None:
    study = create_study(tmp_path, n_trials=2)
    mine = claimed(study)
    number = claim_and_die(tmp_path)
    assert study.reclaim() == [number]
    assert complete(study, mine)
    again = claimed(study)
    assert (again.number, again.attempt) == (number, 2)


def test_a_running_trial_that_is_nobodys_waits_again(tmp_path: Path) -> None:
    study = create_study(tmp_path, n_trials=1)
    study._handle.study.ask()
    assert study.reclaim() == [0]
    claim = claimed(study)
    assert set(claim.values) == {"model.network.width", "model.optimizer.lr"}


def test_a_trial_that_takes_three_workers_with_it_fails(tmp_path: Path) -> None:
    study = create_study(tmp_path, n_trials=1)
    for expected in ([0], [0], []):
        claim_and_die(tmp_path)
        assert study.reclaim() == expected
    (trial,) = study.trials()
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["result"]["outcome"] == "killed"
    assert study.is_finished()


def test_an_owner_on_another_machine_is_dead_only_to_who_has_the_folder(tmp_path: Path) -> None:
    study = create_study(tmp_path, n_trials=1)
    claim = claimed(study)
    study._handle.storage.set_trial_user_attr(
        claim.trial_id, "owner", {"machine": "elsewhere", "pid": 1, "started": "1"}
    )
    assert study.reclaim() == []
    assert study.reclaim(elsewhere=True) == [0]


class Cut:
    """A journal in which the `at`-th append fails: before it is written, as on a full disk, or after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, is_written: bool) -> None:
        self.left, self.is_written, self.append = at, is_written, CrashSafeJournal.append_logs
        cut = self

        def append(journal: CrashSafeJournal, logs: list[dict[str, Any]]) -> None:
            cut.left -= 1
            if cut.left or cut.is_written:
                cut.append(journal, logs)
            if not cut.left:
                raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(CrashSafeJournal, "append_logs", append)


@pytest.mark.parametrize("is_written", [False, True])
def test_a_claim_cut_short_at_any_write_leaves_no_trial_that_nobody_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_written: bool
) -> None:
    monkeypatch.setattr("sweeps.study.retry._FIRST_DELAY_S", 0.0)
    spec = study_spec(n_trials=4, seeds=2)
    for at in range(1, 30):
        folder = tmp_path / str(at)
        study = create_study(folder, spec)
        study.release(claimed(study))  # so that a trial waits that has an attempt already
        with monkeypatch.context() as patch:
            cut = Cut(patch, at, is_written)
            claims = [claim for _ in range(4) if (claim := study.claim(0))]
        study.reclaim()
        while claim := study.claim(0):
            claims.append(claim)
        assert sorted(claim.number for claim in claims) == [0, 1, 2, 3], at
        written = [trial.params for trial in SharedStudy(folder, spec).trials()]
        assert [claim.values for claim in sorted(claims, key=lambda claim: claim.number)] == written, at
        assert all(complete(study, claim) for claim in claims), at
        assert study.is_finished()
        if cut.left > 0:
            return
    raise AssertionError("more writes than were cut")


def test_a_trial_that_gets_further_each_time_may_take_any_number_of_owners_with_it(tmp_path: Path) -> None:
    study = create_study(tmp_path, n_trials=1)
    for epoch in range(1, 3 * MAX_CRASHES):
        claim = claimed(study)
        study.report(claim, epoch, 0.5)
        study.requeue_crashed(claim, "rank 1 died")
    for _ in range(MAX_CRASHES - 1):  # the last of those before was the first without progress since
        claim = claimed(study)
        study.requeue_crashed(claim, "rank 1 died")
    assert study.claim(0) is None
    (trial,) = study.trials()
    assert trial.state == TrialState.FAIL
    row = trial.user_attrs["result"]
    assert (row["outcome"], row["reason"]) == ("killed", f"rank 1 died in each of {MAX_CRASHES} attempts")


def test_a_death_is_counted_once_also_when_who_counts_it_dies_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = create_study(tmp_path, n_trials=1)
    claim = claimed(study)
    with monkeypatch.context() as patch:
        patch.setattr(study._handle.storage, "set_trial_state_values", lambda *_: 1 / 0)
        for _ in range(MAX_CRASHES):
            with pytest.raises(ZeroDivisionError):
                study.requeue_crashed(claim, "rank 0 died")
    study.requeue_crashed(claim, "rank 0 died")
    assert claimed(study).attempt == 2
    assert study.trials()[0].user_attrs["deaths"]["count"] == 1


@pytest.mark.parametrize("seeds", [1, 2])
def test_who_dies_while_values_are_drawn_is_not_held_against_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: int
) -> None:
    study = create_study(tmp_path, n_trials=2, seeds=seeds)
    for _ in range(MAX_CRASHES + 1):
        with monkeypatch.context() as patch:
            patch.setattr("sweeps.study.trial_queue.DeferredSuggestion", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                study.claim(0)
        trial = study.trials()[0]
        study._handle.storage.set_trial_user_attr(trial._trial_id, "owner", {})
        assert study.reclaim() == [0]
    claim = claimed(study)
    assert (claim.number, claim.attempt) == (0, MAX_CRASHES + 2)
    assert "deaths" not in study.trials()[0].user_attrs


def test_recovery_modifies_no_waiting_trial_except_for_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = create_study(tmp_path, n_trials=1)
    make_strict(study._handle.storage, monkeypatch)
    study.release(claimed(study))
    study.requeue_crashed(claimed(study), "rank 0 died")
    claim_and_die(tmp_path)
    assert study.reclaim() == [0]
    claim = claimed(study)
    assert claim.attempt == 4
    assert complete(study, claim)


WRITES_UNTIL_OWNED = 3  # state, attempt, owner


@pytest.mark.parametrize("writes", range(WRITES_UNTIL_OWNED + 1))
def test_a_claimer_that_is_killed_between_two_writes_leaves_no_trial_without_a_known_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    study, other = create_study(tmp_path, n_trials=1), SharedStudy(tmp_path, study_spec(n_trials=1))
    late = claimed(study)
    study.release(late)  # so the previous owner, this process, is alive
    with monkeypatch.context() as patch:
        kill_after(writes, study._handle.storage, patch)
        with suppress(Killed):  # all parameters are stored already, so `owner` is the last write
            study.claim(0)
    (trial,) = other.trials()
    assert trial.state == (TrialState.RUNNING if writes else TrialState.WAITING)
    assert other.report(late, 1, 0.5) == "stale"
    assert not other.renew(late)
    assert not complete(other, late)
    claim = other.claim(1)
    if writes == WRITES_UNTIL_OWNED:
        assert claim is None
        assert trial.user_attrs["owner"].items() >= identity().items()
    else:
        assert claim is not None
        assert claim.attempt == (2 if writes < 2 else 3)
        assert complete(other, claim)
        assert "deaths" not in other.trials()[0].user_attrs  # nothing ran


def test_who_looks_for_orphans_in_the_middle_of_a_claim_waits_until_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, other = create_study(tmp_path, n_trials=1), SharedStudy(tmp_path, study_spec(n_trials=1))
    study.release(claimed(study))
    write, found = study._handle.storage.set_trial_user_attr, list[list[int]]()
    reclaims = threading.Thread(target=lambda: found.append(other.reclaim()))

    def write_while_another_looks(trial_id: int, key: str, value: Any) -> None:
        if key == "owner":
            reclaims.start()
            reclaims.join(0.2)
            assert found == []
        write(trial_id, key, value)

    monkeypatch.setattr(study._handle.storage, "set_trial_user_attr", write_while_another_looks)
    claim = claimed(study)
    reclaims.join(10)
    assert found == [[]]
    assert complete(study, claim)


def test_an_interrupted_requeue_is_completed_by_the_next_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, other = create_study(tmp_path, n_trials=1), SharedStudy(tmp_path, study_spec(n_trials=1))
    claim = claimed(study)
    with monkeypatch.context() as patch:
        kill_after(1, study._handle.storage, patch)
        with pytest.raises(Killed):
            study.release(claim)
    assert not complete(study, claim)
    assert claimed(other).attempt == 2


def test_a_waiting_trial_of_an_older_version_still_has_its_owner_and_is_claimed(tmp_path: Path) -> None:
    study = create_study(tmp_path, n_trials=1)
    claim = claimed(study)
    study._handle.storage.set_trial_state_values(claim.trial_id, TrialState.WAITING)  # all that a requeue did then
    again = claimed(SharedStudy(tmp_path, study.spec))
    assert (again.number, again.attempt, again.values) == (0, 2, claim.values)
    assert not complete(study, claim)
    assert complete(study, again)
