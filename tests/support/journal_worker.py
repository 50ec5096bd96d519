"""Workers that train nothing, one forked for each seed on standard input: `python journal_worker.py RUN_DIR`.

A worker logs what the study answers to a file beside the journal, so that a test can compare the two. It starts at
once, because the process that forks it has imported everything. Some workers kill themselves at a point that a kill
from outside seldom hits.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from optuna.trial import TrialState

from sweeps.spec.parse_spec import load_spec
from sweeps.study import handle, journal, locks, recovery
from sweeps.study.records import TrialOutcome
from sweeps.study.study import SharedStudy

KILL_POINTS = ("study lock", "journal lock", "half a record")


class Log:
    """A file of JSON lines that several processes append to; each line is one write."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, **values: Any) -> None:
        os.write(self._file, json.dumps({"pid": os.getpid(), **values}).encode() + b"\n")


class SelfKill:
    """In one of three workers: kills this process when it passes a kill point for the n-th time."""

    def __init__(self, draw: random.Random, log: Log) -> None:
        self.point = draw.choice(KILL_POINTS) if draw.random() < 0.35 else None
        # The journal is appended to many times under one study lock.
        self.passes_left = draw.randrange(1, 10 if self.point == "study lock" else 80)
        self.length = draw.randrange(1, 36)
        self.log = log
        self._locked, self._size = locks.locked, journal._size_of_whole_lines
        handle.locked = journal.locked = self.locked  # type: ignore[assignment]
        journal._size_of_whole_lines = self.size_of_whole_lines

    def _is_due(self, point: str) -> bool:
        self.passes_left -= point == self.point
        return point == self.point and self.passes_left <= 0

    def _kill(self) -> None:
        self.log.write(died=self.point)
        os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def locked(self, path: Path, *opener: Any) -> Iterator[IO[bytes]]:
        with self._locked(path, *opener) as file:
            if self._is_due("study lock" if path.name == "study.lock" else "journal lock"):
                self._kill()
            yield file

    def size_of_whole_lines(self, file: IO[bytes]) -> int:
        size = self._size(file)
        if self._is_due("half a record"):
            os.pwrite(file.fileno(), b'{"op_code":4,"worker_id":"half a rec'[: self.length], size)
            self._kill()
        return size


def work(folder: Path, log: Log, seed: int) -> None:
    draw = random.Random(seed)
    shared = SharedStudy(folder, load_spec(folder / "spec.yaml"))
    recovery.MAX_CRASHES = 10**6  # the trials are not the reason why workers die here
    SelfKill(draw, log)
    while not shared.is_over():
        shared.reclaim()
        claim = shared.claim(0)
        if claim is None:
            time.sleep(0.02)
            continue
        time.sleep(draw.uniform(0, 0.05))  # training
        if any(shared.report(claim, epoch, claim.values["x"] + epoch) == "stale" for epoch in (1, 2)):
            log.write(stale=claim.number)
        elif draw.random() < 0.05:
            shared.release(claim)
        else:
            row = {"outcome": "completed", "attempt": claim.attempt}
            if shared.finish(claim, TrialOutcome(TrialState.COMPLETE, [claim.values["x"]], None, row)):
                log.write(finished=claim.number, attempt=claim.attempt)


def main() -> None:
    folder = Path(sys.argv[1])
    log = Log(folder / "worker.log")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended workers are not waited for
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                work(folder, log, int(line))
            except BaseException as error:
                log.write(error=repr(error))
            os._exit(0)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
