"""Processes that start in milliseconds: forked from the package's fork server, which has imported torch already.

A fresh interpreter spends 8 CPU seconds on those imports. What a forked process does after its start is the same: it
has an environment, a working directory, arguments and standard streams of its own, and it can be killed. What it
starts in turn (workers of a launcher, ranks of a worker) comes from the same server.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from sweeps.processes.fork_server import fork_server


def run_words(words: list[str], cwd: str, environment: dict[str, str]) -> int:
    """The child: does what `python WORDS` does, after the imports; returns the exit status."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:1] = [cwd if words[0] in ("-m", "-c") else str(Path(words[0]).parent), *paths]
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        elif words[0] == "-c":
            sys.argv = ["-c", *words[2:]]
            exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


class Forked:
    """A process that runs `python WORDS`; used like a `subprocess.Popen`.

    Args:
        words: What follows `python` on a command line: `-m MODULE ...`, `-c CODE ...` or a script.
        cwd: Working directory.
        env: Its whole environment; `None`: this process's.
    """

    def __init__(self, words: Sequence[object], cwd: Path, env: Mapping[str, str] | None = None) -> None:
        folder = Path(tempfile.mkdtemp(prefix="forked-"))
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
        self.args = [str(word) for word in words]
        environment = dict(os.environ if env is None else env)
        with self._stdout.open("ab") as stdout, self._stderr.open("ab") as stderr:
            self._process = fork_server().fork(
                "forked:run_words",
                self.args,
                str(cwd),
                environment,
                name="python",
                output=(stdout.fileno(), stderr.fileno()),
            )
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Returns the exit status, negative for a signal; `None` while it runs."""
        return self._process.poll()

    @property
    def returncode(self) -> int | None:
        """What `poll` returns."""
        return self.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end and returns the exit status.

        Raises:
            subprocess.TimeoutExpired: It still runs.
        """
        code = self._process.wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Sends a signal to the process, not to its children."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """`kill -9`, of this process alone."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return self._stdout.read_text()

    @property
    def stderr(self) -> str:
        """What it has printed so far on standard error."""
        return self._stderr.read_text()


def run_python(
    words: Sequence[object], cwd: Path, env: Mapping[str, str] | None = None, timeout: float | None = 1200
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run([sys.executable, *words], capture_output=True, text=True)`, without the imports' time."""
    process = Forked(words, cwd, env)
    try:
        code = process.wait(timeout)
    except BaseException:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, code, process.stdout, process.stderr)
