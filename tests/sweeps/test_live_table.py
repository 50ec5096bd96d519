"""The table of a running sweep at every width: nothing that says how a trial is doing is cut, no parameter is lost."""

from __future__ import annotations

from typing import Any

import pytest

from sweeps.live_table import number_text, trial_table
from sweeps.results.trial_result import TrialResult

PARAMS: dict[str, Any] = {
    "model.optimizer.learning_rate": 0.00012346,
    "model.network.width": 512,
    "model.network.activation": "leaky_relu",
    "model.network.dropout": 0.123456,
    "model.optimizer.weight_decay": 1.23456e-06,
    "model.optimizer.momentum": 0.98765,
    "data.batch_size": 128,
}
METRIC = "validation/mean_absolute_error"


def result(number: int, outcome: str = "completed", **changes: Any) -> TrialResult:
    """A trial that has ended."""
    state = {"completed": "COMPLETE", "failed": "FAIL"}.get(outcome, "PRUNED")
    values = {"value": 0.123456, "epochs": 100, "elapsed_s": 12345.678, "params": PARAMS, **changes}
    return TrialResult(number, state, outcome, config_id=str(number), **values)


def entry(number: int, **changes: Any) -> dict[str, Any]:
    """A trial that runs."""
    return {"number": number, "epoch": 3, "value": 0.5, "elapsed_s": 4.25, "params": PARAMS, **changes}


def lines(width: int, height: int = 60, running: int = 2, **changes: Any) -> list[str]:
    finished = [result(1000 + number, **changes) for number in range(20)]
    finished.append(result(9999, "out_of_memory", value=None, epochs=None))
    return trial_table(finished, [entry(n) for n in range(running)], [METRIC], width, height).plain.splitlines()


@pytest.mark.parametrize("width", [60, 70, 80, 100, 120, 150, 200])
def test_every_column_and_parameter_is_readable(width: int) -> None:
    shown = lines(width)
    assert all(len(line) <= width for line in shown)
    rows = [line.split() for line in shown if line.split()[0].isdigit()]
    assert rows[-3:-2][0][:2] == ["9999", "out_of_memory"]
    assert rows[0][:5] == ["1011", "completed", "100", "0.1235", "12345.7"]
    assert rows[-1][:5] == ["1", "running", "3", "0.5", "4.2"]
    text = " ".join(" ".join(shown).split())
    for key, value in PARAMS.items():
        at_least = [f"{key.split('.')[-1]}={number_text(value, digits)}" for digits in (4, 3, 2)]
        assert max(text.count(pair) for pair in at_least) == len(rows)


def test_a_configuration_first_shrinks_then_goes_below() -> None:
    wide, narrower, narrow = (lines(width) for width in (182, 175, 150))
    assert "learning_rate=0.0001235" in wide[1]
    assert "learning_rate=0.00012" in narrower[1]
    assert len(wide[1]) > len(narrower[1])
    assert len(wide) == len(narrower)
    assert "learning_rate" not in narrow[1]
    assert narrow[2].startswith("      learning_rate=0.0001235 width=512")


@pytest.mark.parametrize("height", [5, 10, 20])
def test_a_low_terminal_shows_the_last_trials_whole(height: int) -> None:
    shown = lines(70, height)
    assert 3 <= len(shown) <= height
    assert shown[0].split()[:3] == ["trial", "state", "epoch"]
    assert shown[-1].endswith("batch_size=128")
    assert any(line.split()[:2] == ["1", "running"] for line in shown)


def test_all_trials_that_run_are_shown_where_there_is_room() -> None:
    shown = lines(200, 60, running=20)
    assert sum("running" in line for line in shown) == 20
    assert sum("completed" in line for line in shown) == 0


@pytest.mark.parametrize("width", [70, 200])
def test_a_failure_says_why_in_one_line(width: int) -> None:
    failed = result(3, "failed", reason="ValueError: " + "x" * 500, params={"lr": 0.5})
    shown = trial_table([failed], [], ["val/acc"], width, 20).plain.splitlines()
    assert all(len(line) <= width for line in shown)
    assert "ValueError: xxx" in shown[-1]
    assert shown[-1].endswith("…")


def test_a_trial_of_which_nothing_is_known_yet_has_empty_cells() -> None:
    shown = trial_table([], [entry(0, epoch=None, value=None, elapsed_s=None, params={})], ["val/acc"], 80, 20).plain
    assert "None" not in shown
    assert "running" in shown
