"""The location of a run's files, and its result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lit_dl.tracking import Mode


@dataclass(frozen=True)
class RunLocation:
    """Where a run leaves its files, and its name in W&B. Not part of the config: repeating overwrites nothing.

    Args:
        run_dir: Folder for config.yaml, metrics.csv, checkpoints and wandb.
        name: Name of the run in W&B.
        group: W&B group, such as the study.
        run_id: W&B run id. `None`: a new one.
        wandb: W&B mode. `None`: that of the config, `tracking.wandb`.
    """

    run_dir: Path
    name: str
    group: str | None = None
    run_id: str | None = None
    wandb: Mode | None = None


@dataclass
class RunResult:
    """The result of a run.

    Args:
        stopped: max_epochs, early_stopping, or stopped (by a callback or a limit).
        epochs: Completed epochs.
        best_epoch: The epoch, from 1, of the best row by `checkpoint.monitor`; of the last row when there is no
            monitor. Where a run validates within epochs, the best row may be of a moment within that epoch.
        metrics: The metrics of the best row, and those on the test set if it was evaluated.
        final: The last value of each metric.
        best_checkpoint: The checkpoint of the same moment as the best row; `None` when none was kept.
        parameters: Number of weights and biases.
        seconds: By part: train, validate, data, checkpoint, tracking, total.
        peak_memory_bytes: Peak memory of the process on a CPU, of the tensors on a GPU.
        untested: Why there are no metrics on the test set although they were asked for.
    """

    stopped: str
    epochs: int
    best_epoch: int | None
    metrics: dict[str, float]
    final: dict[str, float]
    best_checkpoint: Path | None
    parameters: int
    seconds: dict[str, float]
    peak_memory_bytes: int
    untested: str | None = None
