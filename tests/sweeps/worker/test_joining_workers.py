"""A worker as it joins a sweep: tracking, GPUs, Slurm, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from forked import Forked
from optuna.trial import TrialState
from stand_in_workers import wait_for, waits_for_lock
from worker_sweeps import join, launched, sweep

from lit_dl.errors import ConfigError
from lit_dl.tracking import Mode, logged_rows
from sweeps.cli import build_parser
from sweeps.replay import replay_trial
from sweeps.results.trial_result import finished_results
from sweeps.spec.spec import SlotSize
from sweeps.study.locks import locked
from sweeps.study.records import TrialOutcome
from sweeps.worker.run_trial import WorkerContext


@pytest.mark.parametrize(
    ("said", "asked", "expected"),
    [
        ("disabled", None, "disabled"),
        ("offline", None, "offline"),
        (None, None, "offline"),  # by a launcher of before it was said
        ("disabled", "offline", "offline"),
        ("offline", "disabled", "disabled"),
    ],
)
def test_a_worker_that_joins_tracks_as_the_launcher_said_unless_it_is_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Mode | None, asked: Mode | None, expected: Mode
) -> None:
    assert build_parser().parse_args(["worker", "run"]).wandb is None
    study = launched(tmp_path, n_trials=1, evaluate_test="none")
    if said is not None:
        study.attributes.wandb = said
    modes = []

    def run_trial(spec: Any, claim: Any, context: WorkerContext, *rest: Any) -> TrialOutcome:
        modes.append(context.wandb)
        return TrialOutcome(TrialState.COMPLETE, [0.5], None, {"outcome": "completed"})

    monkeypatch.setattr("sweeps.worker.loop.run_trial", run_trial)
    join(tmp_path / "run", asked)
    assert modes == [expected]


def test_a_worker_that_cannot_track_as_the_launcher_said_takes_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    study = launched(tmp_path)
    study.attributes.wandb = "online"
    with pytest.raises(ConfigError, match=r"^tracking\.wandb: online needs an API key"):
        join(tmp_path / "run")
    assert study.trials() == []


@pytest.mark.parametrize(("gpus", "seen"), [(1, 0), (2, 1), (4, 3), (0.25, 0)])
def test_a_worker_with_fewer_gpus_than_a_slot_takes_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: float, seen: int
) -> None:
    study = launched(tmp_path, n_trials=1, slot=SlotSize(gpus=gpus))
    monkeypatch.setattr("torch.cuda.device_count", lambda: seen)
    with pytest.raises(ConfigError, match=rf"^slot\.gpus: must be GPUs .* got {gpus}, and this one sees {seen}$"):
        join(tmp_path / "run")
    assert study.trials() == []


@pytest.mark.parametrize(("gpus", "seen"), [(2, 2), (1, 3), (0.5, 1), (None, 0)])
def test_a_worker_with_the_gpus_of_a_slot_takes_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: float | None, seen: int
) -> None:
    study = launched(tmp_path, n_trials=1, evaluate_test="none", slot=SlotSize(gpus=gpus))
    monkeypatch.setattr("torch.cuda.device_count", lambda: seen)
    verdict = TrialOutcome(TrialState.COMPLETE, [0.5], None, {"outcome": "completed"})
    monkeypatch.setattr("sweeps.worker.loop.run_trial", lambda *_: verdict)
    join(tmp_path / "run")
    assert study.is_finished()


SLURM = {
    "SLURM_JOB_ID": "1234",
    "SLURM_JOB_NAME": "sweep",
    "SLURM_NTASKS": "4",
    "SLURM_NNODES": "1",
    "SLURM_NODEID": "0",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "3",
}


def test_a_task_of_a_slurm_job_is_a_worker_of_its_own_that_tracks_all_it_runs(tmp_path: Path) -> None:
    """Lightning would make one training of the job's four tasks, of which the first alone tells W&B."""
    study = launched(tmp_path, n_trials=1, evaluate_test="none")
    words = [sys.executable, "-m", "sweeps", "worker", str(tmp_path / "run")]  # Lightning reads SLURM at its import
    done = subprocess.run(words, cwd=tmp_path, env={**os.environ, **SLURM}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    row = finished_results(study.spec, study.trials(), {})[0].to_row()
    assert (row["outcome"], row["slot"]) == ("completed", 3), row["reason"]
    (path,) = (tmp_path / "run" / "trials" / "00000").glob("wandb/offline-run-*/run-*.wandb")
    tracked = {line["epoch"]: line["val/acc"] for line in logged_rows(path) if "val/acc" in line}
    assert tracked == study.trials()[0].intermediate_values
    assert len(tracked) == 3


def test_a_trial_is_repeated_in_a_slurm_job_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(tmp_path, n_trials=1)
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    assert replay_trial(tmp_path / "run", 0) == 0


def test_a_second_signal_ends_a_worker_that_hangs(tmp_path: Path) -> None:
    launched(tmp_path)
    with locked(tmp_path / "run" / "study.lock"):
        worker = Forked(["-m", "sweeps", "worker", tmp_path / "run"], tmp_path)
        try:
            wait_for(lambda: waits_for_lock(worker.pid) or worker.poll() is not None)
            worker.send_signal(signal.SIGTERM)
            worker.send_signal(signal.SIGINT)
            assert worker.wait(timeout=20) == 143
        finally:
            worker.kill()
