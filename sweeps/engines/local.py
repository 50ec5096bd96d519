"""Worker processes on this machine, one a slot, each with a device of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import IO

from lit_dl.tracking import Mode
from sweeps.storage import STORAGE_VARIABLE

_GRACE_S = 7.0  # a little more than a worker gives itself
_QUICK_DEATH_S = 20.0


@dataclass(frozen=True)
class Slot:
    """A place for one trial.

    Args:
        number: From 0.
        gpu: Index of its GPU; `None`: it has none.
        threads: CPU threads.
    """

    number: int
    gpu: int | None
    threads: int


def place_slots(workers: int | None, gpus: int) -> list[Slot]:
    """Slots on this machine: one a GPU, or one a CPU core with one thread; or as many as asked for, sharing what there
    is.

    Args:
        workers: How many; `None`: as many as there are devices.
        gpus: GPUs that may be used.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = workers or gpus or cores
    threads = max(1, cores // count)
    return [Slot(number, number % gpus if gpus else None, threads) for number in range(count)]


class LocalEngine:
    """Starts a worker for each slot, again when one dies, and stops them all.

    Args:
        run_dir: The run folder.
        slots: Where to place workers.
        url: Storage of the study.
        wandb: What `auto` was settled to.
    """

    def __init__(self, run_dir: Path, slots: list[Slot], url: str | None, wandb: Mode) -> None:
        self.run_dir, self.slots, self.url, self.wandb = run_dir, slots, url, wandb
        self.workers: dict[int, subprocess.Popen[bytes]] = {}
        self._begun: dict[int, float] = {}
        self.quick_deaths = 0

    def start(self) -> None:
        """Starts all workers."""
        for slot in self.slots:
            self._start(slot)

    def _start(self, slot: Slot) -> None:
        with self.log_of(slot.number).open("ab") as log:
            self.workers[slot.number] = self._spawn(slot, log)
        self._begun[slot.number] = monotonic()

    def _spawn(self, slot: Slot, log: IO[bytes]) -> subprocess.Popen[bytes]:
        options = ["--slot", str(slot.number), "--threads", str(slot.threads), "--wandb", self.wandb, "--with_launcher"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(slot.threads), "PYTHONUNBUFFERED": "1"}
        environment["CUDA_VISIBLE_DEVICES"] = "" if slot.gpu is None else _visible(slot.gpu)
        if self.url is not None:
            environment[STORAGE_VARIABLE] = self.url
        return subprocess.Popen(
            [sys.executable, "-m", "sweeps", "worker", str(self.run_dir), *options],
            stdin=subprocess.PIPE,  # its end, by will or by our death, tells the worker to stop
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches the launcher alone
        )

    def log_of(self, slot: int) -> Path:
        """Where a worker prints what belongs to no trial."""
        return self.run_dir / f"worker-{slot}.log"

    def collect(self) -> list[int]:
        """Forgets workers that have ended; returns the slots of those that died, with nothing of them left."""
        died = []
        for number, worker in list(self.workers.items()):
            if worker.poll() is None:
                continue
            _close(worker)
            _kill_group(worker)
            del self.workers[number]
            if worker.returncode != 0:
                died.append(number)
                quick = monotonic() - self._begun[number] < _QUICK_DEATH_S
                self.quick_deaths = self.quick_deaths + 1 if quick else 0
        return died

    def restart(self, number: int) -> None:
        """A new worker in the place of one that died."""
        self._start(next(slot for slot in self.slots if slot.number == number))

    def stop(self) -> None:
        """Asks all workers to give back their trials and end; kills what has not after a few seconds."""
        for worker in self.workers.values():
            _close(worker)
        deadline = monotonic() + _GRACE_S
        for worker in self.workers.values():
            with suppress(subprocess.TimeoutExpired):
                worker.wait(max(0.0, deadline - monotonic()))
            _kill_group(worker)
            worker.wait()
        self.workers.clear()


def _visible(gpu: int) -> str:
    """The device's name for a worker, when the launcher itself sees only some."""
    mine = os.environ.get("CUDA_VISIBLE_DEVICES")
    return mine.split(",")[gpu] if mine else str(gpu)


def _close(worker: subprocess.Popen[bytes]) -> None:
    if worker.stdin is not None:
        worker.stdin.close()


def _kill_group(worker: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
