"""Tables of any number of rows: the page holds their columns as data, and puts only the rows in sight into the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_DIGITS = 3  # significant ones of the spread of a column
_MOST_DECIMALS = 6
_WIDE = 1e3  # ratio of the greatest to the least size, above which each number has digits of its own


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: Its head.
        values: A value a row: a number, a text, a Boolean, or `None` for an empty cell.
        decimals: Decimals of its numbers; `None`: three significant digits each.
    """

    name: str
    values: list[Any]
    decimals: int | None = None

    @property
    def is_numeric(self) -> bool:
        """Whether the column holds numbers and empty cells alone."""
        return all(value is None or _is_number(value) for value in self.values)

    def to_data(self) -> dict[str, Any]:
        """Returns the column as the script `data_table.js` takes it."""
        values = [_plain(value, self.decimals) for value in self.values]
        return {"name": self.name, "decimals": self.decimals, "values": values}


@dataclass(frozen=True)
class DataTable:
    """A table whose rows are trials.

    Args:
        columns: Its columns; all have the same length.
        trials: The position of each row's trial in the records of the page; see `trial_records`.
    """

    columns: list[Column]
    trials: list[int]

    def to_data(self) -> dict[str, Any]:
        """Returns the table as the script takes it."""
        return {"columns": [column.to_data() for column in self.columns], "trials": self.trials}


def number_column(name: str, values: Sequence[float | None], decimals: int | None = None) -> Column:
    """Returns a column of numbers with as many decimals as tell them apart, the same in all rows.

    Args:
        name: Its head.
        values: The numbers.
        decimals: Decimals that are known to be supported; `None`: chosen from the numbers.
    """
    given = list(values)
    return Column(name, given, decimals_of(given) if decimals is None else decimals)


def value_column(name: str, values: Sequence[Any]) -> Column:
    """Returns a column of values of any type, such as those of a parameter."""
    given = list(values)
    is_numeric = all(value is None or _is_number(value) for value in given)
    return number_column(name, given) if is_numeric else Column(name, given)


def decimals_of(values: Sequence[float | None]) -> int | None:
    """Returns the decimals that show the spread of numbers to three digits; `None` where they span decades."""
    finite = [value for value in values if value is not None and math.isfinite(value)]
    if all(value == int(value) for value in finite):
        return 0
    sizes = [abs(value) for value in finite if value]
    spread = max(finite) - min(finite)
    if max(sizes) / min(sizes) > _WIDE:
        return None
    return min(max(_DIGITS - 1 - math.floor(math.log10(spread or max(sizes))), 0), _MOST_DECIMALS)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any, decimals: int | None) -> Any:
    """Returns a value as JSON can hold it, a number without the digits that nobody sees."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return str(value)
    return round(value, decimals + 2) if decimals is not None else float(f"{value:.6g}")
