"""One rank of a DDP trial: a process that `ddp_group` starts from the fork server."""

from __future__ import annotations

import os
import threading

from lightning.pytorch.utilities import rank_zero_only

from lit_dl.cli.command import silence_lightning
from sweeps.processes.fork_server import parent_channel
from sweeps.processes.parent_watch import kill_own_group, on_parent_exit
from sweeps.worker.attempt import TrialRequest, run_attempt
from sweeps.worker.callbacks import TrialInterrupted


def main(request: TrialRequest) -> None:
    """Runs this rank's part of the attempt, and sends the worker its result row."""
    on_parent_exit(kill_own_group)
    silence_lightning()
    rank_zero_only.rank = int(os.environ["RANK"])  # type: ignore[attr-defined]  # set at import, in the fork server
    try:
        row = run_attempt(request, _report, threading.Event())
    except TrialInterrupted:
        row = {"outcome": "interrupted"}
    parent_channel().send({"row": row})


def _report(epoch: int, value: float | None) -> str | None:
    """Reports to the study through the worker, and returns the study's answer."""
    parent_channel().send({"epoch": epoch, "value": value})
    answer: str | None = parent_channel().recv()
    return answer
