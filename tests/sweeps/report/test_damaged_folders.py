"""Reports of folders that lack something, or hold what nobody should have written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from report_folders import page_data, report, result, run_folder, table_rows, with_params, write_curve

from sweeps.report import hypervolume
from sweeps.report.data_table import decimals_of
from sweeps.report.formatting import decimals_of_interval
from sweeps.report.sweep_data import read_sweep
from sweeps.trial_folder import TrialFolder


def curves(text: str) -> list[Any]:
    """Epochs (None: from 1) and values of each curve, in the order of the trials in the table."""
    return list(page_data(text, "records")["curves"])


def test_a_curve_with_gaps_and_a_half_written_row(tmp_path: Path) -> None:
    rows = [with_params(n, "completed", 0.9 - n / 10) for n in range(4)]
    run_dir = run_folder(tmp_path / "r", rows)
    write_curve(run_dir, 0, [0.1, "nan", "inf", 0.4, ""])
    write_curve(run_dir, 1, [0.1, 0.2])
    write_curve(run_dir, 2, ["half", 0.2])
    with TrialFolder(run_dir, 1).metrics.open("a") as file:
        file.write("3,1.0,0.30")  # of 0.3012
    page, text = report(run_dir)
    assert curves(text) == [[[1, 4], [0.1, 0.4]], [None, [0.1, 0.2]], [None, []], [None, []]]
    assert "2 trials have no readable curve in this folder" in page.text


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    rows = [
        with_params(0, "completed", 0.5),
        with_params(1, "diverged", float("nan"), last={"val/acc": float("inf")}),
        with_params(2, "completed", float("inf")),
    ]
    page, text = report(run_folder(tmp_path / "r", rows))
    assert [row["outcome"] for row in table_rows(text, "trials")] == ["completed", "diverged", "diverged"]
    assert [row["val/acc"] for row in table_rows(text, "trials")] == [0.5, None, None]
    assert [row["at the end"] for row in table_rows(text, "ledger")] == [None, None, None]
    assert len(page.tables[0]) == 1


def test_a_constant_metric(tmp_path: Path) -> None:
    run_dir = run_folder(tmp_path / "r", [with_params(n, "completed", 0.5) for n in range(12)])
    write_curve(run_dir, 0, [0.5, 0.5])
    page, _ = report(run_dir)
    assert "Not computed: all completed trials have the same value." in page.text


def test_a_folder_copied_without_its_trials(tmp_path: Path) -> None:
    rows = [with_params(n, "completed", 0.5 + n / 10) for n in range(3)]
    run_dir = run_folder(tmp_path / "r", rows)
    write_curve(run_dir, 0, [0.5])
    shutil.rmtree(run_dir / "trials")
    page, text = report(run_dir)
    records = page_data(text, "records")
    assert records["configs"] == records["logs"] == records["wandb"] == [None] * 3
    assert "No trial has logged val/acc by epoch" in page.text
    assert "Checkpoint: none is left in the run folder" in page.text


def test_what_a_trial_left(tmp_path: Path) -> None:
    tracking = {"wandb": "online", "entity": "team", "project": "moons"}
    run_dir = run_folder(tmp_path / "r", [with_params(0, "completed", 0.5)], base={"tracking": tracking})
    write_curve(run_dir, 0, [0.1] * 1000)
    folder = TrialFolder(run_dir, 0)
    folder.config.write_text("a: 1\nb: 2\n")
    folder.log.write_text("x" * 3000 + "\n" + "".join(f"line {n}\n" for n in range(20)))
    (folder.path / "wandb" / "run-20260101_000000-abc-0").mkdir(parents=True)
    _, text = report(run_dir)
    records = page_data(text, "records")
    assert [records["lines"][at] for at in records["configs"][0]] == ["a: 1", "b: 2"]
    assert [records["lines"][at] for at in records["logs"][0]] == [f"line {n}" for n in range(12, 20)]
    assert records["wandb"][0]["url"] == "https://wandb.ai/team/moons/runs/abc-0"
    epochs, values = records["curves"][0]
    assert (len(values), epochs[-1]) == (200, 1000)


def test_hypervolume_and_knee(tmp_path: Path) -> None:
    objective = [{"metric": "a", "direction": "minimize"}, {"metric": "b", "direction": "maximize"}]
    points = [(10.0, 0.0), (0.0, 0.0), (2.0, 8.0), (10.0, 10.0)]  # of which the last three are on the front
    rows = [result(n, "completed", a, {"a": a, "b": b}, params={}) for n, (a, b) in enumerate(points)]
    sweep = read_sweep(run_folder(tmp_path / "r", rows, objective=objective))
    drawn = hypervolume.panel(sweep)
    assert drawn.figure is not None
    volumes = [1.0 * 1.0, 11.0 * 1.0, 11.0 * 1.0 + 9.0 * 8.0, 11.0 + 72.0 + 1.0 * 2.0]  # from (11, -1)
    assert list(drawn.figure.data[0].y) == pytest.approx([volume / volumes[-1] for volume in volumes])
    middle = hypervolume.knee(sweep)
    assert middle is not None
    assert middle.best_trial.number == 2


def test_numbers_have_the_digits_that_they_support() -> None:
    assert [decimals_of_interval(width) for width in (0.0123, 0.5, 3.0, 40.0, 0.0)] == [3, 2, 1, 0, 0]
    assert decimals_of([1, 2.0, None]) == 0
    assert decimals_of([0.97, 0.98, 0.975]) == 4
    assert decimals_of([1e-5, 0.1]) is None
    assert decimals_of([]) == decimals_of([0.0]) == 0
