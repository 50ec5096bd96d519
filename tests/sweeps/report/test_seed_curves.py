"""Published figures and curves averaged over seeds."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from report_folders import (
    named_folder,
    report,
    write_curve,
)

from sweeps.report import seed_curves
from sweeps.report.sweep_data import read_sweep


def test_published_figures_and_claims_stand_beside_ours(tmp_path: Path) -> None:
    table = {"metric": "val/acc", "tolerance": 0.005, "values": {"<b>": 0.9, "b": 0.8}, "source": "a <paper>"}
    claim = {"claim": "<i> is better", "better": "<b>", "worse": "b", "metric": "val/acc"}
    page, text = report(named_folder(tmp_path / "r", ["<b>", "b"], published=table, claims=[claim]))
    assert "<i>" not in text
    assert "<b>" not in text
    assert "a <paper>" in page.text
    figures, claims = page.tables[:2]
    half = 4.3026527 * 0.001 / math.sqrt(3)
    assert ["<b>", "as the base", "3", "0.9000", f"0.9010 ± {half:.4f}", "+0.0010", "✓ reproduced"] in figures
    assert ["b", "as the base", "3", "0.8000", f"0.8910 ± {half:.4f}", "+0.0910", "✗ not reproduced"] in figures
    assert claims[0][0] == "<i> is better"
    assert claims[0][-1] == "✓ supported"
    assert "tolerance" not in report(named_folder(tmp_path / "none", ["a"]))[0].text


def test_mean_curves_are_means_over_the_epochs_of_all_seeds(tmp_path: Path) -> None:
    run_dir = named_folder(tmp_path / "r", ["a", "b"])
    for number, values in enumerate([[0.1, 0.4, 0.9], [0.2, 0.5, 0.9], [0.3, 0.6]]):
        write_curve(run_dir, number, values)
    panel = seed_curves.panel(read_sweep(run_dir))
    assert panel is not None
    band, line = panel.figure.data
    assert (line.name, list(line.x)) == ("a", [1, 2])
    assert list(line.y) == pytest.approx([0.2, 0.5])
    half = 4.3026527 * 0.1 / math.sqrt(3)
    assert list(band.x) == [1, 2, 2, 1]
    assert list(band.y) == pytest.approx([0.2 + half, 0.5 + half, 0.5 - half, 0.2 - half])
    assert "Learning curves by configuration" in report(run_dir)[0].text


def test_mean_curves_of_twenty_configurations_can_be_told_apart(tmp_path: Path) -> None:
    run_dir = named_folder(tmp_path / "r", [f"run_{number}" for number in range(seed_curves.MAX_LINES + 1)])
    for number in range(3 * (seed_curves.MAX_LINES + 1)):
        write_curve(run_dir, number, [0.5, 0.6])
    panel = seed_curves.panel(read_sweep(run_dir))
    assert panel is not None
    lines = [trace for trace in panel.figure.data if trace.fill is None]
    assert len({(line.line.color, line.line.dash) for line in lines}) == len(lines) == seed_curves.MAX_LINES
    assert f"The best {seed_curves.MAX_LINES} of {seed_curves.MAX_LINES + 1} configurations are drawn" in panel.note


def test_mean_curves_need_names_and_curves(mixed: Path, tmp_path: Path) -> None:
    assert seed_curves.panel(read_sweep(mixed)) is None
    assert seed_curves.panel(read_sweep(named_folder(tmp_path / "r", ["a"]))) is None
