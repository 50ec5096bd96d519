"""Workers without a model, forked one for each seed that is read: `python journal_worker.py RUN_DIR`.

What a worker is told about a trial it writes to a file of its own, so that the journal can be held against it. Forked
from a process that has imported everything, a worker starts at once. Some of them kill themselves in a place that a
kill from outside seldom hits.
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
from sweeps.study import locks, storage, study
from sweeps.study.records import TrialOutcome

PLACES = ("study lock", "journal lock", "half a record")


class Log:
    """What workers are told, as lines of JSON that are whole: each is one append."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, **what: Any) -> None:
        os.write(self._file, json.dumps({"pid": os.getpid(), **what}).encode() + b"\n")


class Doom:
    """The end of this process, at the n-th time that it comes to a place; in one of three workers."""

    def __init__(self, draw: random.Random, log: Log) -> None:
        self.place = draw.choice(PLACES) if draw.random() < 0.35 else None
        self.left = draw.randrange(1, 10 if self.place == "study lock" else 80)  # it appends many times under one
        self.length, self.log = draw.randrange(1, 36), log
        self._locked, self._whole_size = locks.locked, storage._whole_size
        storage.locked = self.locked  # type: ignore[assignment]
        storage._whole_size = self.whole_size

    def _pass(self, place: str) -> bool:
        self.left -= place == self.place
        return place == self.place and self.left <= 0

    def _die(self) -> None:
        self.log.write(died=self.place)
        os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def locked(self, path: Path) -> Iterator[None]:
        with self._locked(path):
            if self._pass("study lock" if path.name == "study.lock" else "journal lock"):
                self._die()
            yield

    def whole_size(self, file: IO[bytes]) -> int:
        size = self._whole_size(file)
        if self._pass("half a record"):
            os.pwrite(file.fileno(), b'{"op_code":4,"worker_id":"half a rec'[: self.length], size)
            self._die()
        return size


def work(folder: Path, log: Log, seed: int) -> None:
    draw = random.Random(seed)
    shared = study.SharedStudy(folder, load_spec(folder / "spec.yaml"))
    study.MAX_CRASHES = 10**6  # the workers die of themselves here, never of their trials
    Doom(draw, log)
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
            verdict = TrialOutcome(TrialState.COMPLETE, [claim.values["x"]], None, row)
            if shared.finish(claim, verdict):
                log.write(finished=claim.number, attempt=claim.attempt)


def main() -> None:
    folder = Path(sys.argv[1])
    log = Log(folder / "told")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that end
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
