"""The comparison with published values and claims: conclusions at their bounds, and what is printed."""

from __future__ import annotations

import io
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import yaml
from forked import run_python
from report_folders import result, run_folder
from rich.console import Console
from sweep_specs import with_published, write_spec

from sweeps.report.comparison import (
    claim_conclusion,
    compare_claims,
    compare_values,
    summarize,
    value_conclusion,
    values_of,
)
from sweeps.report.comparison_tables import print_comparisons, settings
from sweeps.report.statistics import Interval
from sweeps.report.sweep_data import SweepData, read_sweep
from sweeps.spec.published import PublishedClaim, Quantity

# Verdicts


@pytest.mark.parametrize(
    ("published", "ours", "verdict"),
    [
        (0.812, Interval(0.817, 0.001), "reproduced"),  # the difference is the tolerance, though not in binary
        (0.812, Interval(0.8171, 0.001), "not reproduced"),
        (0.812, Interval(0.807, None), "reproduced"),  # one seed: only the difference counts
        (0.812, Interval(0.8069, None), "not reproduced"),
        (0.812, Interval(0.821, 0.0095), "reproduced"),  # farther than the tolerance, but inside
        (0.812, Interval(0.821, 0.0085), "not reproduced"),
        (0.812, Interval(0.812, 0.010), "reproduced"),
        (0.812, Interval(0.812, 0.0101), "undecided"),  # would hold nearly anything
        (0.812, Interval(0.85, 0.03), "not reproduced"),  # wide, and still far away
    ],
)
def test_verdict_on_a_figure_with_tolerance_0_005(published: float, ours: Interval, verdict: str) -> None:
    assert value_conclusion(published, ours, 0.005) == verdict


def test_a_tolerance_of_zero_asks_for_the_same_number() -> None:
    assert value_conclusion(9, Interval(9.0, 0.0), 0.0) == "reproduced"
    assert value_conclusion(9, Interval(9.5, 0.0), 0.0) == "not reproduced"


BETTER = PublishedClaim("a", Quantity("val/acc"), ["one"], ["other"])
LESS = replace(BETTER, direction="minimize")
SAME = replace(BETTER, within=0.003)


@pytest.mark.parametrize(
    ("claim", "difference", "verdict"),
    [
        (BETTER, Interval(0.010, 0.009), "supported"),
        (BETTER, Interval(0.010, 0.010), "undecided"),
        (BETTER, Interval(-0.010, 0.009), "contradicted"),
        (BETTER, Interval(0.010, None), "undecided"),
        (LESS, Interval(-0.010, 0.009), "supported"),
        (LESS, Interval(0.010, 0.009), "contradicted"),
        (SAME, Interval(0.001, 0.002), "supported"),
        (SAME, Interval(0.001, 0.0021), "undecided"),
        (SAME, Interval(-0.001, 0.002), "supported"),
        (SAME, Interval(0.005, 0.0019), "contradicted"),
        (SAME, Interval(-0.005, 0.0019), "contradicted"),
        (SAME, Interval(0.005, 0.0021), "undecided"),
        (SAME, Interval(0.0, None), "undecided"),
    ],
)
def test_verdict_on_a_claim(claim: PublishedClaim, difference: Interval, verdict: str) -> None:
    assert claim_conclusion(claim, difference) == verdict


def test_tally_names_what_holds_first() -> None:
    verdicts = ["undecided", "reproduced", "not reproduced", "reproduced"]
    assert summarize(verdicts) == "2 of 4 reproduced, 1 undecided, 1 not reproduced"
    assert summarize(["not reproduced"]) == "1 of 1 not reproduced"


# What is read from a run folder

TABLE: dict[str, Any] = {"metric": "train/acc", "tolerance": 0.005, "values": {"plain": 0.812, "[wide] %": 0.9}}
RUNS: dict[str, Any] = {"plain": {}, "[wide] %": {"model.depth": 3}, "late": {"model.depth": 4}}


def folder(path: Path, **changes: Any) -> Path:
    """Three seeds of `plain`; two of `[wide] %`, of which one diverged; none of `late`."""
    plain = {"run": "plain", "config_id": "plain"}
    results = [
        result(
            seed,
            "completed",
            0.5,
            {"train/acc": acc - 0.1, "test/acc": acc + 0.1},
            last={"train/acc": acc},
            seed=seed,
            epochs=3 + seed,
            **plain,
        )
        for seed, acc in enumerate((0.81, 0.82, 0.83))
    ]
    wide = {"run": "[wide] %", "config_id": "wide"}
    results.append(result(3, "completed", 0.5, last={"train/acc": 0.904}, **wide))
    results.append(result(4, "diverged", 0.5, last={"train/acc": 0.1}, seed=1, **wide))
    spec = {"space": {}, "runs": RUNS, "seeds": 3, "n_trials": 9, "evaluate_test": "all", **changes}
    found = run_folder(path, results, **spec)
    for number in range(3):
        trial = found / "trials" / f"{number:05d}"
        trial.mkdir(parents=True)
        (trial / "metrics.csv").write_text(f"epoch,train/acc\n1,0.{number + 1}\n2,\n")
    return found


def read(path: Path, **changes: Any) -> SweepData:
    return read_sweep(folder(path, **changes))


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        (Quantity("train/acc", "last"), [0.81, 0.82, 0.83]),
        (Quantity("train/acc", "best"), [0.71, 0.72, 0.73]),
        (Quantity("train/acc", 1), [0.1, 0.2, 0.3]),
        (Quantity("train/acc", 2), []),  # an empty cell
        (Quantity("train/acc", 9), []),
        (Quantity("test/acc", "last"), [0.91, 0.92, 0.93]),
        (Quantity("test/acc", 1), [0.91, 0.92, 0.93]),
        (Quantity("epochs"), [3, 4, 5]),
        (Quantity("best_epoch", "best"), [2, 2, 2]),
        (Quantity("train/f1"), []),
    ],
    ids=str,
)
def test_where_a_quantity_is_read(tmp_path: Path, quantity: Quantity, expected: list[float]) -> None:
    assert values_of(read(tmp_path / "r"), "plain", quantity) == pytest.approx(expected)


def test_rows_say_what_is_missing(tmp_path: Path) -> None:
    table = {**TABLE, "values": {"plain": 0.812, "[wide] %": 0.9, "late": 0.7}}
    sweep = read(tmp_path / "r", published=[table, {**TABLE, "at": 1}])
    found = {figure.run: figure for figure in compare_values(sweep, sweep.spec.published[0])}
    plain, wide, late = (found[name] for name in RUNS)
    assert (plain.n, plain.missing, plain.conclusion) == (3, "", "undecided")
    assert plain.difference == pytest.approx(0.008)
    assert (wide.n, wide.missing, wide.conclusion) == (1, "diverged, not finished", "reproduced")
    assert wide.ours == Interval(0.904, None)
    assert (late.n, late.missing, late.conclusion, late.difference) == (0, "not finished", "no result", None)
    unread = next(figure for figure in compare_values(sweep, sweep.spec.published[1]) if figure.run == "[wide] %")
    assert (unread.n, unread.missing) == (0, "diverged, without the metric, not finished")


def test_a_claim_about_a_run_that_has_no_result(tmp_path: Path) -> None:
    claims = [
        {"claim": "c", "better": ["plain", "late"], "worse": "[wide] %", "metric": "train/acc"},
        {"claim": "d", "better": "[wide] %", "worse": "plain", "metric": "train/acc"},
    ]
    no_result, one_seed = compare_claims(read(tmp_path / "r", claims=claims))
    assert (no_result.conclusion, no_result.difference) == ("no result", None)
    assert no_result.means == {"plain": pytest.approx(0.82), "late": None, "[wide] %": 0.904}
    assert (one_seed.conclusion, one_seed.difference) == ("undecided", Interval(pytest.approx(0.084), None))


# What is printed


def printed(sweep: SweepData, **options: Any) -> str:
    text = io.StringIO()
    print_comparisons(sweep, Console(file=text, width=140, highlight=False, **options))
    return text.getvalue()


def test_into_a_file_go_aligned_texts_only(tmp_path: Path) -> None:
    claim = {"claim": "more [bold]", "better": "[wide] %", "worse": "plain", "metric": "train/acc"}
    sweep = read(tmp_path / "r", published={**TABLE, "title": "Title", "source": "a paper"}, claims=[claim])
    lines = [line.rstrip() for line in printed(sweep).splitlines()]
    assert lines[:6] == [
        "Title: train/acc, last epoch",
        "a paper",
        "run       seeds                       published             ours  difference  verdict",
        "[wide] %  1 (diverged, not finished)     0.9000           0.9040     +0.0040  ✓ reproduced",
        "plain     3                              0.8120  0.8200 ± 0.0248     +0.0080  ? undecided",
        "1 of 2 reproduced, 1 undecided; tolerance 0.005.",
    ]
    assert "more [bold]  train/acc, last epoch  [wide] % 0.904 > plain 0.820      +0.084  ? undecided" in lines
    assert "\x1b" not in printed(sweep)


def test_a_sweep_without_figures_and_claims_prints_nothing(tmp_path: Path) -> None:
    assert printed(read(tmp_path / "r")) == ""


def test_a_terminal_gets_lines_and_colours(tmp_path: Path) -> None:
    text = printed(read(tmp_path / "r", published=TABLE), force_terminal=True, legacy_windows=False)
    assert "│" in text
    assert "\x1b[32m✓ reproduced" in text


# A whole sweep


def test_what_a_run_sets_is_told_by_the_shortest_names_that_differ() -> None:
    values = {"model.network.norm": "before", "model.optimizer.name": "adam", "model.regularization.l1": 1e-4}
    assert settings(values) == "norm before, optimizer.name adam, l1 0.0001"
    assert settings({}) == "as the base"


def test_launch_and_report_set_ours_beside_the_published(tmp_path: Path) -> None:
    spec = write_spec(tmp_path, **{key: value for key, value in with_published(tmp_path).items() if key != "base"})
    words = ["launch", spec, "--run_dir", tmp_path / "run", "--workers", "1", "--wandb", "disabled"]
    done = sweeps(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    table = lines_of_table(done.stdout)
    by_run: dict[str, list[float]] = {"narrow": [], "wide": []}
    for config in (tmp_path / "run" / "trials").glob("*/config.yaml"):
        width = yaml.safe_load(config.read_text())["model"]["network"]["width"]
        last = config.with_name("metrics.csv").read_text().splitlines()
        accuracy = dict(zip(last[0].split(","), last[-1].split(","), strict=True))["train/acc"]
        by_run["wide" if width == 16 else "narrow"].append(float(accuracy))
    for name, values in by_run.items():
        (cells,) = [line.split() for line in table if line.startswith(f"{name} ")]
        assert cells[1] == "2"
        assert float(cells[3]) == pytest.approx(fmean(values), abs=0.0051)
        assert float(cells[5]) == pytest.approx(12.706 * stdev(values) / math.sqrt(2), abs=0.0051)
    assert any(line.startswith("as long") and line.rstrip().endswith("✓ supported") for line in table)
    reported = sweeps(tmp_path, "report", tmp_path / "run")
    assert lines_of_table(reported.stdout) == table
    assert reported.stdout.splitlines()[-1] == f"report {tmp_path / 'run' / 'report.html'}"


def sweeps(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return run_python(["-m", "sweeps", *words], folder)


def lines_of_table(output: str) -> list[str]:
    lines = output.splitlines()
    first = lines.index("train/acc, last epoch")
    last = next(number for number, line in enumerate(lines) if "supported" in line and "of 2" in line)
    return lines[first : last + 1]


def test_reports_load_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom sweeps.cli import main\n"
        f"try: main(['report', {str(folder(tmp_path / 'r', published=TABLE))!r}])\n"
        "except SystemExit as end: print(end.code, {'torch', 'lightning', 'wandb'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 set()"
