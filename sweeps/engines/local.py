"""Engine that runs the workers as processes of this machine, forked from the fork server."""

from __future__ import annotations

from time import monotonic
from typing import Self

from sweeps.engines.engine import Crash, Engine, WorkerCommand, how_ended, last_line
from sweeps.engines.slots import Slot, place_slots, processes_of, visible
from sweeps.processes.fork_server import ForkedProcess, fork_server
from sweeps.spec.spec import SweepSpec


class LocalEngine(Engine):
    """Runs one worker process per slot; each sees the GPUs of its slot alone.

    Args:
        command: Arguments of the workers.
        slots: One worker is started in each.
        target: Function that a worker process calls with the words of its command line.
    """

    def __init__(self, command: WorkerCommand, slots: list[Slot], target: str = "sweeps.cli:main") -> None:
        super().__init__(command, slots)
        self._target = target
        self.workers: dict[int, ForkedProcess] = {}

    def _start(self, slot: Slot) -> None:
        words = ["worker", str(self.command.run_dir), *self.command.options(slot)]
        environment = {**self.command.environment(slot), "CUDA_VISIBLE_DEVICES": visible(slot.gpus)}
        with self.log_of(slot.number).open("ab") as log:
            self.workers[slot.number] = fork_server().fork(
                self._target,
                words,
                name=f"worker-{slot.number}",
                output=(log.fileno(), log.fileno()),
                environment=environment,
            )

    @property
    def pending(self) -> set[int]:
        """Returns an empty set: a process starts at once."""
        return set()

    def collect(self) -> list[Crash]:
        """Removes workers that have ended and returns those that crashed, after killing what they left running."""
        crashes = []
        for number, worker in list(self.workers.items()):
            status = worker.poll()
            if status is None:
                continue
            worker.close()
            del self.workers[number]
            if status != 0:
                how = "lost its fork server and was killed" if worker.server_died else how_ended(status)
                log = self.log_of(number)
                crashes.append(Crash(number, how, str(log), last_line(log)))
        return crashes

    def stop(self) -> None:
        """See `Engine`."""
        for worker in self.workers.values():
            worker.close_stdin()
        deadline = monotonic() + self._take_grace_s()
        for worker in self.workers.values():
            worker.wait(max(0.0, deadline - monotonic()))
            worker.close()
        self.workers.clear()

    @classmethod
    def for_sweep(cls, command: WorkerCommand, spec: SweepSpec, gpus: int) -> Self:
        """See `Engine`."""
        return cls(command, place_slots(spec.workers, spec.slot, gpus, processes_of(spec)))

    @classmethod
    def check_room(cls, spec: SweepSpec, gpus: int) -> None:
        """See `Engine`."""
        place_slots(spec.workers, spec.slot, gpus, processes_of(spec))
