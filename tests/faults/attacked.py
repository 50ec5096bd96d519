"""A real sweep in processes of its own, and what may be killed of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import optuna
import psutil
from optuna.trial import FrozenTrial
from postgresql import Server

from sweeps.study.retry import transient_reason
from sweeps.study.storage import open_storage

HERE = Path(__file__).parent
_TAG = "SWEEPS_FAULTS"  # in the environment of everything that a sweep starts, however deep; Ray, too, passes it on
JOINED = 100  # slots of workers that are started separately, from here


@dataclass
class Setting:
    """How a sweep is run.

    Args:
        workers: That the launcher starts.
        joined: Workers that are started separately.
        engine: local or ray.
        wandb: online, offline or disabled.
        server: PostgreSQL; `None`: the journal.
        environment: Laid on this process's own.
    """

    workers: int = 2
    joined: int = 0
    engine: str = "local"
    wandb: str = "offline"
    server: Server | None = None
    environment: dict[str, str] = field(default_factory=dict)


class AttackedSweep:
    """A sweep whose processes are found by a mark in their environment, and started again when they were killed.

    With PostgreSQL every second separate worker is on another machine, as far as it and all others can tell: it has
    process numbers and a run folder of its own (which takes root).

    Args:
        spec: The spec.
        folder: For the run folder, `run`, and what the processes print.
        setting: How to run it.
    """

    def __init__(self, spec: Path, folder: Path, setting: Setting) -> None:
        self.spec, self.folder, self.setting = spec, folder, setting
        self.run_dir = folder / "run"
        self.tag = uuid4().hex
        storage = {"SWEEPS_STORAGE": setting.server.url} if setting.server else {}
        ours = {
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]),
            "OMP_NUM_THREADS": "1",
            _TAG: self.tag,
        }
        self.environment = {**os.environ, **ours, **storage, **setting.environment}
        self.launcher: subprocess.Popen[bytes] | None = None
        self.joined: dict[int, subprocess.Popen[bytes]] = {}
        self.launches = 0
        self.unplanned: list[str] = []
        self._killed: set[int] = set()
        self._wakes: list[tuple[float, psutil.Process]] = []
        self._server_starts = 0.0
        self._study: optuna.Study | None = None

    def _spawn(self, name: str, *words: object, before: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [*before, sys.executable, "-m", "sweeps", *map(str, words)],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def launch(self) -> None:
        """Starts the launcher, or starts it again."""
        options = ["--workers", self.setting.workers, "--engine", self.setting.engine, "--wandb", self.setting.wandb]
        self.launcher = self._spawn("launcher", "launch", self.spec, "--run_dir", self.run_dir, *options)
        self.launches += 1

    def run_dir_of(self, slot: int) -> Path:
        """The run folder that a worker writes into."""
        return self.folder / f"machine-{slot}" if self._is_far(slot) else self.run_dir

    def _is_far(self, slot: int) -> bool:
        return self.setting.server is not None and slot >= JOINED and slot % 2 == 1 and os.geteuid() == 0

    def _join(self, slot: int) -> None:
        words = ["--slot", slot, "--wandb", self.setting.wandb]
        if self._is_far(slot):
            apart = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
            place = ["--study", self.spec.stem, "--run_dir", self.run_dir_of(slot)]
            self.joined[slot] = self._spawn(f"joined-{slot}", "worker", *place, *words, before=apart)
        else:
            self.joined[slot] = self._spawn(f"joined-{slot}", "worker", self.run_dir, *words)

    def tend(self) -> bool:
        """Starts again what has died, wakes what was suspended; whether the launcher says that the sweep is done."""
        self._wake()
        if self._server_starts and time.monotonic() > self._server_starts:
            assert self.setting.server is not None
            self.setting.server.start()
            self._server_starts = 0.0
        status = self.launcher.poll() if self.launcher else -1
        if status == 0:
            return True
        if status is not None and not self._server_starts:
            if self.launcher is not None and self.launcher.pid not in self._killed and not self._found_no_server():
                self.unplanned.append(f"the launcher ended with {status}: {self._end_of('launcher')}")
            self.launch()
        if self.setting.joined and self._knows_the_study():
            for slot in range(JOINED, JOINED + self.setting.joined):
                worker = self.joined.get(slot)
                if worker is None or (worker.poll() not in (None, 0) and not self._server_starts):
                    self._join(slot)
        return False

    def _found_no_server(self) -> bool:
        """Whether the launcher was started while PostgreSQL was away, and said so: it waits for one that it knew."""
        return self.setting.server is not None and "cannot be opened" in self._end_of("launcher").split(" | ")[-1]

    def _end_of(self, name: str) -> str:
        lines = (self.folder / f"{name}.log").read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:])

    def _wake(self, all_of_them: bool = False) -> None:
        for wakes, process in list(self._wakes):
            if all_of_them or time.monotonic() > wakes:
                with suppress(psutil.NoSuchProcess):
                    process.resume()
                self._wakes.remove((wakes, process))

    def trials(self) -> list[FrozenTrial]:
        """All trials; none while there is no study, or the storage is away."""
        if self._server_starts:
            return []
        try:
            if self._study is None:
                url = self.setting.server.url if self.setting.server else None
                if url is None and not (self.run_dir / "study.journal").exists():
                    return []
                self._study = optuna.load_study(study_name=self.spec.stem, storage=open_storage(self.run_dir, url))
            return self._study.get_trials(deepcopy=False)
        except Exception as error:
            if isinstance(error, KeyError) or transient_reason(error) is not None:
                return []
            raise

    def _knows_the_study(self) -> bool:
        self.trials()
        return self._study is not None

    def processes(self) -> list[psutil.Process]:
        """All that were started by the sweep and still run."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(_TAG) == self.tag:
                    found.append(process)
        return found

    def victims(self, kind: str) -> list[psutil.Process]:
        """Processes of a kind: launcher, worker, joined, rank, actor, fork_server."""
        return [process for process in self.processes() if _kind_of(process) == kind]

    def kill(self, victim: psutil.Process) -> None:
        """kill -9."""
        self._killed.add(victim.pid)
        with suppress(psutil.NoSuchProcess):
            victim.kill()

    def suspend(self, victim: psutil.Process, for_s: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        with suppress(psutil.NoSuchProcess):
            victim.suspend()
            self._wakes.append((time.monotonic() + for_s, victim))

    def kill_server(self, for_s: float) -> None:
        """Kills PostgreSQL; it is started again after a while."""
        assert self.setting.server is not None
        if not self._server_starts:
            self.setting.server.kill()
            self._server_starts = time.monotonic() + for_s

    def wait_for_the_end(self, within_s: float) -> list[psutil.Process]:
        """Waits until nothing of the sweep runs; what still does, then killed."""
        self._wake(all_of_them=True)
        deadline = time.monotonic() + within_s
        while (left := self.processes()) and time.monotonic() < deadline:
            for worker in self.joined.values():
                worker.poll()
            time.sleep(0.2)
        return left

    def close(self) -> None:
        """Kills whatever is left."""
        self._wake(all_of_them=True)
        for _ in range(20):
            for process in self.processes():
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
            time.sleep(0.05)
        for child in (self.launcher, *self.joined.values()):
            if child is not None:
                child.wait()


def slot_of(worker: psutil.Process) -> int | None:
    """The slot of a worker: from its name where it was forked, otherwise from its command line."""
    try:
        if worker.name().startswith("worker-"):
            return int(worker.name().removeprefix("worker-"))
        words = worker.cmdline()
        return int(words[words.index("--slot") + 1])
    except (psutil.Error, ValueError, IndexError):
        return None


def _kind_of(process: psutil.Process) -> str | None:
    try:
        words, name = process.cmdline(), process.name()
    except psutil.Error:
        return None
    if words[1:3] == ["-m", "sweeps.processes.fork_server_main"]:  # the server, and what it forked
        return "fork_server" if name == "fork-server" else name.partition("-")[0]
    if not words or Path(words[0]).name == "unshare":
        return None
    if words[0].startswith("ray::WorkerActor"):
        return "actor"
    if words[1:3] != ["-m", "sweeps"]:
        return None
    if words[3] == "worker":
        return "worker" if "--stop_on_stdin_eof" in words else "joined"
    return "launcher" if words[3] == "launch" else None
