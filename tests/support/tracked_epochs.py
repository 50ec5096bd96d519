"""Epochs that are tracked in W&B by a process which may be killed; for tests of tracking."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from lit_dl.tracking import Mode, Tracker

Row = dict[str, float]
LAST = 6  # epochs of a whole run


def row(epoch: int) -> Row:
    """The row of an epoch in `metrics.csv`."""
    return {"epoch": epoch, "elapsed_s": 0.5, "val/loss": 1.0 / epoch, "train/loss": 2.0 / epoch}


def run_epochs(
    folder: Path, mode: Mode, environment: dict[str, str], epochs: range, stays_s: float, half: bool
) -> None:
    """Logs epochs as a Trainer does; ends by `kill -9`, after `stays_s`, unless it has logged the last of the run."""
    os.environ.update(environment, HOME=str(folder))
    tracker = Tracker(
        mode, folder, project="p", name="trial 7", group="study", run_id="abc", config={"lr": 0.1}, tags=["t"]
    )
    if epochs.start > 1:
        tracker.resume([row(epoch) for epoch in range(1, epochs.start)])
    logger = tracker.logger()
    for epoch in epochs:
        for name in ("val/loss",) if half and epoch == epochs[-1] else ("val/loss", "train/loss"):
            logger.log_metrics({name: row(epoch)[name], "epoch": epoch - 1}, step=epoch * 10)
    if epochs[-1] < LAST:
        time.sleep(stays_s)
        os.kill(os.getpid(), signal.SIGKILL)
    tracker.finish({"best/val/loss": 1.0 / LAST})
