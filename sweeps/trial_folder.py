"""The folder of a trial: the paths of its files, and their readers. Loads neither torch nor optuna."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from lit_dl.errors import StorageError
from lit_dl.run.epoch_rows import Row, places_of, read_rows

Curve = list[tuple[float, float]]
"""A metric by epoch: (epoch, from 1, or a fraction for a moment within an epoch; value)."""


@dataclass(frozen=True)
class TrialFolder:
    """The folder of a trial: `RUN_DIR/trials/00007`.

    Args:
        run_dir: The run folder of the sweep.
        number: Number of the trial, from 0.
    """

    run_dir: Path
    number: int

    @property
    def path(self) -> Path:
        return self.run_dir / "trials" / f"{self.number:05d}"

    @property
    def config(self) -> Path:
        """The run config."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """The metrics by epoch."""
        return self.path / "metrics.csv"

    @property
    def diagnostics(self) -> Path:
        """Gradients, updates and activations by epoch and layer."""
        return self.path / "diagnostics.csv"

    @property
    def log(self) -> Path:
        """The output of the trial's process."""
        return self.path / "log.txt"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    def wandb_runs(self) -> list[Path]:
        """Returns the folders of the trial's W&B run, one a process that logged to it."""
        return [*self.path.glob("wandb/run-*"), *self.path.glob("wandb/offline-run-*")]

    def checkpoint(self) -> Path | None:
        """Returns the checkpoint of the best epoch, else that of the last epoch, else `None`."""
        files = [self.checkpoints / f"{name}.ckpt" for name in ("best", "last")]
        return next((file for file in files if file.is_file()), None)

    def read_metrics(self) -> list[Row]:
        """Returns the rows of `metrics.csv`; none without the file.

        Raises:
            StorageError: The file is damaged.
        """
        try:
            return read_rows(self.metrics)
        except FileNotFoundError:
            return []
        except (ValueError, KeyError) as error:
            raise StorageError(f"{self.metrics}: must be a table of numbers; damaged ({error})") from None

    def read_curve(self, metric: str) -> Curve:
        """Returns the finite values of a metric by epoch; none where the trial has not logged it."""
        rows = self.read_metrics()
        points = [(place, row[metric]) for place, row in zip(places_of(rows), rows, strict=True) if metric in row]
        return [(epoch, value) for epoch, value in points if math.isfinite(value)]

    def read_diagnostics(self) -> list[dict[str, str]]:
        """Returns the lines of `diagnostics.csv`, one an epoch and layer; none without the file."""
        try:
            with self.diagnostics.open(newline="", encoding="utf-8") as file:
                return [line for line in csv.DictReader(file) if line.get("epoch")]
        except FileNotFoundError:
            return []


def folders_with_metrics(run_dir: Path) -> list[TrialFolder]:
    """Returns the folders of all trials that have completed an epoch, in order of their numbers."""
    names = [path.parent.name for path in run_dir.glob("trials/*/metrics.csv")]
    return [TrialFolder(run_dir, number) for number in sorted(int(name) for name in names if name.isdecimal())]
