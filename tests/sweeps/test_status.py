from __future__ import annotations

import errno
import json
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest
from optuna.trial import TrialState
from sweep_specs import resolved_spec

from sweeps import cli, status
from sweeps.live import LiveView
from sweeps.results.files import read_results
from sweeps.results.status_file import read_status
from sweeps.status import Progress, launch_entries
from sweeps.study.records import TrialClaim, TrialOutcome, now
from sweeps.study.study import SharedStudy
from sweeps.supervisor import SweepSupervisor


@pytest.fixture
def study(tmp_path: Path) -> SharedStudy:
    spec = resolved_spec(tmp_path, n_trials=4)
    (tmp_path / "spec.yaml").write_text(spec.dump())
    return SharedStudy(tmp_path, spec, create=True)


@pytest.fixture
def progress(tmp_path: Path, study: SharedStudy) -> Progress:
    return Progress(study.spec, study, tmp_path, launch_entries(None, "offline", 2, "local"))


def claimed(study: SharedStudy, slot: int = 0) -> TrialClaim:
    claim = study.claim(slot)
    assert claim is not None
    return claim


def end(study: SharedStudy, value: float | None) -> None:
    state, outcome = (TrialState.FAIL, "failed") if value is None else (TrialState.COMPLETE, "completed")
    row = {"outcome": outcome, "reason": "", "finished": now()}
    assert study.finish(claimed(study), TrialOutcome(state, None if value is None else [value], None, row))


def test_what_is_published_is_what_the_study_holds(tmp_path: Path, study: SharedStudy, progress: Progress) -> None:
    end(study, 0.25)
    end(study, None)
    running = claimed(study, slot=5)
    study.report(running, 1, 0.5)
    study.report(running, 2, 0.75)
    study.release(claimed(study))
    found = progress.publish("running")
    assert found == read_status(tmp_path)
    assert found["counts"] == {"COMPLETE": 1, "PRUNED": 0, "FAIL": 1, "RUNNING": 1, "WAITING": 1}
    assert found["outcomes"] == {"completed": 1, "failed": 1}
    assert (found["n_trials"], found["workers"], found["storage"]) == (4, 2, "journal")
    assert (found["best"]["number"], found["best"]["value"]) == (0, 0.25)
    (shown,) = found["running"]
    assert (shown["number"], shown["slot"], shown["epoch"], shown["value"]) == (2, 5, 2, 0.75)
    assert shown["params"] == running.values
    assert [result.number for result in read_results(tmp_path)] == [0, 1]


def test_several_objectives_are_published_as_their_front(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objectives = [{"metric": "val/acc", "direction": "maximize"}, {"metric": "val/loss", "direction": "minimize"}]
    spec = resolved_spec(tmp_path, n_trials=4, objective=objectives)
    (tmp_path / "spec.yaml").write_text(spec.dump())
    study = SharedStudy(tmp_path, spec, create=True)
    for acc, loss in [(0.9, 0.5), (0.95, 0.9), (0.9, 0.6)]:
        row = {"outcome": "completed", "metrics.val/acc": acc, "metrics.val/loss": loss, "finished": now()}
        assert study.finish(claimed(study), TrialOutcome(TrialState.COMPLETE, [acc, loss], None, row))
    progress = Progress(spec, study, tmp_path, launch_entries(None, "offline", 2, "local"))
    found = progress.publish("running")
    values = [(entry["number"], *entry["values"].values()) for entry in found["front"]]
    assert values == [(1, 0.95, 0.9), (0, 0.9, 0.5)]
    with pytest.raises(SystemExit):
        cli.main(["status", str(tmp_path)])
    out = capsys.readouterr().out
    assert "2 on the Pareto front" in out
    assert "  trial 0: val/acc 0.9, val/loss 0.5\n" in out
    assert "best so far" not in out


def test_the_table_is_written_when_it_changed(tmp_path: Path, study: SharedStudy, progress: Progress) -> None:
    end(study, 0.25)
    progress.publish("running")
    table = tmp_path / "results.csv"
    table.unlink()
    progress.publish("running")
    assert not table.exists()
    end(study, 0.5)
    progress.publish("running")
    assert [result.value for result in read_results(tmp_path)] == [0.25, 0.5]


def test_a_trial_whose_owner_is_not_known_yet_is_shown(study: SharedStudy, progress: Progress) -> None:
    study._handle.study.ask()  # in the middle of a claim
    (shown,) = progress.publish("running")["running"]
    assert (shown["number"], shown["slot"], shown["elapsed_s"]) == (0, None, None)


def test_status_never_prints_none(tmp_path: Path, study: SharedStudy, progress: Progress, capsys: Any) -> None:
    end(study, 0.25)
    claimed(study, slot=1)  # has no epoch yet
    study.report(claimed(study, slot=2), 3, 0.5)
    study._handle.study.ask()  # in the middle of a claim
    progress.publish("running")
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main(["status", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "None" not in printed
    lines = [re.sub("[0-9.]+ s$", "T", line.strip()) for line in printed.splitlines() if line.startswith("  trial")]
    assert lines == [
        "trial 1 in slot 1: no epoch yet, T",
        "trial 2 in slot 2: epoch 3, 0.5, T",
        "trial 3: no epoch yet",
    ]


def test_the_time_left_is_known_once_a_trial_has_ended(study: SharedStudy, progress: Progress) -> None:
    assert progress.publish("running")["left_s"] is None
    row = {"outcome": "completed", "reason": "", "finished": now(), "elapsed_s": 10.0}
    assert study.finish(claimed(study), TrialOutcome(TrialState.COMPLETE, [0.5], None, row))
    assert progress.publish("running")["left_s"] == 20.0  # three trials on two workers
    assert progress.publish("finished")["left_s"] is None


class HangingEngine:
    """Its one worker does not end before it is let go."""

    def __init__(self) -> None:
        self.workers, self.slots, self.pending = {0: "a worker"}, ["a slot"], set[int]()
        self.asked, self.let_go = threading.Event(), threading.Event()

    def start(self) -> None:
        """Has started."""

    def collect(self) -> list[Any]:
        return []

    def stop(self) -> None:
        self.asked.set()
        assert self.let_go.wait(20)


def test_ctrl_c_is_answered_at_once_with_what_it_waits_for(
    study: SharedStudy, progress: Progress, capsys: pytest.CaptureFixture[str]
) -> None:
    claimed(study)
    progress.publish("running")
    engine = HangingEngine()
    said: list[str] = []

    def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)  # reaches the main thread
        assert engine.asked.wait(20)
        for _ in range(100):
            said.append(capsys.readouterr().out)
            if said[-1]:
                break
            time.sleep(0.05)
        engine.let_go.set()

    threading.Timer(0.2, interrupt).start()
    assert SweepSupervisor(study, cast(Any, engine), progress).run() == 130
    waits = "waiting up to 7 s for 1 of them and their trials 0; Ctrl-C again: no longer"
    assert f"interrupted: stopping the workers; {waits}" in "".join(said)


def test_a_mark_changes_with_every_epoch_and_every_end(study: SharedStudy, progress: Progress) -> None:
    marks = []

    def mark() -> None:
        progress.publish("running")
        marks.append(progress.mark())

    mark()
    claim = claimed(study)
    study.report(claim, 1, 0.5)
    mark()
    study.report(claim, 2, 0.5)
    mark()
    study.finish(claim, TrialOutcome(TrialState.COMPLETE, [0.5], None, {"outcome": "completed", "finished": now()}))
    mark()
    assert len(set(marks)) == 4


def test_a_password_is_not_told() -> None:
    told = launch_entries("postgresql://me:secret@host/db", "offline", 2, "local")
    assert told["storage"] == "postgresql://me:***@host/db"
    assert "secret" not in json.dumps(told)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_once_and_gone_on_from(
    tmp_path: Path,
    study: SharedStudy,
    progress: Progress,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    sweep = SweepSupervisor(study, cast(Any, None), progress)
    view = LiveView(study.spec)
    sweep._publish(view, "running")
    before = read_status(tmp_path)
    end(study, 0.25)

    def full(path: Path, text: str) -> None:
        raise OSError(number, "full")

    with monkeypatch.context() as patch:
        patch.setattr(status, "write_text", full)
        patch.setattr("sweeps.results.files.write_text", full)
        for _ in range(3):
            sweep._publish(view, "running")
    assert read_status(tmp_path) == before
    sweep._publish(view, "running")
    sweep._publish(view, "running")
    assert read_status(tmp_path)["counts"]["COMPLETE"] == 1
    assert [result.value for result in read_results(tmp_path)] == [0.25]
    output = capsys.readouterr().out
    assert output.count(f"{tmp_path}: no space left on the device; the sweep waits for space") == 1
    assert output.count(f"{tmp_path}: there is space again; going on") == 1

    def broken(path: Path, text: str) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(status, "write_text", broken)
    with pytest.raises(OSError, match="broken"):
        sweep._publish(view, "running")


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        (None, "launch it again to go on\n"),
        (
            "postgresql://me:secret@host/studies",
            "launch it again to go on; workers that joined it go on by themselves\n",
        ),
    ],
)
def test_a_sweep_that_was_broken_off_says_how_it_goes_on(
    tmp_path: Path, study: SharedStudy, capsys: pytest.CaptureFixture[str], url: str | None, advice: str
) -> None:
    Progress(study.spec, study, tmp_path, launch_entries(url, "offline", 2, "local")).publish("interrupted")
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main(["status", str(tmp_path)])
    printed = capsys.readouterr().out
    assert printed.startswith(f"{study.spec.name}: interrupted, no trial yet of 4\n")
    assert printed.endswith(advice)
