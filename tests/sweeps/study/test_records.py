from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from sweeps.study.records import RESULT, TrialOutcome, killed_row, now, read_outcome, write_outcome

VERDICTS = [
    TrialOutcome(
        TrialState.COMPLETE, [0.1, 1e-300], None, {"outcome": "completed", "metrics.val/acc": 1 / 3, "slot": 0}
    ),
    TrialOutcome(TrialState.PRUNED, None, {"diverged": 1.0}, {"outcome": "diverged", "reason": "ä\n\u2028 'quoted'"}),
    TrialOutcome(TrialState.FAIL, None, None, {"outcome": "failed", "reason": None}),
]


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_verdict_is_read_as_it_was_written(tmp_path: Path, verdict: TrialOutcome) -> None:
    write_outcome(tmp_path, "uid", verdict)
    assert read_outcome(tmp_path, "uid") == verdict
    assert [path.name for path in tmp_path.iterdir()] == [RESULT]
    json.loads((tmp_path / RESULT).read_text(), parse_constant=pytest.fail)  # JSON that others read too


def test_that_of_another_study_is_not_taken(tmp_path: Path) -> None:
    write_outcome(tmp_path, "earlier", VERDICTS[0])
    assert read_outcome(tmp_path, "uid") is None


def damaged() -> list[str]:
    whole = {"state": "COMPLETE", "values": [1.0], "constraints": None, "row": {}, "study": "uid"}
    changed: list[dict[str, Any]] = [
        {**whole, "state": "DONE"},
        {**whole, "more": 1},
        {key: value for key, value in whole.items() if key != "row"},
        {key: value for key, value in whole.items() if key != "study"},
    ]
    return ["", "{", "null", "[1]", "3", '"text"', "\x00" * 100, *map(json.dumps, changed)]


@pytest.mark.parametrize("text", damaged())
def test_a_damaged_one_is_no_verdict(tmp_path: Path, text: str) -> None:
    (tmp_path / RESULT).write_text(text)
    assert read_outcome(tmp_path, "uid") is None


def test_no_folder_no_bytes_of_text_no_verdict(tmp_path: Path) -> None:
    assert read_outcome(tmp_path / "none", "uid") is None
    (tmp_path / RESULT).write_bytes(b"\xff\xfe\x00{")
    assert read_outcome(tmp_path, "uid") is None


def test_times_are_compared_as_text() -> None:
    first, second = now(), now()
    assert first <= second
    assert len(first) == len("2026-11-22T03:45:00.000000+00:00")
    assert killed_row("why", 3) | {"finished": ""} == {
        "outcome": "killed",
        "reason": "why",
        "attempt": 3,
        "finished": "",
    }
