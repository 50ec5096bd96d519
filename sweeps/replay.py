"""Runs a trial again from its saved config, and compares every metric of every row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from lit_dl.cli.command import ignore_slurm, silence_lightning
from lit_dl.cli.lit_cli import build_run
from lit_dl.config.yaml_io import load_yaml
from lit_dl.errors import StorageError
from lit_dl.run.epoch_rows import GLOBAL_STEP, Row, metrics_of
from sweeps.definitions.notebook_code import add_to_path
from sweeps.trial_folder import TrialFolder
from sweeps.worker.run_trial import on_one_device

_MAX_PRINTED = 10


class StopAfter(Checkpoint):
    """Stops a run where a trial ended, as the pruner stopped the trial.

    `max_epochs` is not changed, because learning rate schedules depend on it.

    A `Checkpoint` in name only: Lightning calls those last at the end of an epoch.

    Args:
        last: The last row of the trial.
    """

    def __init__(self, last: Row) -> None:
        self.last = last

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        trainer.should_stop = trainer.should_stop or trainer.current_epoch + 1 >= self.last["epoch"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        is_in_last_epoch = trainer.current_epoch + 1 >= self.last["epoch"] and not trainer.sanity_checking
        if is_in_last_epoch and trainer.global_step >= self.last.get(GLOBAL_STEP, math.inf):
            trainer.should_stop = True


def replay_trial(run_dir: Path, number: int) -> int:
    """Runs a trial again without writing a file, and prints each metric that differs.

    Returns:
        Exit status: 0 when every digit is the same, else 1.

    Raises:
        StorageError: The trial left no config or no metrics.
    """
    folder = TrialFolder(run_dir, number)
    if not folder.config.is_file() or not folder.metrics.is_file():
        raise StorageError(
            f"{folder.path}: must hold config.yaml and metrics.csv of a trial that ran an epoch; it does not"
        )
    before = folder.read_metrics()
    if not before:
        raise StorageError(f"{folder.metrics}: must hold the metrics of an epoch; it holds none")
    silence_lightning()
    ignore_slurm()
    add_to_path(run_dir)
    run = build_run(on_one_device(load_yaml(folder.config)), callbacks=[StopAfter(before[-1])])
    run.fit()
    differences = _differences(before, run.rows)
    metrics = {name for row in before for name in metrics_of(row)}
    print(f"trial {number}: {before[-1]['epoch']} epochs, {len(metrics)} metrics, run again")
    for line in differences[:_MAX_PRINTED]:
        print(line)
    print("the same to the last digit" if not differences else f"{len(differences)} values differ")
    return 1 if differences else 0


def _differences(before: Sequence[Row], after: Sequence[Row]) -> list[str]:
    """Returns a line for each value that differs.

    Values are compared by `repr`, so NaN equals NaN, and 0.0 is not -0.0. An earlier version had one row an epoch,
    which repeated what was last logged in an epoch before.
    """
    after = _as_recorded(before, after)
    lines = []
    if len(before) != len(after):
        lines.append(f"{len(before)} rows before, {len(after)} now")
    earlier: Row = {}
    for old, new in zip(before, after, strict=False):
        for key, value in old.items():
            is_repeated = key not in new and repr(earlier.get(key)) == repr(value)
            if key != "elapsed_s" and not is_repeated and repr(float(value)) != repr(float(new.get(key, math.nan))):
                lines.append(f"epoch {old['epoch']} {key}: {value!r} before, {new.get(key)!r} now")
        earlier = old
    return lines


def _as_recorded(before: Sequence[Row], after: Sequence[Row]) -> list[Row]:
    """Returns the rows of a run with one row for each epoch that has one without a step, as earlier versions wrote."""
    with_one_row = {row["epoch"] for row in before if GLOBAL_STEP not in row}
    rows: list[Row] = []
    for row in after:
        if row["epoch"] in with_one_row and rows and rows[-1]["epoch"] == row["epoch"]:
            row = {**rows.pop(), **row}
        rows.append(row)
    return rows
