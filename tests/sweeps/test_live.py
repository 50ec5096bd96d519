from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from sweep_specs import tiny_spec

from sweeps.live import LiveView
from sweeps.results.trial_result import TrialResult
from sweeps.spec.parse_spec import parse_spec

RESULTS = [
    TrialResult(
        number=1,
        state="COMPLETE",
        outcome="completed",
        config_id="1",
        reason="max_epochs",
        value=0.97123,
        epochs=8,
        elapsed_s=9.5,
        params={"model.optimizer.lr": 0.012345},
    ),
    TrialResult(
        number=0,
        state="FAIL",
        outcome="failed",
        config_id="0",
        reason="ValueError: [bold]x",
        elapsed_s=1.0,
        params={"model.optimizer.lr": 0.5},
    ),
]


def status(**changes: Any) -> dict[str, Any]:
    counts = {"COMPLETE": 1, "PRUNED": 0, "FAIL": 1, "RUNNING": 1, "WAITING": 0}
    running = [{"number": 2, "epoch": 3, "value": 0.5, "elapsed_s": 4.2, "params": {"model.optimizer.lr": 0.1}}]
    best = {"number": 1, "mean": 0.97123, "value": 0.97123, "n": 1}
    found = {"name": "tiny", "state": "running", "n_trials": 4, "counts": counts, "running": running, "best": best}
    return {**found, "outcomes": {"completed": 1, "failed": 1}, "elapsed_s": 20.0, "left_s": 30.0, **changes}


def view(tmp_path: Path, terminal: bool) -> tuple[LiveView, io.StringIO]:
    shown = LiveView(parse_spec(tiny_spec(tmp_path), tmp_path, "tiny"))
    text = io.StringIO()
    shown.console = Console(file=text, width=140, force_terminal=terminal, highlight=False)
    shown._live = None
    return shown, text


def test_without_a_terminal_each_trial_that_ended_is_one_line(tmp_path: Path) -> None:
    shown, text = view(tmp_path, terminal=False)
    shown.update(status(best=None), [])
    shown.update(status(), RESULTS)
    shown.update(status(), RESULTS)
    first, second = text.getvalue().splitlines()
    assert first.startswith(
        "trial 1 completed after 8 epochs, 9.5 s, 0.9712: lr=0.01235  [2/4, best so far 0.9712 (trial 1)"
    )
    assert "about 30 s left" in first
    assert second.startswith("trial 0 failed after 0 epochs, 1.0 s, no value: ValueError: [bold]x")


def test_trials_of_an_earlier_launch_are_not_told_again(tmp_path: Path) -> None:
    shown, text = view(tmp_path, terminal=False)
    shown.update(status(), RESULTS)
    assert text.getvalue() == ""


def test_the_table_shows_trial_state_epoch_metric_and_time(tmp_path: Path) -> None:
    shown, text = view(tmp_path, terminal=True)
    shown.console.print(shown._table(status(), RESULTS))
    printed = text.getvalue()
    for part in ("tiny  2/4", "val/acc", "completed", "failed", "running", "0.9712", "lr=0.01235"):
        assert part in printed


@pytest.mark.parametrize("width", [50, 70, 120])
def test_the_ranking_at_the_end_fits_the_terminal(tmp_path: Path, width: int) -> None:
    shown, text = view(tmp_path, terminal=False)
    shown.console.width = width
    results = [replace(RESULTS[0], params=dict.fromkeys("abcdefg", 0.123456) | {"name": "leaky_relu"})]
    shown.end(status(), results, tmp_path)
    lines = text.getvalue().split("finished")[0].split("running after")[0].splitlines()
    assert lines[1].split()[:5] == ["rank", "trial", "val/acc", "epoch", "seconds"]
    assert all(len(line) <= width for line in lines)
    assert all(f"{name}=0.12" in " ".join(lines) for name in "abcdefg")


@pytest.mark.parametrize(("state", "goes_on"), [("finished", False), ("interrupted", True)])
def test_the_end_says_what_to_do_next(tmp_path: Path, state: str, goes_on: bool) -> None:
    shown, text = view(tmp_path, terminal=False)
    shown.end(status(state=state), RESULTS[:1], tmp_path)
    printed = text.getvalue()
    assert f"{state} after 20.0 s: 1 completed, 1 failed" in printed
    assert f"sweeps best {tmp_path}" in printed
    assert ("the same command goes on from here" in printed) == goes_on


def test_several_objectives_are_shown_as_their_front(tmp_path: Path) -> None:
    objectives = [{"metric": "val/acc", "direction": "maximize"}, {"metric": "ms", "direction": "minimize"}]
    shown = LiveView(parse_spec(tiny_spec(tmp_path, objective=objectives), tmp_path, "tiny"))
    text = io.StringIO()
    shown.console = Console(file=text, width=140, highlight=False)
    shown._live = None
    results = [
        TrialResult(n, "COMPLETE", "completed", str(n), value=acc, best={"val/acc": acc, "ms": ms})
        for n, acc, ms in [(0, 0.9, 5.0), (1, 0.95, 9.0), (2, 0.9, 6.0)]
    ]
    front = [{"number": n, "values": {}, "n": 1} for n in (1, 0)]
    found = status(state="finished", front=front)
    shown.update(found, [])
    shown.update(found, results)
    shown.end(found, results, tmp_path)
    lines = text.getvalue().splitlines()
    assert "0.9 / 5: " in lines[0]
    assert "2 on the Pareto front" in lines[0]
    assert "Pareto front of val/acc, ms" in lines[3]
    assert [line.split()[:4] for line in lines[5:7]] == [["1", "1", "0.95", "9"], ["2", "0", "0.9", "5"]]
    assert any(line.startswith("Pareto front: trials 1, 0; their files") for line in lines)


def test_a_trial_that_violates_a_constraint_is_called_infeasible_and_by_what(tmp_path: Path) -> None:
    shown, text = view(tmp_path, terminal=False)
    result = replace(RESULTS[0], infeasible="latency_ms 7.1 is above 5", violation=0.42)
    shown.update(status(best=None), [])
    shown.update(status(best=None, none_feasible="none"), [result])
    shown.end(status(best=None, infeasible=1, state="finished"), [result], tmp_path)
    lines = text.getvalue()
    assert "trial 1 infeasible after 8 epochs, 9.5 s, 0.9712: latency_ms 7.1 is above 5; lr=0.01235" in lines
    assert "none feasible yet" in lines
    assert "(infeasible: latency_ms 7.1 is above 5) lr=0.01235" in lines
    assert "no completed trial meets the constraints; the nearest is trial 1: latency_ms 7.1 is above 5" in lines
    assert "1 completed (1 infeasible)" in lines
    assert "best:" not in lines
