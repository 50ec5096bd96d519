"""The rows of `metrics.csv`: the reader, and the rule that decides which row is best.

A row is what a run logged up to a moment: the end of an epoch, or a validation within it. The last row of an epoch is
that of its end.

Imports no torch and no Lightning, so that commands and reports can use it.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
"""`epoch` (from 1), `elapsed_s`, then the metrics by name. Where a run validates within epochs, `global_step` too."""

GLOBAL_STEP = "global_step"
_NO_METRICS = ("epoch", "elapsed_s", GLOBAL_STEP)


def make_row(epoch: int, elapsed_s: float, global_step: int | None, metrics: Mapping[str, float]) -> Row:
    """Returns a row. A metric that has the name of one of its other columns is left out."""
    step = {} if global_step is None else {GLOBAL_STEP: global_step}
    return {"epoch": epoch, "elapsed_s": elapsed_s, **step, **metrics_of(metrics)}


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
    steps = [{GLOBAL_STEP: int(row[GLOBAL_STEP])} if GLOBAL_STEP in row else {} for row in rows]
    return [{**row, "epoch": int(row["epoch"]), **step} for row, step in zip(rows, steps, strict=True)]


def places_of(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Returns where each row is on an axis of epochs: the last of an epoch at its number, the others evenly before."""
    counts = Counter(int(row["epoch"]) for row in rows)
    seen: Counter[int] = Counter()
    places = []
    for row in rows:
        epoch = int(row["epoch"])
        seen[epoch] += 1
        places.append(epoch - 1 + seen[epoch] / counts[epoch])
    return places


def best_row(rows: Sequence[Row], metric: str, mode: str) -> Row | None:
    """Returns the best row: the first one with the best finite value of a metric.

    This is the only place that decides what is best. `best.ckpt`, the result of a run, the learning curve and the value
    that a sweep reports all follow it. In rows of earlier versions the metrics of a validation stay until the next one;
    because the first of equal values wins, an epoch without validation is never best by them.

    Args:
        rows: In the order of time.
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
    """Returns the metrics of a row, without its epoch, step and time; none for `None`."""
    return {name: value for name, value in (row or {}).items() if name not in _NO_METRICS}


def last_metrics(rows: Sequence[Row]) -> dict[str, float]:
    """Returns the last value of each metric that a run has logged."""
    return {name: value for row in rows for name, value in metrics_of(row).items()}


def with_test_metrics(metrics: Mapping[str, float], tested: Mapping[str, float]) -> dict[str, float]:
    """Returns the metrics of an epoch together with those of the test set.

    A module may log anything in its test, as with `test_step = validation_step`. A name that does not begin with
    `test`, or that the epoch has too, gets the prefix `test/`.
    """
    is_clear = {name: name.startswith("test") and name not in metrics for name in tested}
    return {**metrics, **{name if is_clear[name] else f"test/{name}": value for name, value in tested.items()}}
