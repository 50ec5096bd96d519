"""The rows of `metrics.csv`, one an epoch: the reader, and the rule that decides which epoch is best.

Imports no torch and no Lightning, so that commands and reports can use it.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
"""`epoch` (from 1), `elapsed_s`, then the metrics by name."""


def read_rows(path: Path) -> list[Row]:
    """Returns the rows of a `metrics.csv`, to the last digit; an empty cell is left out of its row.

    A last line without its end is left out: it is the rest of a copy that was cut off, and so is its last number.

    Raises:
        OSError: The file cannot be opened.
        ValueError: A cell is not a number, a line has more cells than the header, or the file is no CSV.
        KeyError: A row has no epoch.
    """
    try:
        text = path.read_text(encoding="utf-8")
        table = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
        rows = [{name: float(value) for name, value in row.items() if value} for row in table]
    except (csv.Error, TypeError) as error:
        raise ValueError(str(error)) from None
    return [{**row, "epoch": int(row["epoch"])} for row in rows]


def best_row(rows: Sequence[Row], metric: str, mode: str) -> Row | None:
    """Returns the row of the best epoch: the first one with the best finite value of a metric.

    This is the only place that decides which epoch is best. `best.ckpt`, the result of a run, the learning curve and
    the value that a sweep reports all follow it. Metrics of a validation stay in the rows until the next validation;
    because the first of equal values wins, an epoch without validation is never best by them.

    Args:
        rows: One an epoch.
        metric: Name of the metric to monitor.
        mode: Whether `min` or `max` is better.

    Returns:
        `None` when no row has a finite value.
    """
    finite = [row for row in rows if math.isfinite(row.get(metric, math.nan))]
    if not finite:
        return None
    return (max if mode == "max" else min)(finite, key=lambda row: float(row[metric]))


def metrics_of(row: Mapping[str, Any] | None) -> dict[str, float]:
    """Returns the metrics of a row, without its epoch and time; none for `None`."""
    return {name: value for name, value in (row or {}).items() if name not in ("epoch", "elapsed_s")}


def with_test_metrics(metrics: Mapping[str, float], tested: Mapping[str, float]) -> dict[str, float]:
    """Returns the metrics of an epoch together with those of the test set.

    A module may log anything in its test, as with `test_step = validation_step`. A name that does not begin with
    `test`, or that the epoch has too, gets the prefix `test/`.
    """
    is_clear = {name: name.startswith("test") and name not in metrics for name in tested}
    return {**metrics, **{name if is_clear[name] else f"test/{name}": value for name, value in tested.items()}}
