"""Programs that use plain Optuna on the journal of a sweep that runs: none waits for the other, no record is lost."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalFileSymlinkLock
from optuna.trial import TrialState
from studies import claimed, complete, create_study

from sweeps.study.journal import CrashSafeJournal
from sweeps.study.storage import JOURNAL

SPACE = {
    "x": {"low": 0.0, "high": 1.0, "type": "float"},
    "kind": {"choices": ["a", [1, 2]]},
}
LOCKS = [JournalFileSymlinkLock, JournalFileOpenLock]


def client(folder: Path, lock: Any = JournalFileSymlinkLock) -> optuna.Study:
    path = str(folder / JOURNAL)
    return optuna.load_study(study_name="tiny", storage=JournalStorage(JournalFileBackend(path, lock(path))))


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(_: float) -> None:
        raise AssertionError("it waits for a lock")

    monkeypatch.setattr(time, "sleep", wait)


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("lock", LOCKS)
def test_a_trial_that_a_client_enqueues_is_run_next_and_is_one_of_the_total(tmp_path: Path, lock: Any) -> None:
    study = create_study(tmp_path, space=SPACE, n_trials=3)
    running = claimed(study)
    with study._handle.lock():  # as in the middle of a claim
        client(tmp_path, lock).enqueue_trial({"x": 0.25, "kind": [1, 2]})
    claim = claimed(study)
    assert claim.values == {"x": 0.25, "kind": "[1, 2]"}
    assert complete(study, claim)
    assert complete(study, running)
    assert complete(study, claimed(study))
    assert study.claim(0) is None
    assert study.is_finished()
    assert len(client(tmp_path, lock).trials) == 3


def test_a_trial_that_is_enqueued_after_the_last_claim_comes_on_top(tmp_path: Path) -> None:
    study = create_study(tmp_path, space=SPACE, n_trials=1)
    running = claimed(study)
    client(tmp_path).enqueue_trial({"x": 0.25})
    assert complete(study, running)
    assert not study.is_finished()
    claim = claimed(study)
    assert claim.values["x"] == 0.25
    assert complete(study, claim)
    assert study.is_finished()


@pytest.mark.parametrize("values", [{"kind": "zzz"}, {"x": "many"}, {"x": None}])
def test_a_trial_with_values_that_cannot_be_used_fails_and_its_worker_goes_on(tmp_path: Path, values: Any) -> None:
    study = create_study(tmp_path, space=SPACE, n_trials=2)
    client(tmp_path).enqueue_trial(values)
    assert study.claim(0) is None
    (failed,) = study.trials()
    ((name, value),) = values.items()
    assert failed.state == TrialState.FAIL
    assert f"space.{name}: cannot have the value {value!r} that was enqueued" in failed.user_attrs["result"]["reason"]
    assert complete(study, claimed(study))
    assert study.is_finished()


def test_a_failed_append_keeps_the_record_that_a_client_appended_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = CrashSafeJournal(tmp_path / JOURNAL), JournalFileBackend(str(tmp_path / JOURNAL))
    ours.append_logs([{"n": 1}])

    def full(_: int) -> None:
        monkeypatch.undo()
        theirs.append_logs([{"client": 1}])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        ours.append_logs([{"n": 2}])
    ours.append_logs([{"n": 3}])
    assert list(CrashSafeJournal(tmp_path / JOURNAL).read_logs(0)) == [{"n": 1}, {"client": 1}, {"n": 3}]
    assert [path.name for path in tmp_path.iterdir()] == [JOURNAL]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_record_that_a_client_is_still_writing_is_not_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: Any
) -> None:
    path, theirs = tmp_path / JOURNAL, lock(str(tmp_path / JOURNAL))
    journal = CrashSafeJournal(path)
    theirs.acquire()
    with path.open("ab") as file:
        file.write(b'{"client":')

    def finish_the_record(_: float) -> None:
        monkeypatch.undo()
        with path.open("ab") as file:
            file.write(b"1}\n")
        theirs.release()

    monkeypatch.setattr(time, "sleep", finish_the_record)
    journal.append_logs([{"n": 1}])
    assert list(CrashSafeJournal(path).read_logs(0)) == [{"client": 1}, {"n": 1}]


def test_a_client_that_was_killed_in_an_append_neither_blocks_nor_spoils_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / JOURNAL
    journal = CrashSafeJournal(path)
    (tmp_path / f"{JOURNAL}.lock").symlink_to("relative/to/another/folder")
    path.write_bytes(b'{"client":')
    monkeypatch.setattr("sweeps.study.journal._CLIENT_GRACE_S", 0.05)
    journal.append_logs([{"n": 1}])
    assert list(CrashSafeJournal(path).read_logs(0)) == [{"n": 1}]


@pytest.mark.usefixtures("no_waiting")
def test_the_lock_file_of_an_older_version_keeps_no_client_waiting(tmp_path: Path) -> None:
    complete(study := create_study(tmp_path, space=SPACE), claimed(study))
    lock = tmp_path / f"{JOURNAL}.lock"
    lock.touch()
    os.utime(lock, (0, 0))
    create_study(tmp_path, space=SPACE)
    client(tmp_path).enqueue_trial({"x": 0.5})
