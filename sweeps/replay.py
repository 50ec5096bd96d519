"""A trial again, from its saved config: did the same come out?"""

from __future__ import annotations

import csv
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from lit_dl.cli.command import ignore_slurm, silence_lightning
from lit_dl.cli.lit_cli import build_run
from lit_dl.config.yaml_io import load_yaml
from lit_dl.errors import StorageError
from lit_dl.run.epoch_rows import Row
from sweeps.trial_folder import TrialFolder
from sweeps.worker.run_trial import on_one_device


class StopAfter(Checkpoint):
    """Ends a run after so many epochs, as the pruner did; `max_epochs` stays, as schedules depend on it.

    Args:
        epochs: Epochs to run.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        trainer.should_stop = trainer.should_stop or trainer.current_epoch + 1 >= self.epochs


def replay_trial(run_dir: Path, number: int) -> int:
    """Runs a trial again, writing nothing, and compares every metric of every epoch.

    Returns:
        Exit status: 0 the same to the last digit, 1 not.

    Raises:
        StorageError: The trial has left no config or no metrics.
    """
    folder = TrialFolder(run_dir, number).path
    if not (folder / "config.yaml").is_file() or not (folder / "metrics.csv").is_file():
        raise StorageError(f"{folder}: must hold config.yaml and metrics.csv of a trial that ran an epoch; it does not")
    before = _rows(folder / "metrics.csv")
    if not before:
        raise StorageError(f"{folder / 'metrics.csv'}: must hold the metrics of an epoch; it holds none")
    silence_lightning()
    ignore_slurm()
    run = build_run(on_one_device(load_yaml(folder / "config.yaml")), callbacks=[StopAfter(len(before))])
    run.fit()
    differences = _differences(before, run.rows)
    print(f"trial {number}: {len(before)} epochs, {len(before[0]) - 1} metrics each, run again")
    for line in differences[:10]:
        print(line)
    print("the same to the last digit" if not differences else f"{len(differences)} values differ")
    return 1 if differences else 0


def _rows(path: Path) -> list[Row]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    except (ValueError, TypeError) as error:
        raise StorageError(f"{path}: must be a table of numbers; damaged ({error})") from None
    return [_comparable(row) for row in rows]


def _comparable(row: Row) -> Row:
    return {key: value for key, value in row.items() if key != "elapsed_s"}


def _differences(before: list[Row], after: list[Row]) -> list[str]:
    lines = []
    if len(before) != len(after):
        lines.append(f"{len(before)} epochs before, {len(after)} now")
    for old, new in zip(before, map(_comparable, after), strict=False):
        for key, value in old.items():
            if repr(value) != repr(float(new.get(key, float("nan")))):
                lines.append(f"epoch {int(old['epoch'])} {key}: {value!r} before, {new.get(key)!r} now")
    return lines
