"""The tables of trials that a launch prints, laid out for the width and height of the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from sweeps.results.trial_result import TrialResult

_MAX_ROWS = 12
_MAX_HEAD = 16
_INDENT = "      "
_STYLES = {"completed": "green", "pruned": "yellow", "failed": "red", "diverged": "magenta", "out_of_memory": "magenta"}
_STYLES["infeasible"] = "yellow"


@dataclass(frozen=True)
class TrialRow:
    """A trial in a table.

    Args:
        cells: Such as trial, state, epoch, value and seconds. They are shown whatever the width.
        params: The configuration.
        run: Its name in the spec; empty for a sampled one.
        reason: Why the trial failed or what it violates, in place of the configuration; empty where it did not.
        style: Style of the row.
    """

    cells: tuple[str, ...]
    params: Mapping[str, Any]
    run: str = ""
    reason: str = ""
    style: str = ""

    def configuration(self, digits: int) -> str:
        """Returns the configuration, with so many digits a number."""
        return " ".join(filter(None, (self.run, params_text(self.params, digits))))


def finished_row(result: TrialResult, metrics: Sequence[str]) -> TrialRow:
    """Returns the row of a trial that has ended; `metrics` are the objectives."""
    values = [result.value, *(result.best.get(metric) for metric in metrics[1:])]
    value = " / ".join(map(number_text, values)) if result.value is not None else ""
    outcome = "infeasible" if result.infeasible else result.outcome
    cells = (result.number, outcome, result.epochs, value, seconds_text(result.elapsed_s))
    reason = result.reason if result.state == "FAIL" else result.infeasible
    style = _STYLES.get(outcome, "")
    return TrialRow(tuple(map(plain_text, cells)), result.params, result.run or "", reason, style)


def running_row(entry: Mapping[str, Any]) -> TrialRow:
    """Returns the row of a trial that runs, from its entry in `status.json`."""
    value, seconds = number_text(entry["value"]), seconds_text(entry["elapsed_s"])
    cells = (entry["number"], "running", entry["epoch"], value, seconds)
    return TrialRow(tuple(map(plain_text, cells)), entry["params"], style="bold")


def trial_table(
    finished: Sequence[TrialResult],
    running: Sequence[Mapping[str, Any]],
    metrics: Sequence[str],
    width: int,
    height: int,
) -> Text:
    """Returns the table of a sweep that runs: the trials that ended last, then those that run.

    Args:
        finished: Results in order of their ends.
        running: Entries of `status.json`.
        metrics: Names of the objectives.
        width: Columns of the terminal.
        height: Lines that the table may take.
    """
    rows = [*(finished_row(result, metrics) for result in finished[-_MAX_ROWS:]), *map(running_row, running)]
    head, *blocks = table_blocks(("trial", "state", "epoch", " / ".join(metrics), "seconds"), rows, width)
    return Text("\n").join([*head, *_fitting(blocks, len(running), height - 1)])


def table_blocks(heads: Sequence[str], rows: Sequence[TrialRow], width: int) -> list[list[Text]]:
    """Returns the lines of a table: those of its head, then those of each row.

    Where not all configurations fit beside the other columns, they are shown with less digits, else each below its
    trial.

    Args:
        heads: Heads of the cells.
        rows: The rows.
        width: Columns of the terminal.
    """
    heads = [head if len(head) <= _MAX_HEAD else f"…{head[1 - _MAX_HEAD :]}" for head in heads]
    widths = [max(map(len, column)) for column in zip(heads, *(row.cells for row in rows), strict=True)]
    room = width - sum(widths) - 2 * len(widths)
    digits = next((d for d in (4, 3, 2) if all(len(row.configuration(d)) <= room for row in rows)), None)
    formats = [f"{{:{'<' if head == 'state' else '>'}{size}}}" for head, size in zip(heads, widths, strict=True)]
    line = "  ".join(formats)
    title = f"{line.format(*heads)}  {'configuration' if digits else ''}".rstrip()
    return [[Text(title, style="dim")], *(_block(row, line.format(*row.cells), width, room, digits) for row in rows)]


def _block(row: TrialRow, line: str, width: int, room: int, digits: int | None) -> list[Text]:
    """Returns the lines of a trial; `line` has its cells."""
    if digits is not None:
        return [Text(f"{line}  {_cut(row.reason, room) or row.configuration(digits)}".rstrip(), style=row.style)]
    room = max(width - len(_INDENT), 20)
    below = [_cut(row.reason, room)] if row.reason else textwrap.wrap(row.configuration(4), room)
    return [Text(line, style=row.style), *(Text(_INDENT + part, style=row.style) for part in below)]


def _fitting(blocks: Sequence[list[Text]], running: int, height: int) -> list[Text]:
    """Returns the lines of the last trials that fit: as many as run, and of those that ended up to `_MAX_ROWS`."""
    kept: list[Text] = []
    for number, block in enumerate(reversed(blocks)):
        if number >= max(running, _MAX_ROWS) or (kept and len(kept) + len(block) > height):
            break
        kept = [*block, *kept]
    return kept


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def params_text(params: Mapping[str, Any], digits: int = 4) -> str:
    """Returns parameters as text, such as `lr=0.0123 depth=2`."""
    pairs = ((key.split(".")[-1], value) for key, value in params.items() if value is not None)
    return " ".join(f"{name}={number_text(value, digits)}" for name, value in pairs)


def number_text(value: Any, digits: int = 4) -> str:
    """Returns a value as text; a float with so many digits, `None` as nothing."""
    return f"{value:.{digits}g}" if isinstance(value, float) else plain_text(value)


def seconds_text(value: float | None) -> str:
    """Returns seconds as text, `None` as nothing."""
    return "" if value is None else f"{value:.1f}"


def plain_text(value: Any) -> str:
    """Returns a value as text, `None` as nothing."""
    return "" if value is None else str(value)
