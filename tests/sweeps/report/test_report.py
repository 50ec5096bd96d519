"""The report: what it says of a sweep in every state, and that it is one file that needs no network."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from plotly.offline import get_plotlyjs

from lit_dl.errors import StorageError
from sweeps.report.layer_health import MOST_LINES, layer_health
from sweeps.report.page import write_report
from sweeps.report.parameters import importances, parallel
from sweeps.report.plot_style import OUTCOMES, WORSE_TO_BETTER, shade, ticks_of, value_axis
from sweeps.report.seed_curves import MOST_MEANS, mean_curves
from sweeps.report.sweep_data import read_sweep, short_names, shorten
from sweeps.report.trials import MOST_CURVES, curves, history, time_spent
from sweeps.results import write_results

ACCURACY = {"metric": "val/acc", "direction": "maximize"}
SPACE: dict[str, Any] = {
    "model.depth": {"low": 1, "high": 3, "type": "int"},
    "model.sizes": {"choices": [[300, 100], [64], None]},
    "model.optimizer.name": {"choices": ["momentum", "adam"]},
    "model.optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True, "type": "float"},
    "model.optimizer.momentum": {
        "low": 0.5,
        "high": 0.99,
        "type": "float",
        "when": {"model.optimizer.name": ["momentum"]},
    },
}
STATES = {"completed": "COMPLETE", "failed": "FAIL"}


def params_of(number: int) -> dict[str, Any]:
    values: dict[str, Any] = {
        "model.depth": 1 + number % 3,
        "model.sizes": ["[300, 100]", "[64]", None][number % 3],
        "model.optimizer.name": ["momentum", "adam"][number % 2],
        "model.optimizer.lr": 10 ** (-4 + 3 * (number % 7) / 7),
    }
    return values if number % 2 else {**values, "model.optimizer.momentum": 0.5 + 0.4 * (number % 5) / 5}


def row(number: int, outcome: str = "completed", value: float | None = None, **more: Any) -> dict[str, Any]:
    head = {"number": number, "state": STATES.get(outcome, "PRUNED"), "outcome": outcome, "value": value}
    head |= {"reason": "max_epochs", "best_epoch": 2, "epochs": 3, "seed": 0, "elapsed_s": 2.0, "attempt": 1}
    head |= {"config_id": str(number), "finished": f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}", "schema": 1}
    head |= {"train_s": 1.5, "data_s": 0.25, "total_s": 2.0, "parameters": 100}
    return {**head, **({} if value is None else {"metrics.val/acc": value}), **more}


def with_params(number: int, *args: Any, **more: Any) -> dict[str, Any]:
    params = {f"params.{key}": value for key, value in params_of(number).items() if value is not None}
    return {**row(number, *args), **params, **more}


def run_folder(path: Path, rows: list[dict[str, Any]] | None, **spec: Any) -> Path:
    path.mkdir()
    values = {"name": "sweep", "base": {"seed_everything": 0}, "objective": ACCURACY, "space": SPACE, "n_trials": 100}
    (path / "spec.yaml").write_text(yaml.safe_dump({**values, **spec}))
    if rows is not None:
        write_results(path / "results.csv", rows)
    return path


def write_curve(run_dir: Path, number: int, values: list[Any], metric: str = "val/acc") -> None:
    folder = run_dir / "trials" / f"{number:05d}"
    folder.mkdir(parents=True)
    lines = [f"epoch,elapsed_s,{metric}", *(f"{epoch},1.0,{value}" for epoch, value in enumerate(values, start=1))]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")


class Page(HTMLParser):
    """A report as a browser reads it: its text, its table rows, what its elements load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.words: list[str] = []
        self.tables: list[list[list[str]]] = []
        self._cell: list[str] | None = None
        self._silent = self._body = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        self._silent = tag in ("script", "style")
        if tag == "tbody":
            self._body = True
            self.tables.append([])
        elif tag == "tr" and self._body:
            self.tables[-1].append([])
        elif tag == "td" and self._body:
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        self._silent = False
        self._body = self._body and tag != "tbody"
        if tag == "td" and self._cell is not None:
            self.tables[-1][-1].append("".join(self._cell))
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._silent:
            return
        self.words.append(data)
        if self._cell is not None:
            self._cell.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def report(run_dir: Path) -> tuple[Page, str]:
    text = write_report(run_dir).read_text(encoding="utf-8")
    without_plotly = text.replace(get_plotlyjs(), "")
    assert len(without_plotly) == len(text) - len(get_plotlyjs()), "plotly.js must be inlined exactly once"
    for data in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', without_plotly):
        json.loads(data)
        assert "<" not in data, "a text could end the script element"
    return Page(without_plotly), without_plotly


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    rows = [with_params(n, "completed", 0.9 + 0.001 * (n * 7 % 13)) for n in range(12)]
    rows += [with_params(12, "pruned", 0.99, reason="the pruner stopped it")]
    rows += [with_params(13, "failed", reason="ValueError: <script>alert(1)</script> & %{y}")]
    rows += [with_params(14, "diverged", reason="val/acc is not finite"), with_params(15, "out_of_memory")]
    run_dir = run_folder(tmp_path / "mixed", rows)
    for number in range(13):
        write_curve(run_dir, number, [0.5, 0.9, 0.91][: 1 if number == 12 else 3])
    write_curve(run_dir, 16, [0.4, "nan"])
    return run_dir


def test_one_file_that_loads_nothing(mixed: Path) -> None:
    page, text = report(mixed)
    assert page.loads
    assert all(target.startswith(("#", "data:")) for target in page.loads)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest", text)
    assert not {"link", "img", "iframe", "object", "embed"} & set(page.tags) - {"link"}
    assert page.tags.count("link") == 1  # the empty icon, so that no browser asks for one


def test_every_completed_trial_is_ranked_and_no_other(mixed: Path) -> None:
    page, _ = report(mixed)
    ranked, unranked = page.tables
    by_value = sorted(range(12), key=lambda n: -(n * 7 % 13))
    assert [int(cells[1]) for cells in ranked] == by_value
    assert [int(cells[0]) for cells in ranked] == list(range(1, 13))
    assert [(cells[0], cells[1]) for cells in unranked] == [
        ("12", "pruned"),
        ("13", "failed"),
        ("14", "diverged"),
        ("15", "out of memory"),
        ("16", "interrupted"),
    ]
    assert "the pruner stopped it" in unranked[0]


def test_best_configuration_and_its_commands(mixed: Path) -> None:
    page, _ = report(mixed)
    best = max(range(12), key=lambda n: n * 7 % 13)
    assert f"trial {best}, epoch 2 of 3" in page.text
    assert f"sweeps replay {mixed} --trial {best}" in page.text
    assert f"lit-dl fit --config {mixed}/trials/{best:05d}/config.yaml" in page.text
    assert "Checkpoint: none is left" in page.text
    assert "16 of 100 trials have ended: 12 completed, 1 pruned, 1 failed, 1 diverged, 1 out of memory" in page.text
    checkpoint = mixed / "trials" / f"{best:05d}" / "checkpoints" / "best.ckpt"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"not a checkpoint: reports do not open them")
    assert f"Checkpoint: {checkpoint}" in report(mixed)[0].text


def test_text_of_a_sweep_never_becomes_html(mixed: Path) -> None:
    page, text = report(mixed)
    assert "<script>alert" not in text
    assert "ValueError: <script>alert(1)</script> & %{y}" in page.text
    labels = " ".join(text for trace in history(read_sweep(mixed)).figure.data for text in trace.text or ())
    assert "&lt;script&gt;" in labels
    assert "%{" not in labels


def test_value_at_a_missing_condition_and_null_choice(mixed: Path) -> None:
    sweep = read_sweep(mixed)
    by_number = {entry["number"]: sweep.values(entry) for entry in sweep.rows}
    assert "model.optimizer.momentum" not in by_number[1]
    assert by_number[0]["model.optimizer.momentum"] == 0.5
    assert by_number[0]["model.sizes"] == "[300, 100]"
    assert by_number[2]["model.sizes"] is None
    lines = {dimension.label: dimension for dimension in parallel(sweep).figure.data[0].dimensions}
    assert "not set" in lines["momentum"].ticktext
    assert min(lines["momentum"]["values"]) < 0.5
    assert list(lines["sizes"].ticktext) == ["[300, 100]", "[64]", "null"]
    assert max(lines["lr (log)"]["values"]) < -1


def test_importances_find_what_matters(tmp_path: Path) -> None:
    rows = [with_params(n, "completed", -abs(math.log10(params_of(n)["model.optimizer.lr"]) + 2.3)) for n in range(60)]
    panel = importances(read_sweep(run_folder(tmp_path / "r", rows)))
    bars = dict(zip(panel.figure.data[0].y, panel.figure.data[0].x, strict=True))
    assert max(bars, key=lambda name: bars[name]) == "lr"
    assert sum(bars.values()) == pytest.approx(1)
    assert "60 completed trials" in panel.note


def test_importances_say_why_not(tmp_path: Path) -> None:
    few = read_sweep(run_folder(tmp_path / "few", [with_params(n, "completed", n / 9) for n in range(3)]))
    assert importances(few).figure is None
    assert "at least 4" in importances(few).note
    one = {f"params.{key}": value for key, value in params_of(1).items()}
    same = [row(n, "completed", n / 9, **one) for n in range(9)]
    assert "no parameter of the space varies" in importances(read_sweep(run_folder(tmp_path / "same", same))).note
    equal = [with_params(n, "completed", 0.5) for n in range(9)]
    assert "same value" in importances(read_sweep(run_folder(tmp_path / "equal", equal))).note


def test_curves(mixed: Path) -> None:
    panel = curves(read_sweep(mixed))
    traces = {trace.legendgroup: trace for trace in panel.figure.data}
    assert set(traces) == {"best configuration", "completed", "pruned", "interrupted"}
    assert len(panel.figure.data) == 14
    assert list(traces["best configuration"].x) == [1, 2, 3]
    assert traces["interrupted"].line.dash == "dash"
    assert list(traces["interrupted"].y) == [0.4]
    assert traces["pruned"].line.width < traces["completed"].line.width < traces["best configuration"].line.width


def test_history_counts_completed_trials_only_as_best(mixed: Path) -> None:
    line, *markers = history(read_sweep(mixed)).figure.data
    assert max(line.y) == pytest.approx(0.912)  # the pruned trial had 0.99
    assert list(line.y) == sorted(line.y)
    assert len({(trace.marker.color, trace.marker.symbol) for trace in markers}) == len(markers)
    shown = {color_symbol for name, color_symbol in OUTCOMES.items() if name not in ("running", "interrupted")}
    assert len({color for color, _ in shown}) == len({symbol for _, symbol in shown}) == len(shown)


def test_time_adds_up_to_the_total(mixed: Path) -> None:
    panel = time_spent(read_sweep(mixed))
    assert sum(sum(trace.y) for trace in panel.figure.data) == pytest.approx(16 * 2.0)
    assert "75% of it was training" in panel.note
    assert {trace.name: trace.y[0] for trace in panel.figure.data}["the rest"] == pytest.approx(0.25)


def test_sweep_without_any_result(tmp_path: Path) -> None:
    run_dir = run_folder(tmp_path / "r", None)
    page, _ = report(run_dir)
    assert "No trial has completed yet" in page.text
    write_curve(run_dir, 0, [0.1, 0.2])
    running = {"number": 0, "epoch": 2, "params": params_of(1)}
    status = {"state": "running", "launcher": {"host": "another machine"}, "running": [running]}
    status |= {"name": "sweep", "counts": {}, "objectives": []}
    (run_dir / "status.json").write_text(json.dumps(status))
    page, _ = report(run_dir)
    assert "running · 0 of 100 trials have ended: 1 running" in page.text
    assert page.tables[0][0][:2] == ["0", "running"]
    assert "optimizer.name adam" in page.tables[0][0][6]


@pytest.mark.parametrize("outcome", ["failed", "pruned", "diverged"])
def test_sweep_with_no_completed_trial(tmp_path: Path, outcome: str) -> None:
    rows = [with_params(n, outcome, None if outcome == "failed" else 0.5) for n in range(3)]
    page, _ = report(run_folder(tmp_path / "r", rows))
    assert "No trial has completed yet , so nothing is ranked" in page.text
    assert [cells[0] for cells in page.tables[0]] == ["0", "1", "2"]


@pytest.mark.parametrize("trials", [1, 2, 30])
def test_one_parameter_of_a_foreign_module_with_a_loss(tmp_path: Path, trials: int) -> None:
    space = {"model.lr": {"low": 1e-5, "high": 1e-1, "log": True, "type": "float"}}
    rows = [
        row(n, "completed", 10.0 ** (n % 5 - 2), **{"params.model.lr": 10 ** (-5 + n / 8), "metrics.valid_loss": 1.0})
        for n in range(trials)
    ]
    objective = {"metric": "valid_loss", "direction": "minimize"}
    run_dir = run_folder(tmp_path / "r", rows, space=space, objective=objective)
    write_curve(run_dir, 0, [3.0, 2.0], "valid_loss")
    page, _ = report(run_dir)
    assert "minimize valid_loss" in page.text
    assert page.tables[0][0][1] == "0"
    assert len(page.tables[0]) == trials


def test_runs_without_parameters_over_seeds(tmp_path: Path) -> None:
    names = ("a <b>", "b", "c")
    rows = [
        row(n, "completed", 0.9 + 0.01 * (n // 3) + 0.001 * (n % 3), config_id=names[n // 3], run=names[n // 3])
        | {"metrics.test/acc": 0.8 + 0.01 * (n % 3)}
        for n in range(9)
    ]
    runs = {name: {"model.depth": 2} for name in names}
    page, _ = report(run_folder(tmp_path / "r", rows, space={}, runs=runs, seeds=3, n_trials=9))
    assert "0.921 ± 0.001" in page.text
    assert "c, mean over 3 seeds, trials 6, 7, 8; best run: trial 8" in page.text
    assert [cells[1] for cells in page.tables[0]] == ["6, 7, 8", "3, 4, 5", "0, 1, 2"]
    assert page.tables[0][2][2] == "a <b>"
    assert page.tables[0][0][5] == "0.81"  # the mean of the test metric, not that of the run with the best value
    assert "no search space" in page.text


def test_several_objectives(tmp_path: Path) -> None:
    rows = [with_params(n, "completed", n / 10, **{"metrics.time": float(abs(n - 3))}) for n in range(6)]
    objective = [ACCURACY, {"metric": "time", "direction": "minimize"}]
    run_dir = run_folder(tmp_path / "r", rows, objective=objective)
    page, _ = report(run_dir)
    assert [entry["number"] for entry in read_sweep(run_dir).front()] == [5, 4, 3]
    assert "maximize val/acc, then minimize time" in page.text
    assert "first by val/acc among 3 that no other beats" in page.text


def test_two_thousand_trials_stay_small(tmp_path: Path) -> None:
    outcomes = ("completed", "completed", "pruned")
    rows = [with_params(n, outcomes[n % 3], 0.5 + n / 5000, reason="the pruner stopped it") for n in range(2000)]
    run_dir = run_folder(tmp_path / "r", rows)
    for number in range(1800, 2000):
        write_curve(run_dir, number, [0.1, 0.2, 0.3])
    page, text = report(run_dir)
    assert len(text) < 5e6
    assert sum(len(table) for table in page.tables) == 2000
    assert f"The best {MOST_CURVES} of 2000 trials are drawn" in page.text
    assert len(curves(read_sweep(run_dir)).figure.data) == MOST_CURVES


def test_output_and_bad_folders(tmp_path: Path) -> None:
    run_dir = run_folder(tmp_path / "r", [])
    assert write_report(run_dir) == run_dir / "report.html"
    assert write_report(run_dir, tmp_path / "new" / "r.html").is_file()
    with pytest.raises(StorageError, match="it is a folder"):
        write_report(run_dir, tmp_path)
    with pytest.raises(StorageError, match=r"no spec\.yaml"):
        write_report(tmp_path)


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
    assert ticks_of(1, 3, log=False, whole=True) == [1, 2, 3]
    assert ticks_of(1e-4, 1e-1, log=True) == [1e-4, 1e-3, 1e-2, 1e-1]
    assert ticks_of(5, 5, log=False) == [5]
    settings, note = value_axis([0.98, 0.97, 0.975, 0.972, 0.978, 0.971, 0.974, 0.976, 0.1], "val/acc", sign=-1)
    assert settings["range"][0] > 0.9
    assert "(1)" in note
    assert value_axis([1.0, 1000.0], "loss", sign=1)[0]["type"] == "log"
    assert value_axis([0.5] * 9, "loss", sign=1) == value_axis([0.5], "loss", sign=1)


def test_darker_is_better_in_both_directions() -> None:
    values = [0.1, 0.2, 0.3]
    lightest, darkest = WORSE_TO_BETTER[0][1], WORSE_TO_BETTER[-1][1]
    assert (shade(0.1, values, sign=1), shade(0.3, values, sign=1)) == (darkest, lightest)
    assert (shade(0.1, values, sign=-1), shade(0.3, values, sign=-1)) == (lightest, darkest)


def named_rows(names: list[str], seeds: int = 3) -> list[dict[str, Any]]:
    """Completed runs by name, the first names best."""
    pairs = [(name, seed) for name in names for seed in range(seeds)]
    values = [0.9 - 0.01 * names.index(name) + 0.001 * seed for name, seed in pairs]
    return [
        row(n, "completed", value, run=name, config_id=name, seed=seed, **{"final.val/acc": value})
        for n, ((name, seed), value) in enumerate(zip(pairs, values, strict=True))
    ]


def named_folder(path: Path, names: list[str], **spec: Any) -> Path:
    rows = named_rows(names)
    return run_folder(path, rows, space={}, runs={name: {} for name in names}, seeds=3, n_trials=len(rows), **spec)


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
    panel = mean_curves(read_sweep(run_dir))
    assert panel is not None
    band, line = panel.figure.data
    assert (line.name, list(line.x)) == ("a", [1, 2])
    assert list(line.y) == pytest.approx([0.2, 0.5])
    half = 4.3026527 * 0.1 / math.sqrt(3)
    assert list(band.x) == [1, 2, 2, 1]
    assert list(band.y) == pytest.approx([0.2 + half, 0.5 + half, 0.5 - half, 0.2 - half])
    assert "Learning curves by configuration" in report(run_dir)[0].text


def test_mean_curves_of_twenty_configurations_can_be_told_apart(tmp_path: Path) -> None:
    run_dir = named_folder(tmp_path / "r", [f"run_{number}" for number in range(MOST_MEANS + 1)])
    for number in range(3 * (MOST_MEANS + 1)):
        write_curve(run_dir, number, [0.5, 0.6])
    panel = mean_curves(read_sweep(run_dir))
    assert panel is not None
    lines = [trace for trace in panel.figure.data if trace.fill is None]
    assert len({(line.line.color, line.line.dash) for line in lines}) == len(lines) == MOST_MEANS
    assert f"The best {MOST_MEANS} of {MOST_MEANS + 1} configurations are drawn" in panel.note


def test_mean_curves_need_names_and_curves(mixed: Path, tmp_path: Path) -> None:
    assert mean_curves(read_sweep(mixed)) is None
    assert mean_curves(read_sweep(named_folder(tmp_path / "r", ["a"]))) is None


# Layer health


def write_diagnostics(run_dir: Path, number: int, *epochs: list[tuple[Any, ...]]) -> None:
    """diagnostics.csv of a trial: for each epoch its layers, each (weights, norm, update, std, dead, saturated)."""
    folder = run_dir / "trials" / f"{number:05d}"
    folder.mkdir(parents=True, exist_ok=True)
    head = "epoch,layer,weights,gradient_norm,update_ratio,activation_mean,activation_std,dead,saturated"
    lines = [
        f"{epoch},layer <{at}>,{w},{norm},{update},0.5,{std},{dead},{saturated}"
        for epoch, layers in enumerate(epochs, start=1)
        for at, (w, norm, update, std, dead, saturated) in enumerate(layers, start=1)
    ]
    (folder / "diagnostics.csv").write_text("\n".join([head, *lines]) + "\n")


def test_layer_health_shows_means_over_seeds_and_names_what_vanishes(tmp_path: Path) -> None:
    run_dir = named_folder(tmp_path / "r", ["deep & sigmoid", "he", "wild"])
    last = (100, 8.0, 1e-3, "", "", "")
    for number in range(9):
        seed = number % 3
        norm = [[3e-4, 5e-4, 7e-4], [2.0, 4.0, 6.0], [1e6, 2e6, 3e6]][number // 3][seed]
        first = [(400, norm, 1e-5, 0.5, "", 0.9), last]
        second = [(400, 1.0, 1e-5, 0.25, 0.125 * seed, 0.5), last]
        write_diagnostics(run_dir, number, first, second)
    gradients, updates, dead, saturated, deviation = layer_health(read_sweep(run_dir))
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
    gradients, *others = layer_health(read_sweep(run_dir))
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
    (gradients, *_) = layer_health(read_sweep(run_dir))
    lines = gradients.figure.data
    assert MOST_LINES / 2 < len(lines) <= MOST_LINES
    assert len({(line.line.color, line.line.dash) for line in lines}) == len(lines)
    assert lines[0].name.startswith("trial 299: ")  # the best
    assert "Of 300 configurations, an even selection is drawn, best to worst." in gradients.note
    assert list(gradients.figure.layout.xaxis.ticktext)[:2] == ["1", "3"]  # too many layers to name
    # All begin side by side: one label says how many.
    (label,) = gradients.figure.layout.annotations
    vanishing = sum("vanishing" in line.name for line in lines)
    assert label.text == f"<b>vanishing ({vanishing})</b>"


def test_layer_health_needs_diagnostics(mixed: Path) -> None:
    assert layer_health(read_sweep(mixed)) == []
    assert "Layer health" not in report(mixed)[0].text


def test_reports_load_no_torch() -> None:
    code = "import sys, sweeps.report.page\nprint(sorted({'torch', 'lightning', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
