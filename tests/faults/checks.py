"""What must hold after a sweep, however much of it was killed: it left what a sweep without a fault leaves."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from optuna.trial import FrozenTrial, TrialState

from lit_dl.run.epoch_rows import Row
from lit_dl.tracking import logged_rows
from sweeps.results.files import read_results
from sweeps.results.trial_result import TrialResult
from sweeps.trial_folder import TrialFolder

_BY_CHANCE = ("attempt", "slot", "started", "finished", "peak_memory_bytes")  # and all that ends in _s


def lost_or_doubled(trials: list[FrozenTrial], total: int) -> Iterator[str]:
    """Whether there are exactly the trials asked for, each at its end, no two with the same draw."""
    if [trial.number for trial in trials] != list(range(total)):
        yield f"the trials are {[trial.number for trial in trials]}, not 0 to {total - 1}"
    for trial in trials:
        if not trial.state.is_finished():
            yield f"trial {trial.number} is {trial.state.name}"
    drawn = Counter(str(trial.params) for trial in trials)
    yield from (f"{count} trials drew {params}" for params, count in drawn.items() if count > 1)


def told_twice(journal: Path) -> Iterator[str]:
    """Trials that were finished more than once, by the journal's records of states."""
    finished = [str(state.value) for state in TrialState if state.is_finished()]
    records = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    ends = Counter(
        record["trial_id"] for record in records if record["op_code"] == 6 and str(record["state"]) in finished
    )
    yield from (f"trial {number} was finished {count} times" for number, count in ends.items() if count > 1)


def other_trials(trials: list[FrozenTrial], expected: list[FrozenTrial], late: set[int], away: bool) -> Iterator[str]:
    """Trials that differ from those of the sweep without a fault, in any digit.

    Args:
        trials: After the faults.
        expected: Without.
        late: Trials that the pruner would have stopped earlier, had the storage been there to be asked: only what they
            drew, and what they reported of the epochs before, must be the same.
        away: Whether the storage was away at times: then an epoch may not have been reported.
    """
    for trial, other in zip(trials, expected, strict=False):
        ours, theirs = (_told(each, trial.number in late) for each in (trial, other))
        for name, value in ours.items():
            if value != theirs[name]:
                yield f"trial {trial.number}: {name} {value}, without faults {theirs[name]}"
        reported, all_reported = trial.intermediate_values.items(), other.intermediate_values.items()
        if not (trial.number in late or reported == all_reported or (away and reported <= all_reported)):
            yield f"trial {trial.number}: reported {dict(reported)}, without faults {dict(all_reported)}"


def _told(trial: FrozenTrial, is_late: bool) -> dict[str, Any]:
    values = {"params": trial.params}
    if not is_late:
        values |= {"state": trial.state.name, "constraints": trial.constraints}
        values |= {"values": trial.values if trial.state == TrialState.COMPLETE else None}
    return values


def other_rows(run_dir: Path, reference: Path, late: set[int]) -> Iterator[str]:
    """Rows of results.csv that differ in anything but times, attempt and slot."""
    rows, expected = ([_by_number(row) for row in read_results(folder)] for folder in (run_dir, reference))
    if [number for number, _ in rows] != [number for number, _ in expected]:
        yield f"results.csv has the trials {[number for number, _ in rows]}"
    for (number, row), (_, other) in zip(rows, expected, strict=False):
        for name in () if number in late else row.keys() | other.keys():
            if row.get(name) != other.get(name):
                yield f"results.csv, trial {number}: {name} {row.get(name)}, without faults {other.get(name)}"


def _by_number(result: TrialResult) -> tuple[int, Row]:
    row = result.to_row()
    return result.number, {k: v for k, v in row.items() if k not in _BY_CHANCE and not k.endswith("_s")}


def other_epochs(folders: dict[int, Path], reference: Path, wandb: bool, late: set[int]) -> Iterator[str]:
    """Tables by epoch that differ from those without a fault, and W&B's files that lack an epoch.

    Args:
        folders: Of the trials, by number.
        reference: Run folder of the sweep without a fault.
        wandb: Whether the trials were tracked offline.
        late: Trials that went on for longer; up to there they must be the same.
    """
    for number, folder in folders.items():
        for name in ("metrics.csv", "diagnostics.csv"):
            ours, theirs = _table(folder / name), _table(TrialFolder(reference, number).path / name)
            if ours != theirs and not (number in late and ours[: len(theirs)] == theirs):
                yield f"trial {number}: {name} differs in {_first_difference(ours, theirs)}"
        if wandb and (missing := _not_logged(folder, _table(folder / "metrics.csv"))):
            yield f"trial {number}: W&B's files lack {missing[:3]} and {len(missing) - 1} more"


def pruned_late(run_dir: Path, reference: Path) -> set[int]:
    """Trials that the pruner stopped in the sweep without a fault, and that took more epochs here."""
    rows, expected = ({row.number: row for row in read_results(folder)} for folder in (run_dir, reference))
    pruned = [number for number, row in expected.items() if row.outcome == "pruned" and number in rows]
    return {number for number in pruned if (rows[number].epochs or 0) > (expected[number].epochs or 0)}


def _table(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "elapsed_s"} for row in csv.DictReader(file)]


def _first_difference(ours: list[Row], theirs: list[Row]) -> str:
    pairs = [pair for pair in zip(ours, theirs, strict=False) if pair[0] != pair[1]]
    return f"{pairs[0][0]}, without faults {pairs[0][1]}" if pairs else f"length, {len(ours)}, not {len(theirs)}"


def _not_logged(folder: Path, table: list[Row]) -> list[tuple[str, str]]:
    """(epoch, metric) of the table whose figure is in none of the files of the W&B run."""
    logged = {
        (int(row.get("epoch", 0)), name, str(float(value)))
        for path in folder.glob("wandb/*run-*/run-*.wandb")
        for row in logged_rows(path)
        for name, value in row.items()
        if isinstance(value, int | float) or value in ("NaN", "Infinity", "-Infinity")
    }
    cells = [(row["epoch"], name, value) for row in table for name, value in row.items() if name != "epoch" and value]
    return [(epoch, name) for epoch, name, value in cells if (int(epoch), name, str(float(value))) not in logged]


def unreadable(folder: Path) -> Iterator[str]:
    """Files that do not parse, and what was left of some that were never whole."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and "wandb" not in path.parts):
        try:
            _PARSERS.get(path.suffix, _nothing)(path)
        except Exception as error:
            yield f"{path.relative_to(folder)}: {type(error).__name__}: {error}"
        if path.name.startswith(".") and path.suffix[1:].isdigit():
            yield f"{path.relative_to(folder)}: left by a process that died"
        if path.name.endswith(".previous"):
            yield f"{path.relative_to(folder)}: left"


def _nothing(path: Path) -> None:
    pass


def _read_csv(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n"), "its last line is cut off"
    widths = {len(row) for row in csv.reader(text.splitlines())}
    assert len(widths) == 1, f"rows of {sorted(widths)} cells"


def _read_json_lines(path: Path) -> None:
    for line in path.read_bytes().splitlines(keepends=True):
        assert line.endswith(b"\n"), "its last line is cut off"
        json.loads(line)


def _read_png(path: Path) -> None:
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG"), "no PNG"
    assert content.endswith(b"IEND\xaeB`\x82"), "cut off"


_PARSERS: dict[str, Callable[[Path], Any]] = {
    ".csv": _read_csv,
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".yaml": lambda path: yaml.safe_load(path.read_text(encoding="utf-8")),
    ".ckpt": lambda path: torch.load(path, weights_only=True),
    ".png": _read_png,
    ".journal": _read_json_lines,
    ".jsonl": _read_json_lines,
}
