"""Tables of the report: cells with a text and a sort key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sweeps.report.formatting import format_duration, format_metric, format_value
from sweeps.results.ranking import RankedConfiguration
from sweeps.results.trial_result import TrialResult


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Args:
        text: Plain text.
        sort_key: What the column is sorted by; `None`: by the text.
    """

    text: str
    sort_key: Any = None

    @property
    def has_sort_key(self) -> bool:
        """Whether the page needs the key beside the text."""
        return self.sort_key is not None and str(self.sort_key) != self.text

    @property
    def is_numeric(self) -> bool:
        """Whether the cell may stand in a column of numbers: it holds a number, or nothing."""
        return isinstance(self.sort_key, int | float) or not self.text or self.sort_key == ""


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Args:
        cells: One a column.
        is_highlighted: Whether the row is emphasized.
    """

    cells: list[Cell]
    is_highlighted: bool = False


@dataclass(frozen=True)
class Table:
    """A table with at least one row.

    Args:
        heads: Heads of the columns.
        rows: Its rows.
        wrapped: Indices of the columns with long texts, which may be wrapped.
    """

    heads: list[str]
    rows: list[Row]
    wrapped: tuple[int, ...] = ()

    @property
    def column_classes(self) -> list[str]:
        """CSS classes of the columns: `words` may be wrapped, `n` is aligned to the right."""
        columns = zip(*(row.cells for row in self.rows), strict=True)
        return [
            "words" if index in self.wrapped else "n" if all(cell.is_numeric for cell in column) else ""
            for index, column in enumerate(columns)
        ]


def value_cell(value: Any, digits: int = 5) -> Cell:
    """Returns a cell for a value of any type; `None` is an empty cell."""
    if value is None:
        return Cell("")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell(format_value(value))
    return Cell(f"{value:,}" if isinstance(value, int) and value > 9999 else format_value(value, digits), value)


def metric_cell(entry: RankedConfiguration, metric: str) -> Cell:
    """Returns a metric of a configuration: its mean over the seeds, with the standard deviation where there is one."""
    return Cell(format_metric(entry, metric), entry.statistics(metric)[0])


def time_cell(result: TrialResult) -> Cell:
    """Returns a cell for the wall time of a trial."""
    return Cell("") if result.elapsed_s is None else Cell(format_duration(result.elapsed_s), result.elapsed_s)
