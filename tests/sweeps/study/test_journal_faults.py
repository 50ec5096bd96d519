"""The journal under kills: 8 processes share 300 trials; none is lost, doubled, stuck or sampled twice."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from journal_worker import KILL_POINTS
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from paths import SUPPORT
from stand_in_workers import is_running, kill
from studies import claimed, complete

import sweeps.study.recovery
from sweeps.spec.parse_spec import parse_spec
from sweeps.study.records import TrialOutcome
from sweeps.study.storage import JOURNAL
from sweeps.study.study import SharedStudy

TRIALS, PROCESSES, KILLS = 300, 8, 60
_FINISHED = {state.value for state in TrialState if state.is_finished()}


def open_study(folder: Path, trials: int) -> SharedStudy:
    given = {
        "base": {"model": {"class_path": "no.Model"}},
        "objective": {"metric": "loss", "direction": "minimize"},
        "n_trials": trials,
        "space": {"x": {"low": 0.0, "high": 1.0}, "kind": {"choices": ["a", "b"]}},
        "sampler": {"class_path": "RandomSampler", "init_args": {"seed": 11}},
    }
    spec = parse_spec(given, folder, "journal")
    folder.mkdir(exist_ok=True)
    (folder / "spec.yaml").write_text(spec.dump())
    return SharedStudy(folder, spec, create=True)


def finish_all(study: SharedStudy) -> None:
    """Runs what is left, as one worker does."""
    study.reclaim()
    while claim := study.claim(0):
        row = {"outcome": "completed", "attempt": claim.attempt}
        assert study.finish(claim, TrialOutcome(TrialState.COMPLETE, [claim.values["x"]], None, row))


def read_with_optuna(folder: Path) -> list[FrozenTrial]:
    """The trials, as Optuna's own storage reads them."""
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    return optuna.load_study(study_name="journal", storage=storage).trials


def records(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    assert all(line.endswith(b"\n") for line in lines)
    return [json.loads(line) for line in lines]


def ends(folder: Path) -> Counter[int]:
    """Counts by trial how often the journal records a final state."""
    return Counter(record["trial_id"] for record in records(folder) if record.get("state") in _FINISHED)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[FrozenTrial]:
    """The trials of a study that one process runs without a fault."""
    folder = tmp_path_factory.mktemp("undisturbed")
    finish_all(open_study(folder, TRIALS))
    return read_with_optuna(folder)


class Workers:
    """Keeps `PROCESSES` workers running: one that has ended is replaced."""

    def __init__(self, folder: Path) -> None:
        words = [sys.executable, str(SUPPORT / "journal_worker.py"), str(folder)]
        self._forker = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pids: list[int] = []
        self.started = 0

    def replace(self) -> None:
        assert self._forker.stdin is not None
        assert self._forker.stdout is not None
        self.pids = [pid for pid in self.pids if is_running(pid)]
        while len(self.pids) < PROCESSES:
            self.started += 1
            self._forker.stdin.write(f"{self.started}\n")
            self._forker.stdin.flush()
            self.pids.append(int(self._forker.stdout.readline()))

    def close(self) -> None:
        for pid in self.pids:
            kill(pid)
        self._forker.communicate()


@contextmanager
def workers_on(folder: Path) -> Iterator[Workers]:
    workers = Workers(folder)
    try:
        yield workers
    finally:
        workers.close()


def test_eight_processes_that_are_killed_at_random_run_each_trial_once(
    tmp_path: Path, undisturbed: list[FrozenTrial], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps.study.recovery, "MAX_CRASHES", 10**6)
    study, draw, kills = open_study(tmp_path, TRIALS), random.Random(0), 0
    stuck_at = time.monotonic() + 300
    with workers_on(tmp_path) as workers:
        while not study.is_finished():
            assert time.monotonic() < stuck_at, Counter(trial.state.name for trial in study.trials())
            workers.replace()
            done = sum(trial.state.is_finished() for trial in study.trials())
            if done >= kills * (TRIALS - 50) / KILLS and kills < KILLS:
                time.sleep(draw.uniform(0, 0.02))
                kill(draw.choice(workers.pids))
                kills += 1
            study.reclaim()
            time.sleep(0.01)
    trials = read_with_optuna(tmp_path)
    logged = [json.loads(line) for line in (tmp_path / "worker.log").read_text().splitlines()]
    assert [entry for entry in logged if "error" in entry] == []
    assert kills == KILLS
    assert {entry["died"] for entry in logged if "died" in entry} == set(KILL_POINTS)
    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert ends(tmp_path) == Counter(range(TRIALS))
    finished = {entry["finished"]: entry["attempt"] for entry in logged if "finished" in entry}
    assert len(finished) == sum("finished" in entry for entry in logged)
    attempts = {trial.number: trial.user_attrs["result"]["attempt"] for trial in trials}
    assert finished.items() <= attempts.items()
    assert max(attempts.values()) > 1
    assert [trial.params for trial in trials] == [trial.params for trial in undisturbed]
    assert [trial.values for trial in trials] == [trial.values for trial in undisturbed]
    assert len({trial.params["x"] for trial in trials}) == TRIALS


def cuts(content: bytes) -> list[int]:
    """Places to cut: in the middle and at the end of each record, and every eighth byte of the last two.

    `test_journal.py` shows that a torn record is cut off at every byte.
    """
    lines = content.splitlines(keepends=True)
    ends_at = [sum(map(len, lines[: number + 1])) for number in range(len(lines))]
    within = [end - len(line) // 2 for end, line in zip(ends_at, lines, strict=True)]
    return sorted({0, *ends_at, *within, *range(ends_at[-3], ends_at[-1], 8)})


def test_a_journal_that_breaks_off_anywhere_goes_on_to_the_same_trials(
    tmp_path: Path, undisturbed: list[FrozenTrial]
) -> None:
    study = open_study(tmp_path / "whole", 3)
    for number in range(2):
        claim = claimed(study)
        study.report(claim, 1, 0.5)
        if number == 0:
            assert complete(study, claim, claim.values["x"])
    study.release(claim)
    claimed(study)  # its second attempt
    content = (tmp_path / "whole" / JOURNAL).read_bytes()
    expected = [(trial.number, trial.state, trial.params, trial.values) for trial in undisturbed[:3]]
    for cut in cuts(content):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / JOURNAL).write_bytes(content[:cut])
        study = open_study(folder, 3)
        for trial in study.trials([TrialState.RUNNING]):
            study._handle.storage.set_trial_user_attr(trial._trial_id, "owner", {})  # who broke off is dead
        finish_all(study)
        found = [(trial.number, trial.state, trial.params, trial.values) for trial in read_with_optuna(folder)]
        assert found == expected, f"cut at {cut}"
        assert ends(folder) == Counter(range(3)), f"cut at {cut}"
