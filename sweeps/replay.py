"""Runs a trial again from its saved config, and compares every metric of every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from lit_dl.cli.command import ignore_slurm, silence_lightning
from lit_dl.cli.lit_cli import build_run
from lit_dl.config.yaml_io import load_yaml
from lit_dl.errors import StorageError
from lit_dl.run.epoch_rows import Row
from sweeps.definitions.notebook_code import add_to_path
from sweeps.trial_folder import TrialFolder
from sweeps.worker.run_trial import on_one_device

_MAX_PRINTED = 10


class StopAfter(Checkpoint):
    """Stops a run after a number of epochs, as the pruner stopped the trial.

    `max_epochs` is not changed, because learning rate schedules depend on it.

    A `Checkpoint` in name only: Lightning calls those last at the end of an epoch.

    Args:
        epochs: Number of epochs to run.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        trainer.should_stop = trainer.should_stop or trainer.current_epoch + 1 >= self.epochs


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
    run = build_run(on_one_device(load_yaml(folder.config)), callbacks=[StopAfter(len(before))])
    run.fit()
    differences = _differences(before, run.rows)
    print(f"trial {number}: {len(before)} epochs, {len(before[0]) - 2} metrics each, run again")
    for line in differences[:_MAX_PRINTED]:
        print(line)
    print("the same to the last digit" if not differences else f"{len(differences)} values differ")
    return 1 if differences else 0


def _differences(before: Sequence[Row], after: Sequence[Row]) -> list[str]:
    """Returns a line for each value that differs.

    Values are compared by `repr`, so NaN equals NaN, and 0.0 is not -0.0.
    """
    lines = []
    if len(before) != len(after):
        lines.append(f"{len(before)} epochs before, {len(after)} now")
    for old, new in zip(before, after, strict=False):
        for key, value in old.items():
            if key != "elapsed_s" and repr(float(value)) != repr(float(new.get(key, float("nan")))):
                lines.append(f"epoch {old['epoch']} {key}: {value!r} before, {new.get(key)!r} now")
    return lines
