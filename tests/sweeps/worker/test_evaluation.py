"""The winner on the test set: metrics under any name are kept and shown; where there are none, it is said why."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from worker_sweeps import sweep

from sweeps import cli
from sweeps.live import LiveView
from sweeps.report.page import page
from sweeps.report.sweep_data import read_sweep
from sweeps.status import Progress, launch_entries
from sweeps.trial_folder import TrialFolder
from sweeps.worker.loop import evaluate
from sweeps.worker.run_trial import WorkerContext

UNREAD = "The test set has not been read for it"


def swept(folder: Path, module: str, **changes: Any) -> tuple[dict[str, Any], Progress, dict[str, Any]]:
    """The row of a sweep of one trial of two epochs, its files written as by a launcher, and its status."""
    folder.mkdir(exist_ok=True)
    base = {"model": {"class_path": f"tested.{module}"}, "trainer": {"max_epochs": 2, "accelerator": "cpu"}}
    objective = {"metric": "score", "direction": "minimize"}
    space = {"model.step": {"choices": [1.0]}}
    study, rows = sweep(folder, n_trials=1, base=base, objective=objective, space=space, **changes)
    progress = Progress(study.spec, study, folder / "run", launch_entries(None, "disabled", 1, "local"))
    assert [row["outcome"] for row in rows] == ["completed"]
    assert rows[0]["value"] == rows[0]["best.score"] == -2.0
    return rows[0], progress, progress.publish("finished")


def shown(progress: Progress, status: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> tuple[str, str, str]:
    """What the end of a launch and `sweeps best` print, and the report."""
    capsys.readouterr()
    LiveView(progress.spec).end(status, progress.results, progress.run_dir)
    launched = capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main(["best", str(progress.run_dir)])
    return launched, capsys.readouterr().out, page(read_sweep(progress.run_dir))


@pytest.mark.parametrize(
    ("module", "tested"),
    [
        ("SameStep", {"test/score": -1.0}),
        ("TwoSets", {"test/score/dataloader_idx_0": -1.0, "test/score/dataloader_idx_1": 0.0}),
        ("OwnNames", {"test/tested": 8.0, "test_acc": 9.0, "test/owner": 10.0}),
        ("Late", {"test/score": -1.0}),
        ("Objects", {"test/score": -1.0}),
    ],
)
@pytest.mark.parametrize("evaluated", ["best", "all"])
@pytest.mark.filterwarnings("ignore:.*leave out hyperparameters", "ignore:Attribute '(loss|scale)'")
def test_metrics_of_the_test_are_kept_and_shown_under_any_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], module: str, tested: dict[str, float], evaluated: str
) -> None:
    row, progress, status = swept(tmp_path, module, evaluate_test=evaluated)
    found = {name.removeprefix("best."): value for name, value in row.items() if name.startswith("best.test")}
    assert {name: value for name, value in found.items() if name != "tested"} == tested
    assert progress.results[0].test_metrics == tested
    launched, best, report = shown(progress, status, capsys)
    assert "not evaluated" not in launched + best
    assert UNREAD not in report
    assert all(name in best and name in report for name in tested)


@pytest.mark.parametrize(
    ("module", "why"),
    [
        ("NoTest", "model: must have a test_step; NoTest has none"),
        ("NoLoader", "model: must have a test_dataloader; NoLoader has none"),
        ("LogsNothing", "model: must log a metric on the test set; LogsNothing logs none"),
        ("NothingToTest", "model: must log a metric on the test set; NothingToTest logs none"),
        ("Raises", "RuntimeError: no test <today>"),
    ],
)
@pytest.mark.filterwarnings("ignore:Total length of", "ignore:model. must")
def test_it_is_said_why_the_winner_is_not_tested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], module: str, why: str
) -> None:
    row, progress, status = swept(tmp_path, module)
    assert row["untested"] == why
    launched, best, report = shown(progress, status, capsys)
    assert f"the best is not evaluated on the test set: {why}" in launched
    assert f"not evaluated on the test set: {why}" in best
    assert f"{UNREAD}: {why.replace('<', '&lt;').replace('>', '&gt;')}." in report
    if module != "Raises":  # which is a trial that failed where every trial is to be tested
        assert swept(tmp_path / "all", module, evaluate_test="all")[0]["untested"] == why


def test_nothing_is_missing_where_nothing_is_to_be_tested(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row, progress, status = swept(tmp_path, "NoTest", evaluate_test="none")
    assert "untested" not in row
    launched, best, report = shown(progress, status, capsys)
    assert "not evaluated" not in launched + best
    assert f"{UNREAD}." in report


def test_a_checkpoint_of_an_earlier_version_that_holds_objects_is_named(tmp_path: Path) -> None:
    swept(tmp_path, "SameStep", evaluate_test="none")
    folder = TrialFolder(tmp_path / "run", 0)
    path = folder.checkpoints / "best.ckpt"
    torch.save({**torch.load(path, weights_only=True), "hyper_parameters": {"folder": Path("a")}}, path)
    evaluation = evaluate(folder, WorkerContext(tmp_path / "run", 0, 1, "disabled", threading.Event()))
    assert str(evaluation.untested).startswith(f"{path}: must load without unpickling, which can run any code; ")
