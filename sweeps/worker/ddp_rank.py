"""One rank of a DDP trial: `python -m sweeps.worker.ddp_rank`, started by `ddp_group`.

It reads its request as one line of JSON from standard input, ends when that closes, and talks to the worker on a
socket.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from typing import Any

from lit_dl.cli.command import silence_lightning
from sweeps.worker.attempt import TrialRequest, run_attempt
from sweeps.worker.callbacks import TrialInterrupted


def _end_with_worker() -> None:
    """Kills the group when the worker is gone."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


class Channel:
    """The line to the worker: messages as lines of JSON."""

    def __init__(self, descriptor: int) -> None:
        self._file = socket.socket(fileno=descriptor).makefile("rw", encoding="utf-8", newline="\n")

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message."""
        self._file.write(json.dumps(message) + "\n")
        self._file.flush()

    def report(self, epoch: int, value: float | None) -> str | None:
        """Tells the study, by way of the worker, and gives its answer."""
        self.send({"epoch": epoch, "value": value})
        answer: str | None = json.loads(self._file.readline())["answer"]
        return answer


def main() -> None:
    """Runs this process's part of the attempt, and tells how it ended."""
    told = json.loads(sys.stdin.readline())
    _end_with_worker()
    silence_lightning()
    sys.path.insert(0, os.getcwd())
    channel = Channel(told["channel"])
    try:
        row = run_attempt(TrialRequest(**told["order"]), channel.report, threading.Event())
    except TrialInterrupted:
        row = {"outcome": "interrupted"}
    channel.send({"row": row})


if __name__ == "__main__":
    main()
