"""The section on layer health."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from report_folders import (
    named_folder,
    report,
    run_folder,
    with_params,
    write_diagnostics,
)

from sweeps.report.layer_health import MAX_LINES, panels
from sweeps.report.sweep_data import read_sweep


def test_layer_health_shows_means_over_seeds_and_names_what_vanishes(tmp_path: Path) -> None:
    run_dir = named_folder(tmp_path / "r", ["deep & sigmoid", "he", "wild"])
    last = (100, 8.0, 1e-3, "", "", "")
    for number in range(9):
        seed = number % 3
        norm = [[3e-4, 5e-4, 7e-4], [2.0, 4.0, 6.0], [1e6, 2e6, 3e6]][number // 3][seed]
        first = [(400, norm, 1e-5, 0.5, "", 0.9), last]
        second = [(400, 1.0, 1e-5, 0.25, 0.125 * seed, 0.5), last]
        write_diagnostics(run_dir, number, first, second)
    gradients, updates, dead, saturated, deviation = panels(read_sweep(run_dir))
    lines = {trace.name: trace for trace in gradients.figure.data}
    assert set(lines) == {"deep &amp; sigmoid, vanishing", "he", "wild, exploding"}
    # Per weight, so that layers of different size compare: 5e-4 / sqrt(400) and 8 / sqrt(100).
    assert list(lines["deep &amp; sigmoid, vanishing"].y) == pytest.approx([2.5e-5, 0.8])
    assert list(lines["he"].y) == pytest.approx([0.2, 0.8])
    assert sorted(note.text for note in gradients.figure.layout.annotations) == ["<b>exploding</b>", "<b>vanishing</b>"]
    assert {note.text: note.y for note in gradients.figure.layout.annotations}["<b>vanishing</b>"] == pytest.approx(
        math.log10(2.5e-5)
    )
    assert "vanishing in 1 of 3 and exploding in 1 of 3 of the configurations" in gradients.note
    assert list(updates.figure.data[0].y) == pytest.approx([1e-5, 1e-3])
    assert list(dead.figure.data[0].y) == [0.125, None]  # of the last epoch; the output has none
    assert list(saturated.figure.data[0].y) == [0.5, None]
    assert list(deviation.figure.data[0].y) == [0.25, None]
    page, text = report(run_dir)
    assert "Gradient by layer, first epoch" in page.text
    assert "layer &lt;1&gt;" in " ".join(gradients.figure.layout.xaxis.ticktext)
    assert "<1>" not in text


def test_layer_health_without_gradients_or_with_zeros(tmp_path: Path) -> None:
    run_dir = named_folder(tmp_path / "r", ["a", "b"])
    dead = [(4, 0.0, 0.0, 0.0, 1.0, ""), (4, 0.0, 0.0, 0.5, 0.5, ""), (4, 2.0, 0.1, "", "", "")]
    write_diagnostics(run_dir, 0, dead)
    write_diagnostics(run_dir, 3, [(4, "nan", "", "inf", "", ""), (4, "", "", "", "", ""), (4, "", "", "", "", "")])
    gradients, *others = panels(read_sweep(run_dir))
    assert [(trace.name, list(trace.y)) for trace in gradients.figure.data] == [("a, vanishing", [None, None, 1.0])]
    assert [panel.title.split(",")[0] for panel in others] == [
        "Update to weight ratio",
        "Dead units",
        "Deviation of activations",
    ]
    report(run_dir)


def test_layer_health_of_many_deep_configurations_is_an_even_selection(tmp_path: Path) -> None:
    rows = [with_params(n, "completed" if n % 3 else "pruned", 0.5 + n / 1000) for n in range(300)]
    run_dir = run_folder(tmp_path / "r", rows)
    for number in range(300):
        layers = [(100, 1e-7 * 3**at, 1e-3, 1.0, 0.0, "") for at in range(2 + number % 29)]
        write_diagnostics(run_dir, number, layers)
    (gradients, *_) = panels(read_sweep(run_dir))
    lines = gradients.figure.data
    assert MAX_LINES / 2 < len(lines) <= MAX_LINES
    assert len({(line.line.color, line.line.dash) for line in lines}) == len(lines)
    assert lines[0].name.startswith("trial 299: ")  # the best
    assert "Of 300 configurations, an even selection is drawn, best to worst." in gradients.note
    assert list(gradients.figure.layout.xaxis.ticktext)[:2] == ["1", "3"]  # too many layers to name
    # All begin side by side: one label says how many.
    (label,) = gradients.figure.layout.annotations
    vanishing = sum("vanishing" in line.name for line in lines)
    assert label.text == f"<b>vanishing ({vanishing})</b>"


def test_layer_health_needs_diagnostics(mixed: Path) -> None:
    assert panels(read_sweep(mixed)) == []
    assert "Layer health" not in report(mixed)[0].text
