"""The actor that keeps one worker on its node of a Ray cluster; made of the standard library, as it starts there."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Errand:
    """What an actor is told to run.

    Args:
        study: Name of the study, for a node that does not have the run folder.
        cwd: Folder to run in, where the node has it; modules of the user's are found from there.
        program: What Python runs, before the run folder.
        options: Words after it.
        environment: Laid on the actor's own. It may hold a password: it is told to the actor alone, in a call, and
            stands neither in a command line nor in what Ray keeps of an actor.
    """

    study: str
    cwd: str
    program: Sequence[str]
    options: Sequence[str]
    environment: dict[str, str] = field(repr=False)


class WorkerActor:
    """Runs a worker as a child process: the pipe to it ends with this actor, and it with the pipe.

    Args:
        run_dir: The run folder.
        log_name: File in it for what the worker prints; beside it on a node that does not have it yet.
    """

    def __init__(self, run_dir: str, log_name: str) -> None:
        self._run_dir = Path(run_dir)
        self._has_folder = (self._run_dir / "spec.yaml").is_file()
        beside = self._run_dir.with_name(f"{self._run_dir.name}-{log_name}")
        self._log = self._run_dir / log_name if self._has_folder else beside
        self._worker: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def begin(self) -> tuple[str, str]:
        """The host that this actor was placed on, as soon as it is, and where the worker prints there."""
        return socket.gethostname(), str(self._log)

    def run(self, errand: Errand) -> int:
        """The worker's return code, once it has ended and nothing of it is left."""
        place = [str(self._run_dir), *([] if self._has_folder else ["--study", errand.study])]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, self._log.open("ab") as log:
            if self._stopped:
                return 0
            self._worker = subprocess.Popen(
                [sys.executable, *errand.program, *place, *errand.options],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **errand.environment},
                cwd=errand.cwd if os.path.isdir(errand.cwd) else None,
                start_new_session=True,
            )
        return self.join()

    def join(self) -> int:
        """What `run` returns, for a caller who lost the line to it and found it again."""
        worker = self._worker
        if worker is None:
            raise RuntimeError("no worker was started")
        status = worker.wait()
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        return status

    def stop(self) -> None:
        """Ends the pipe, upon which the worker gives back its trial and ends."""
        with self._lock:
            self._stopped = True
            if self._worker is not None and self._worker.stdin is not None:
                self._worker.stdin.close()
