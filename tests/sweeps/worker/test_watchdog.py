from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from forked import run_python
from paths import SUPPORT
from sweep_specs import resolved_spec

from sweeps.results.trial_result import finished_results
from sweeps.study.records import RESULT, TrialClaim
from sweeps.study.study import SharedStudy
from sweeps.trial_folder import TrialFolder
from sweeps.worker.loop import work
from sweeps.worker.run_trial import WorkerContext
from sweeps.worker.watchdog import watchdog

CLAIM = TrialClaim(0, 0, 1, {}, None, "0", 0)
HANGS = """
import os, time
from foreign import Scripted

class Hangs(Scripted):
    def __init__(self, lr: float = 1.0) -> None:
        super().__init__([0.5] * 10, lr)

    def training_step(self, batch, batch_idx):
        print("begun", flush=True)
        os.read(os.pipe()[0], 1)
"""
WORKER = """
import sys
from pathlib import Path
from sweeps.worker import watchdog
from sweeps.worker.loop import main

watchdog._GRACE_S = 0.5
sys.exit(main(Path(sys.argv[1]), None, 3, 1, "disabled", False))
"""


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Exit statuses with which this process would have ended."""
    found: list[int] = []
    monkeypatch.setattr("sweeps.worker.watchdog.os._exit", found.append)
    return found


def test_a_trial_that_hangs_is_ended_and_the_next_attempt_tells_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "hangs", raising=False)
    (tmp_path / "hangs.py").write_text(HANGS)
    base: dict[str, Any] = {"model": {"class_path": "hangs.Hangs"}, "trainer": {"max_epochs": 3, "accelerator": "cpu"}}
    objective = {"metric": "score", "direction": "maximize"}
    space = {"model.lr": {"low": 0.1, "high": 1.0}}
    spec = resolved_spec(tmp_path, base=base, objective=objective, space=space, n_trials=1, trial_timeout_s=1)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "spec.yaml").write_text(spec.dump())
    study = SharedStudy(run_dir, spec, create=True)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{SUPPORT}"}
    assert run_python(["-c", WORKER, run_dir], tmp_path, environment).returncode == 1
    folder = TrialFolder(run_dir, 0).path
    assert "begun" in (folder / "log.txt").read_text()
    assert study.reclaim() == [0]
    work(run_dir, None, WorkerContext(run_dir, 0, 1, "disabled", threading.Event()))
    row = finished_results(spec, study.trials(), {})[0].to_row()
    assert (row["state"], row["outcome"], row["slot"], row["attempt"]) == ("PRUNED", "timed_out", 3, 1)
    assert row["reason"] == "it hung beyond trial_timeout_s, 1 s"
    assert not (folder / RESULT).exists()


def test_a_trial_that_ends_in_time_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: list[int]
) -> None:
    monkeypatch.setattr("sweeps.worker.watchdog._GRACE_S", 0.05)
    before = threading.active_count()
    with watchdog(0.05, tmp_path, "uid", CLAIM, 0, threading.Event()):
        assert threading.active_count() == before + 1
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join()
    assert ends == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_anothers", [False, True])
def test_a_trial_that_is_anothers_by_then_gets_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: list[int], is_anothers: bool
) -> None:
    monkeypatch.setattr("sweeps.worker.watchdog._GRACE_S", 0.0)
    stop = threading.Event()
    if is_anothers:
        stop.set()
    with watchdog(0.01, tmp_path, "uid", CLAIM, 0, stop):
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.join()
    assert ends == [1]
    assert (tmp_path / RESULT).exists() != is_anothers


def test_without_a_limit_nobody_watches(tmp_path: Path) -> None:
    before = threading.active_count()
    with watchdog(None, tmp_path, "uid", CLAIM, 0, threading.Event()):
        assert threading.active_count() == before
