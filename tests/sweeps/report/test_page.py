"""The report: what it says of a sweep in every state, and that it is one file that needs no network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from report_folders import (
    ACCURACY,
    params_of,
    report,
    result,
    run_folder,
    table_rows,
    with_params,
    write_curve,
)

from lit_dl.errors import StorageError
from sweeps.report import history, importances, parallel_coordinates
from sweeps.report.page import write_report
from sweeps.report.sweep_data import read_sweep
from sweeps.results.trial_result import TrialResult


def test_one_file_that_loads_nothing(mixed: Path) -> None:
    page, text = report(mixed)
    assert page.loads
    assert all(target.startswith(("#", "data:")) for target in page.loads)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest", text)
    assert not {"link", "img", "iframe", "object", "embed"} & set(page.tags) - {"link"}
    assert page.tags.count("link") == 1  # the empty icon, so that no browser asks for one


def test_every_completed_trial_is_ranked_and_no_other(mixed: Path) -> None:
    page, text = report(mixed)
    by_value = sorted(range(12), key=lambda n: -(n * 7 % 13))
    assert [int(cells[1]) for cells in page.tables[0]] == by_value
    assert [int(cells[0]) for cells in page.tables[0]] == list(range(1, 13))
    rows = table_rows(text, "trials")
    assert [row["trial"] for row in rows] == [*by_value, 12, 13, 14, 15, 16]
    outcomes = ["completed"] * 12 + ["pruned", "failed", "diverged", "out of memory", "interrupted"]
    assert [row["outcome"] for row in rows] == outcomes
    assert rows[12]["why it ended"] == "the pruner stopped it"
    assert [row["to best"] for row in rows[:2]] == [0, pytest.approx(-0.001)]
    assert {row["to best"] for row in rows[12:]} == {None}


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
    labels = " ".join(text for trace in history.panel(read_sweep(mixed)).figure.data for text in trace.text or ())
    assert "&lt;script&gt;" in labels
    assert "%{" not in labels


def test_value_at_a_missing_condition_and_null_choice(mixed: Path) -> None:
    sweep = read_sweep(mixed)
    by_number = {trial.number: sweep.params(trial) for trial in sweep.results}
    assert "model.optimizer.momentum" not in by_number[1]
    assert by_number[0]["model.optimizer.momentum"] == 0.5
    assert by_number[0]["model.sizes"] == "[300, 100]"
    assert by_number[2]["model.sizes"] is None
    lines = {dimension.label: dimension for dimension in parallel_coordinates.panel(sweep).figure.data[0].dimensions}
    assert "not set" in lines["momentum"].ticktext
    assert min(lines["momentum"]["values"]) < 0.5
    assert list(lines["sizes"].ticktext) == ["[300, 100]", "[64]", "null"]
    assert max(lines["lr (log)"]["values"]) < -1


def test_sweep_without_any_result(tmp_path: Path) -> None:
    run_dir = run_folder(tmp_path / "r", None)
    page, _ = report(run_dir)
    assert "No trial has completed yet" in page.text
    write_curve(run_dir, 0, [0.1, 0.2])
    running = {"number": 0, "epoch": 2, "params": params_of(1)}
    status = {"state": "running", "launcher": {"host": "another machine"}, "running": [running]}
    status |= {"name": "sweep", "counts": {}, "objectives": []}
    (run_dir / "status.json").write_text(json.dumps(status))
    page, text = report(run_dir)
    assert "running · 0 of 100 trials have ended: 1 running" in page.text
    (row,) = table_rows(text, "trials")
    assert (row["trial"], row["outcome"], row["optimizer.name"]) == (0, "running", "adam")
    assert "loads itself again" in page.text


@pytest.mark.parametrize("outcome", ["failed", "pruned", "diverged"])
def test_sweep_with_no_completed_trial(tmp_path: Path, outcome: str) -> None:
    rows = [with_params(n, outcome, None if outcome == "failed" else 0.5) for n in range(3)]
    page, text = report(run_folder(tmp_path / "r", rows))
    assert "No trial has completed yet , so nothing is ranked" in page.text
    assert [row["trial"] for row in table_rows(text, "trials")] == [0, 1, 2]


@pytest.mark.parametrize("trials", [1, 2, 30])
def test_one_parameter_of_a_foreign_module_with_a_loss(tmp_path: Path, trials: int) -> None:
    space = {"model.lr": {"low": 1e-5, "high": 1e-1, "log": True, "type": "float"}}
    rows = [
        result(n, "completed", 10.0 ** (n % 5 - 2), {"valid_loss": 1.0}, params={"model.lr": 10 ** (-5 + n / 8)})
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
        result(
            n,
            "completed",
            0.9 + 0.01 * (n // 3) + 0.001 * (n % 3),
            {"test/acc": 0.8 + 0.01 * (n % 3)},
            config_id=names[n // 3],
            run=names[n // 3],
        )
        for n in range(9)
    ]
    runs = {name: {"model.depth": 2} for name in names}
    page, _ = report(run_folder(tmp_path / "r", rows, space={}, runs=runs, seeds=3, n_trials=9))
    assert "0.9210 ± 0.0010" in page.text
    assert "c, mean over 3 seeds, trials 6, 7, 8; best run: trial 8" in page.text
    assert [cells[1] for cells in page.tables[0]] == ["6, 7, 8", "3, 4, 5", "0, 1, 2"]
    assert page.tables[0][2][2] == "a <b>"
    assert page.tables[0][0][5] == "0.81"  # the mean of the test metric, not that of the run with the best value
    assert "no search space" in page.text


def test_several_objectives(tmp_path: Path) -> None:
    rows = [with_params(n, "completed", n / 10, {"time": float(abs(n - 3))}) for n in range(6)]
    objective = [ACCURACY, {"metric": "time", "direction": "minimize"}]
    run_dir = run_folder(tmp_path / "r", rows, objective=objective)
    page, _ = report(run_dir)
    assert read_sweep(run_dir).best_numbers == {5, 4, 3}
    assert "maximize val/acc and minimize time" in page.text
    assert "3 of the ranked configurations are on the Pareto front" in page.text
    assert [row[:3] for row in page.tables[0]] == [["5", "0.5", "2"], ["4", "0.4", "1"], ["3", "0.3", "0"]]
    assert "Best configuration" not in page.text


def violating(number: int, value: float, **best: float) -> TrialResult:
    """A trial that violates a constraint."""
    text = f"latency_ms {number} is above 2"
    return with_params(number, "completed", value, best, infeasible=text, violation=number / 2 - 1)


def test_what_violates_a_constraint_is_last_and_says_why(tmp_path: Path) -> None:
    rows = [with_params(1, "completed", 0.5), violating(3, 0.9), violating(4, 0.95), with_params(2, "completed", 0.6)]
    run_dir = run_folder(tmp_path / "r", rows, constraints={"latency_ms": {"high": 2}})
    page, _ = report(run_dir)
    assert [(row[1], row[2]) for row in page.tables[0]] == [
        ("2", ""),
        ("1", ""),
        ("3", "latency_ms 3 is above 2"),
        ("4", "latency_ms 4 is above 2"),
    ]
    assert "4 completed, 2 of them infeasible" in page.text
    assert "violates a constraint (latency_ms at most 2) come last" in page.text
    line, *markers = history.panel(read_sweep(run_dir)).figure.data
    assert max(line.y) == 0.6
    assert [trace.name for trace in markers][:2] == ["completed (2)", "infeasible (2)"]


def test_where_nothing_is_feasible_there_is_no_best(tmp_path: Path) -> None:
    constraints = {"latency_ms": {"high": 2}}
    page, _ = report(run_folder(tmp_path / "one", [violating(4, 0.9), violating(3, 0.5)], constraints=constraints))
    says = "no completed trial meets the constraints; the nearest is trial 3: latency_ms 3 is above 2"
    assert "There is no best configuration" in page.text
    assert says in page.text
    both = [ACCURACY, {"metric": "time", "direction": "minimize"}]
    rows = [violating(4, 0.9, time=1.0), violating(3, 0.5, time=2.0)]
    page, _ = report(run_folder(tmp_path / "two", rows, objective=both, constraints=constraints))
    assert says in page.text
    rows += [with_params(1, "completed", 0.1, {"time": 3.0})]
    page, text = report(run_folder(tmp_path / "front", rows, objective=both, constraints=constraints))
    assert read_sweep(tmp_path / "front").best_numbers == {1}
    assert "violates a constraint (2)" in text


def test_a_space_that_a_function_defines_has_the_parameters_that_it_suggested(tmp_path: Path) -> None:
    known = {"lr": {"low": 1e-4, "high": 0.1, "log": True, "type": "float"}, "kind": {"choices": ["a", "b"]}}
    params: list[dict[str, Any]] = [{"lr": 0.001 * (n + 1), "kind": "ab"[n % 2]} for n in range(6)]
    params[5]["late"] = 3  # which no call before trial 0 has shown
    rows = [with_params(n, "completed", n / 10, params=values) for n, values in enumerate(params)]
    run_dir = run_folder(tmp_path / "r", rows, space={"function": "my_space.suggest", "parameters": known})
    page, _ = report(run_dir)
    assert list(read_sweep(run_dir).names) == ["kind", "lr", "late"]
    assert page.tables[0][0][:7] == ["1", "5", "0.5", "2", "b", "0.006", "3"]
    assert importances.panel(read_sweep(run_dir)).figure is not None


def test_two_thousand_trials_stay_small(tmp_path: Path) -> None:
    outcomes = ("completed", "completed", "pruned")
    rows = [with_params(n, outcomes[n % 3], 0.5 + n / 5000, reason="the pruner stopped it") for n in range(2000)]
    run_dir = run_folder(tmp_path / "r", rows)
    for number in range(1800, 2000):
        write_curve(run_dir, number, [0.1, 0.2, 0.3])
    page, text = report(run_dir)
    assert len(text) < 3e6
    assert len(table_rows(text, "trials")) == len(table_rows(text, "ledger")) == 2000
    assert len(page.tables[0]) == 50
    assert "1284 more configurations are ranked" in page.text
    assert "All 200 curves." in page.text
    assert "1800 trials have no readable curve in this folder" in page.text


def test_output_and_bad_folders(tmp_path: Path) -> None:
    run_dir = run_folder(tmp_path / "r", [])
    assert write_report(run_dir) == run_dir / "report.html"
    assert write_report(run_dir, tmp_path / "new" / "r.html").is_file()
    with pytest.raises(StorageError, match="it is a folder"):
        write_report(run_dir, tmp_path)
    with pytest.raises(StorageError, match=r"no spec\.yaml"):
        write_report(tmp_path)


def test_reports_load_no_torch() -> None:
    code = "import sys, sweeps.report.page\nprint(sorted({'torch', 'lightning', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
