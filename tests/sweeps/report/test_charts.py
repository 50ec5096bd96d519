"""The charts of a report: importances, curves, history, time, axes and colors."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from report_folders import (
    params_of,
    result,
    run_folder,
    with_params,
)

from sweeps.report import history, importances, time_spent
from sweeps.report.formatting import short_names, shorten
from sweeps.report.plot_style import OUTCOMES, WORSE_TO_BETTER, axis_ticks, color_of, value_axis
from sweeps.report.sweep_data import read_sweep


def test_importances_find_what_matters(tmp_path: Path) -> None:
    rows = [with_params(n, "completed", -abs(math.log10(params_of(n)["model.optimizer.lr"]) + 2.3)) for n in range(60)]
    panel = importances.panel(read_sweep(run_folder(tmp_path / "r", rows)))
    bars = dict(zip(panel.figure.data[0].y, panel.figure.data[0].x, strict=True))
    assert max(bars, key=lambda name: bars[name]) == "lr"
    assert sum(bars.values()) == pytest.approx(1)
    assert "60 completed trials" in panel.note


def test_importances_say_why_not(tmp_path: Path) -> None:
    few = read_sweep(run_folder(tmp_path / "few", [with_params(n, "completed", n / 9) for n in range(3)]))
    assert importances.panel(few).figure is None
    assert "at least 4" in importances.panel(few).note
    same = [result(n, "completed", n / 9, params=params_of(1)) for n in range(9)]
    assert "no parameter of the space varies" in importances.panel(read_sweep(run_folder(tmp_path / "same", same))).note
    equal = [with_params(n, "completed", 0.5) for n in range(9)]
    assert "same value" in importances.panel(read_sweep(run_folder(tmp_path / "equal", equal))).note


def test_history_counts_completed_trials_only_as_best(mixed: Path) -> None:
    line, *markers = history.panel(read_sweep(mixed)).figure.data
    assert max(line.y) == pytest.approx(0.912)  # the pruned trial had 0.99
    assert list(line.y) == sorted(line.y)
    assert len({(trace.marker.color, trace.marker.symbol) for trace in markers}) == len(markers)
    shown = {color_symbol for name, color_symbol in OUTCOMES.items() if name not in ("running", "interrupted")}
    assert len({color for color, _ in shown}) == len({symbol for _, symbol in shown}) == len(shown)


def test_time_adds_up_to_the_total(mixed: Path) -> None:
    panel = time_spent.panel(read_sweep(mixed))
    assert sum(sum(trace.y) for trace in panel.figure.data) == pytest.approx(16 * 2.0)
    assert "75% of it was training" in panel.note
    assert {trace.name: trace.y[0] for trace in panel.figure.data}["the rest"] == pytest.approx(0.25)


def test_short_names_say_something_and_differ() -> None:
    assert short_names(["model.network.depth", "model.optimizer.name", "norm"]) == {
        "model.network.depth": "depth",
        "model.optimizer.name": "optimizer.name",
        "norm": "norm",
    }
    assert list(short_names(["a.x.lr", "b.x.lr", "x.lr", "c"]).values()) == ["a.x.lr", "b.x.lr", "x.lr", "c"]
    assert shorten("package.module.Class", 10) == "Class"
    assert shorten("a long sentence", 6) == "a lon…"


def test_axes() -> None:
    assert axis_ticks(1, 3, log=False, whole=True) == [1, 2, 3]
    assert axis_ticks(1e-4, 1e-1, log=True) == [1e-4, 1e-3, 1e-2, 1e-1]
    assert axis_ticks(5, 5, log=False) == [5]
    settings, note = value_axis([0.98, 0.97, 0.975, 0.972, 0.978, 0.971, 0.974, 0.976, 0.1], "val/acc", sign=-1)
    assert settings["range"][0] > 0.9
    assert "(1)" in note
    assert value_axis([1.0, 1000.0], "loss", sign=1)[0]["type"] == "log"
    assert value_axis([0.5] * 9, "loss", sign=1) == value_axis([0.5], "loss", sign=1)


def test_darker_is_better_in_both_directions() -> None:
    values = [0.1, 0.2, 0.3]
    lightest, darkest = WORSE_TO_BETTER[0][1], WORSE_TO_BETTER[-1][1]
    assert (color_of(0.1, values, sign=1), color_of(0.3, values, sign=1)) == (darkest, lightest)
    assert (color_of(0.1, values, sign=-1), color_of(0.3, values, sign=-1)) == (lightest, darkest)
