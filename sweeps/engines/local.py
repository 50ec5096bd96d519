"""Worker processes on this machine, one a slot, each with devices of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from time import monotonic
from typing import IO, Self

from sweeps.engines.engine import Crash, Engine, WorkerCommand, how_ended, last_line
from sweeps.engines.slots import Slot, place_slots, processes_of, visible
from sweeps.spec.spec import SweepSpec


class LocalEngine(Engine):
    """Workers as child processes.

    Args:
        command: What workers are started with.
        slots: Where to place them.
    """

    def __init__(self, command: WorkerCommand, slots: list[Slot]) -> None:
        super().__init__(command, slots)
        self.workers: dict[int, subprocess.Popen[bytes]] = {}

    def _start(self, slot: Slot) -> None:
        with self.log_of(slot.number).open("ab") as log:
            self.workers[slot.number] = self._spawn(slot, log)

    def _spawn(self, slot: Slot, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, *self.command.program, str(self.command.run_dir), *self.command.options(slot)],
            stdin=subprocess.PIPE,  # its end, by will or by our death, tells the worker to stop
            stdout=log,
            stderr=log,
            env={**os.environ, **self.command.environment(slot), "CUDA_VISIBLE_DEVICES": visible(slot.gpus)},
            start_new_session=True,  # Ctrl-C reaches the launcher alone
        )

    @property
    def pending(self) -> set[int]:
        """None: a process begins at once."""
        return set()

    def collect(self) -> list[Crash]:
        """Forgets workers that have ended; returns those of them that died, with nothing of them left."""
        died = []
        for number, worker in list(self.workers.items()):
            if worker.poll() is None:
                continue
            _close(worker)
            _kill_group(worker)
            del self.workers[number]
            if worker.returncode != 0:
                log = self.log_of(number)
                died.append(Crash(number, how_ended(worker.returncode), str(log), last_line(log)))
        return died

    def stop(self) -> None:
        """See `Engine`."""
        for worker in self.workers.values():
            _close(worker)
        deadline = monotonic() + self._take_grace_s()
        for worker in self.workers.values():
            with suppress(subprocess.TimeoutExpired):
                worker.wait(max(0.0, deadline - monotonic()))
            _kill_group(worker)
            worker.wait()
        self.workers.clear()

    @classmethod
    def for_sweep(cls, command: WorkerCommand, spec: SweepSpec, gpus: int) -> Self:
        """See `Engine`."""
        return cls(command, place_slots(spec.workers, spec.slot, gpus, processes_of(spec)))

    @classmethod
    def check_room(cls, spec: SweepSpec, gpus: int) -> None:
        """See `Engine`."""
        place_slots(spec.workers, spec.slot, gpus, processes_of(spec))


def _close(worker: subprocess.Popen[bytes]) -> None:
    if worker.stdin is not None:
        worker.stdin.close()


def _kill_group(worker: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
