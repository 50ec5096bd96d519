"""Where a run leaves its files, and what it left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lit_dl.tracking import Mode


@dataclass(frozen=True)
class RunLocation:
    """Where a run leaves its files and what it is called there: beside its config, so that repeating overwrites
    nothing.

    Args:
        run_dir: Folder for config.yaml, metrics.csv, checkpoints and wandb.
        name: Name of the run in W&B.
        group: W&B group, such as the study.
        run_id: W&B id. `None`: a new one.
        wandb: Overrides `tracking.wandb`.
    """

    run_dir: Path
    name: str
    group: str | None = None
    run_id: str | None = None
    wandb: Mode | None = None


@dataclass
class RunResult:
    """What a run left.

    Args:
        stopped: max_epochs, early_stopping, or stopped (by a callback or a limit).
        epochs: Completed epochs.
        best_epoch: The epoch that `checkpoint.monitor` calls best, from 1; the last when there is no monitor.
        metrics: Of the best epoch; with those on the test set, when it was evaluated.
        final: Of the last epoch.
        best_checkpoint: File of the best epoch; `None` when none was kept.
        parameters: Number of weights and biases.
        seconds: By part: train, validate, data, checkpoint, tracking, total.
        peak_memory_bytes: Of the process on CPU, of the tensors on a GPU.
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
