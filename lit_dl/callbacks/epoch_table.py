"""`metrics.csv`: one row an epoch, with every metric that the run logged."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from lit_dl.files import write_text

Row = dict[str, Any]


class EpochTable(Checkpoint):
    """Keeps one row an epoch in memory and in a CSV file: `epoch` (from 1), `elapsed_s`, then the metrics by name.

    A `Checkpoint` only in name: Lightning calls those after the module's own `on_train_epoch_end`, where it may still
    log.

    Args:
        path: The CSV file, written whole after every epoch. `None`: no file.
        on_row: Called with each new row.
    """

    def __init__(self, path: Path | None, on_row: Callable[[Row], None] | None = None) -> None:
        self.path, self.on_row = path, on_row
        self.rows: list[Row] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._started = perf_counter() - (self.rows[-1]["elapsed_s"] if self.rows else 0.0)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        metrics = {name: float(value) for name, value in sorted(trainer.callback_metrics.items()) if value.numel() == 1}
        row = {"epoch": trainer.current_epoch + 1, "elapsed_s": round(perf_counter() - self._started, 4), **metrics}
        self.rows.append(row)
        if trainer.is_global_zero:
            self._write()
        if self.on_row is not None:
            self.on_row(row)

    def resume(self, rows: list[Row], writes: bool = True) -> None:
        """Goes on after the epochs of these rows, with nothing after them in the file.

        Args:
            rows: One an epoch.
            writes: Whether this process writes the file.
        """
        self.rows = list(rows)
        if writes:
            self._write()

    def _write(self) -> None:
        if self.path is not None:
            write_text(self.path, csv_text(self.rows), durable=True)


def csv_text(rows: list[Row]) -> str:
    """Rows as CSV; the columns are the keys of all rows, in order of appearance; `None` is an empty cell."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_rows(path: Path) -> list[Row]:
    """The rows of a `metrics.csv`, to the last digit.

    Raises:
        OSError: There is no such file.
        ValueError: A cell is no number.
        KeyError: A row has no epoch.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [{**row, "epoch": int(row["epoch"])} for row in rows]


def best_row(rows: list[Row], metric: str, mode: str) -> Row | None:
    """The first row with the best finite value of `metric`, as ModelCheckpoint chooses; `None` without any."""
    finite = [row for row in rows if math.isfinite(row.get(metric, math.nan))]
    if not finite:
        return None
    return (max if mode == "max" else min)(finite, key=lambda row: float(row[metric]))


def metrics_of(row: Row | None) -> dict[str, float]:
    """The metrics of an epoch's row."""
    return {name: value for name, value in (row or {}).items() if name not in ("epoch", "elapsed_s")}
