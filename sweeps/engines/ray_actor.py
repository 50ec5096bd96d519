"""The Ray actor that runs one worker on a node of the cluster. It imports only the standard library, to start fast."""

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
class ActorCommand:
    """The worker process that an actor starts.

    Args:
        study: Name of the study, for a node that does not have the run folder.
        cwd: Working directory, if it exists on the node. The user's modules are imported from there.
        program: Arguments of Python before the run folder.
        options: Arguments after the run folder.
        environment: Variables to set or replace. They may hold a password, so they are sent in a method call, and
            appear neither in a command line nor in what Ray stores about an actor.
    """

    study: str
    cwd: str
    program: Sequence[str]
    options: Sequence[str]
    environment: dict[str, str] = field(repr=False)


class WorkerActor:
    """Runs a worker as a child process, which ends when the pipe to its standard input ends, as when the actor dies.

    Args:
        run_dir: The run folder.
        log_name: Name of the worker's log in the run folder. On a node without that folder, the log lies beside it.
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
        """Returns the host name of the node and the path of the worker's log, as soon as Ray has placed the actor."""
        return socket.gethostname(), str(self._log)

    def run(self, command: ActorCommand) -> int:
        """Runs the worker to its end, kills what is left of its process group, and returns its return code."""
        place = [str(self._run_dir), *([] if self._has_folder else ["--study", command.study])]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, self._log.open("ab") as log:
            if self._stopped:
                return 0
            self._worker = subprocess.Popen(
                [sys.executable, *command.program, *place, *command.options],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **command.environment},
                cwd=command.cwd if os.path.isdir(command.cwd) else None,
                start_new_session=True,
            )
        return self.join()

    def join(self) -> int:
        """Returns what `run` returns. For a caller that lost the connection during `run`."""
        worker = self._worker
        if worker is None:
            raise RuntimeError("no worker was started")
        status = worker.wait()
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        return status

    def stop(self) -> None:
        """Closes the worker's standard input. The worker then gives back its trial and ends."""
        with self._lock:
            self._stopped = True
            if self._worker is not None and self._worker.stdin is not None:
                self._worker.stdin.close()
