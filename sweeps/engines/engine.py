"""Engine interface: start one worker per slot, report crashed workers, stop all workers."""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from lit_dl.tracking import Mode
from sweeps.engines.slots import Slot
from sweeps.spec.spec import SweepSpec
from sweeps.study.storage import STORAGE_VARIABLE

GRACE_S = 7.0  # a little more than a worker gives itself


@dataclass(frozen=True)
class WorkerCommand:
    """The command that starts a worker; the same for all workers of a sweep, but for the slot.

    Args:
        run_dir: The run folder.
        study: Name of the study.
        url: Storage of the study; `None`: the journal in the run folder.
        wandb: Resolved tracking mode.
        program: Arguments of Python before the run folder.
    """

    run_dir: Path
    study: str
    url: str | None = field(repr=False)
    wandb: Mode
    program: tuple[str, ...] = ("-m", "sweeps", "worker")

    def options(self, slot: Slot) -> list[str]:
        """Returns the command line after the run folder."""
        options = ["--slot", str(slot.number), "--threads", str(slot.threads), "--wandb", self.wandb]
        return [*options, "--stop_on_stdin_eof"]

    def environment(self, slot: Slot) -> dict[str, str]:
        """Returns the variables to set. The URL may hold a password, so it is here and not on the command line."""
        storage = {} if self.url is None else {STORAGE_VARIABLE: self.url}
        return {"OMP_NUM_THREADS": str(slot.threads), "PYTHONUNBUFFERED": "1", **storage}


@dataclass(frozen=True)
class Crash:
    """A worker that ended before the study was over.

    Args:
        slot: Number of its slot.
        how: How it ended, as a predicate: "was killed by SIGKILL".
        log: File with what it printed outside of trials.
        last_line: Last line of that file; empty when there is none.
    """

    slot: int
    how: str
    log: str
    last_line: str


class Engine(ABC):
    """Runs one worker per slot. It is a context manager: on exit it stops all workers.

    Args:
        command: Arguments of the workers.
        slots: One worker is started in each.

    Attributes:
        workers: Workers that have not ended, by slot; also those that have not started yet.
    """

    workers: Collection[int]

    def __init__(self, command: WorkerCommand, slots: list[Slot]) -> None:
        self.command, self.slots = command, slots
        self._grace_s = GRACE_S

    @classmethod
    @abstractmethod
    def for_sweep(cls, command: WorkerCommand, spec: SweepSpec, gpus: int) -> Self:
        """Returns the engine for a sweep.

        Args:
            command: Arguments of the workers.
            spec: The resolved spec, with the size of a slot and the number of workers.
            gpus: Number of GPUs of this machine that trials may use.

        Raises:
            ConfigError: There is no room for a slot.
        """

    @classmethod  # noqa: B027 - an engine may learn it only when it starts
    def check_room(cls, spec: SweepSpec, gpus: int) -> None:
        """Refuses slots that have no room, before anything is started, where that can be known.

        Raises:
            ConfigError: There is no room for a slot.
        """

    def start(self) -> None:
        """Starts all workers."""
        for slot in self.slots:
            self._start(slot)

    def restart(self, number: int) -> None:
        """Starts a worker in the slot of one that crashed."""
        self._start(next(slot for slot in self.slots if slot.number == number))

    @abstractmethod
    def _start(self, slot: Slot) -> None: ...

    @property
    @abstractmethod
    def pending(self) -> set[int]:
        """Slots of workers that have not started yet, because there is no room for them."""

    @abstractmethod
    def collect(self) -> list[Crash]:
        """Removes workers that have ended and returns those that crashed, after killing what they left running."""

    @abstractmethod
    def stop(self) -> None:
        """Asks all workers to give back their trials and to end, and kills those that have not ended after `GRACE_S`.

        When an earlier call was interrupted, as by a second Ctrl-C, it kills them at once.
        """

    def _take_grace_s(self) -> float:
        """Returns the seconds that workers have to end; 0 when called a second time."""
        grace_s, self._grace_s = self._grace_s, 0.0
        return grace_s

    def close(self) -> None:
        """Stops all workers and releases what the engine itself has started or opened."""
        self.stop()

    def log_of(self, slot: int) -> Path:
        """Returns the file for what a worker prints outside of trials."""
        return self.command.run_dir / f"worker-{slot}.log"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def how_ended(status: int) -> str:
    """Describes a return code, as `subprocess` defines it, in words."""
    if status == 128 + signal.SIGTERM:  # a worker exits with this after SIGTERM or SIGINT
        return "was asked to end by a signal"
    if status >= 0:
        return f"ended with exit status {status}"
    names = {number.value: number.name for number in signal.Signals}
    return f"was killed by {names.get(-status, f'signal {-status}')}"


def last_line(log: Path) -> str:
    """Returns the last line of a log that is not blank; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip() if lines else ""
