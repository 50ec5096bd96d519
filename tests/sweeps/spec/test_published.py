"""Published figures and claims: intervals against textbook tables, verdicts at their bounds, and what is printed."""

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
from report_folders import row, run_folder
from rich.console import Console
from sweep_specs import tiny_spec, write_spec

from sweeps.report.comparison import claim_verdict, figure_verdict, figures, judged, tally, values_of
from sweeps.report.comparison_tables import print_compared, settings
from sweeps.report.statistics import Interval, difference_interval, mean_interval, t_quantile
from sweeps.report.sweep_data import SweepData, read_sweep
from sweeps.spec.parse_spec import load_spec, parse_spec
from sweeps.spec.published import PublishedClaim, Quantity, usual_direction
from sweeps.spec.spec import check_continues

# Intervals

# The two-sided 5 % column of the t table that statistics textbooks print.
T_TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228}
T_TABLE |= {15: 2.131, 20: 2.086, 25: 2.060, 30: 2.042, 40: 2.021, 60: 2.000, 120: 1.980, 10**9: 1.960}

# "Student"'s sleep data of 1908 (R: sleep), extra hours under two drugs.
SLEEP_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SLEEP_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


@pytest.mark.parametrize(("freedom", "expected"), T_TABLE.items())
def test_quantiles_are_those_of_the_table(freedom: int, expected: float) -> None:
    assert round(t_quantile(freedom), 3) == expected


def test_quantiles_have_closed_forms_for_one_and_two_degrees_of_freedom() -> None:
    assert t_quantile(1) == pytest.approx(math.tan(0.475 * math.pi), rel=1e-8)
    assert t_quantile(2) == pytest.approx(0.95 * math.sqrt(2 / (1 - 0.95**2)), rel=1e-8)


def test_quantiles_of_degrees_of_freedom_that_are_not_whole() -> None:
    assert t_quantile(17.776) == pytest.approx(2.10279, abs=1e-4)  # R: qt(0.975, 17.776)
    assert t_quantile(1) > t_quantile(1.5) > t_quantile(2)


def test_interval_of_a_mean() -> None:
    found = mean_interval([0.81, 0.82, 0.83])  # s = 0.01, t = 4.303: 4.303 * 0.01 / sqrt(3)
    assert found.mean == pytest.approx(0.82)
    assert found.half == pytest.approx(0.02484, abs=1e-5)
    assert found.holds(0.8448)
    assert not found.holds(0.8449)


def test_one_value_has_no_interval_and_equal_values_a_point() -> None:
    assert mean_interval([0.9]) == Interval(0.9, None)
    assert not mean_interval([0.9]).holds(0.9)
    assert mean_interval([0.5, 0.5, 0.5]) == Interval(0.5, 0.0)


def test_interval_of_a_difference_is_that_of_welch() -> None:
    """R: t.test(extra ~ group, data = sleep): t = -1.8608, df = 17.776, interval -3.3654832 to 0.2054832."""
    found = difference_interval([SLEEP_1], [SLEEP_2])
    assert found.half is not None
    assert found.mean == pytest.approx(-1.58)
    assert found.mean - found.half == pytest.approx(-3.3654832, abs=1e-5)
    assert found.mean + found.half == pytest.approx(0.2054832, abs=1e-5)


def test_groups_of_one_side_count_alike_whatever_their_sizes() -> None:
    first, second = [[1.0, 3.0], [10.0, 11.0, 12.0, 13.0]], [[4.0, 5.0, 6.0]]
    found = difference_interval(first, second)
    assert found.mean == pytest.approx((2.0 + 11.5) / 2 - 5.0)
    parts = [(0.25 * 2.0 / 2, 1), (0.25 * (5 / 3) / 4, 3), (1.0 / 3, 2)]  # c**2 s**2 / n, and n - 1
    squared = sum(part for part, _ in parts)
    freedom = squared**2 / sum(part**2 / own for part, own in parts)
    assert found.half == pytest.approx(t_quantile(freedom) * math.sqrt(squared))
    assert difference_interval(first, [[4.0]]).half is None


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
    assert figure_verdict(published, ours, 0.005) == verdict


def test_a_tolerance_of_zero_asks_for_the_same_number() -> None:
    assert figure_verdict(9, Interval(9.0, 0.0), 0.0) == "reproduced"
    assert figure_verdict(9, Interval(9.5, 0.0), 0.0) == "not reproduced"


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
    assert claim_verdict(claim, difference) == verdict


def test_less_of_a_loss_is_better() -> None:
    less = ("train/loss", "val/rmse", "valid_error", "ValError/mae", "error")
    assert {usual_direction(metric) for metric in less} == {"minimize"}
    assert {usual_direction(metric) for metric in ("val/acc", "epochs", "loss/ratio", "lossless")} == {"maximize"}


def test_tally_names_what_holds_first() -> None:
    verdicts = ["undecided", "reproduced", "not reproduced", "reproduced"]
    assert tally(verdicts) == "2 of 4 reproduced, 1 undecided, 1 not reproduced"
    assert tally(["not reproduced"]) == "1 of 1 not reproduced"


# What is read from a run folder

TABLE: dict[str, Any] = {"metric": "train/acc", "tolerance": 0.005, "values": {"plain": 0.812, "[wide] %": 0.9}}
RUNS: dict[str, Any] = {"plain": {}, "[wide] %": {"model.depth": 3}, "late": {"model.depth": 4}}


def folder(path: Path, **changes: Any) -> Path:
    """Three seeds of `plain`; two of `[wide] %`, of which one diverged; none of `late`."""
    rows = []
    for seed, acc in enumerate((0.81, 0.82, 0.83)):
        more = {"metrics.train/acc": acc - 0.1, "final.train/acc": acc, "metrics.test/acc": acc + 0.1}
        rows.append(row(seed, "completed", 0.5, run="plain", config_id="plain", seed=seed, epochs=3 + seed, **more))
    rows.append(row(3, "completed", 0.5, run="[wide] %", config_id="wide", **{"final.train/acc": 0.904}))
    rows.append(row(4, "diverged", 0.5, run="[wide] %", config_id="wide", seed=1, **{"final.train/acc": 0.1}))
    spec = {"space": {}, "runs": RUNS, "seeds": 3, "n_trials": 9, "evaluate_test": "all", **changes}
    found = run_folder(path, rows, **spec)
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
    found = {figure.run: figure for figure in figures(sweep, sweep.spec.published[0])}
    plain, wide, late = (found[name] for name in RUNS)
    assert (plain.n, plain.missing, plain.verdict) == (3, "", "undecided")
    assert plain.difference == pytest.approx(0.008)
    assert (wide.n, wide.missing, wide.verdict) == (1, "diverged, not finished", "reproduced")
    assert wide.ours == Interval(0.904, None)
    assert (late.n, late.missing, late.verdict, late.difference) == (0, "not finished", "no result", None)
    unread = next(figure for figure in figures(sweep, sweep.spec.published[1]) if figure.run == "[wide] %")
    assert (unread.n, unread.missing) == (0, "diverged, without the metric, not finished")


def test_a_claim_about_a_run_that_has_no_result(tmp_path: Path) -> None:
    claims = [
        {"claim": "c", "better": ["plain", "late"], "worse": "[wide] %", "metric": "train/acc"},
        {"claim": "d", "better": "[wide] %", "worse": "plain", "metric": "train/acc"},
    ]
    no_result, one_seed = judged(read(tmp_path / "r", claims=claims))
    assert (no_result.verdict, no_result.difference) == ("no result", None)
    assert no_result.means == {"plain": pytest.approx(0.82), "late": None, "[wide] %": 0.904}
    assert (one_seed.verdict, one_seed.difference) == ("undecided", Interval(pytest.approx(0.084), None))


# What is printed


def printed(sweep: SweepData, **options: Any) -> str:
    text = io.StringIO()
    print_compared(sweep, Console(file=text, width=140, highlight=False, **options))
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


# Specs


def compared(folder: Path) -> dict[str, Any]:
    changes = {
        "runs": {"narrow": {"model.network.width": 4}, "wide": {"model.network.width": 16}},
        "published": {"metric": "train/acc", "tolerance": 0.5, "values": {"narrow": 0.5, "wide": 1}},
        "claims": [
            {"claim": "wider is better", "better": "wide", "worse": ["narrow"], "metric": "val/loss", "at": 2},
            {"claim": "as long", "same": ["wide", "narrow"], "within": 0, "metric": "epochs"},
        ],
    }
    return {**tiny_spec(folder, space={}, n_trials=None, seeds=2, **changes)}


def test_the_resolved_spec_reads_back_the_same(tmp_path: Path) -> None:
    spec = parse_spec(compared(tmp_path), tmp_path, "tiny")
    (tmp_path / "spec.yaml").write_text(spec.dump())
    again = load_spec(tmp_path / "spec.yaml")
    assert again.dump() == spec.dump()
    assert (again.published, again.claims) == (spec.published, spec.claims)
    assert spec.claims[0].direction == "minimize"
    assert again.claims[1].within == 0


def test_figures_and_claims_may_change_when_a_sweep_goes_on(tmp_path: Path) -> None:
    spec = parse_spec(compared(tmp_path), tmp_path, "tiny")
    check_continues(replace(spec, published=[], claims=[]), spec)


# A whole sweep


def test_what_a_run_sets_is_told_by_the_shortest_names_that_differ() -> None:
    values = {"model.network.norm": "before", "model.optimizer.name": "adam", "model.regularization.l1": 1e-4}
    assert settings(values) == "norm before, optimizer.name adam, l1 0.0001"
    assert settings({}) == "as the base"


def test_launch_and_report_set_ours_beside_the_published(tmp_path: Path) -> None:
    spec = write_spec(tmp_path, **{key: value for key, value in compared(tmp_path).items() if key != "base"})
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
    command = [sys.executable, "-m", "sweeps", *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


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
