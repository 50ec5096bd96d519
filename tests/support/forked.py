"""Processes that start in milliseconds: forked from a server that has imported torch, Lightning and the packages.

A fresh interpreter spends 8 CPU seconds on those imports. What a forked process does after its start is the same:
it has an environment, a working directory, arguments and standard streams of its own, and it can be killed.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["lit_dl.cli.command", "sweeps.cli", "sweeps.launch", "sweeps.worker.loop"])


def _run(words: list[str], cwd: str, environment: dict[str, str], stdout: str, stderr: str) -> None:
    """The child: what `python WORDS` does, after the imports."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for descriptor, path in ((1, stdout), (2, stderr)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:0] = ["" if words[0] in ("-m", "-c") else str(Path(words[0]).parent), *paths]
    code = 0
    try:
        if words[0] == "-m":
            sys.argv = [words[1], *words[2:]]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        elif words[0] == "-c":
            sys.argv = ["-c", *words[2:]]
            exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    sys.exit(code)


class Forked:
    """A process that runs `python WORDS`.

    Args:
        words: What follows `python` on a command line: `-m MODULE ...`, `-c CODE ...` or a script.
        cwd: Working directory.
        env: Its whole environment; `None`: this process's.
    """

    def __init__(self, words: list[str], cwd: Path, env: Mapping[str, str] | None = None) -> None:
        folder = Path(tempfile.mkdtemp(prefix="forked-"))
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
        environment = dict(os.environ if env is None else env)
        given = ([str(word) for word in words], str(cwd), environment, str(self._stdout), str(self._stderr))
        self.args = words
        self._process: ForkServerProcess = CONTEXT.Process(target=_run, args=given)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        """The exit status, negative for a signal; `None` while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end and returns the exit status.

        Raises:
            subprocess.TimeoutExpired: It still runs.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return self._stdout.read_text() if self._stdout.exists() else ""

    @property
    def stderr(self) -> str:
        return self._stderr.read_text() if self._stderr.exists() else ""


def run_python(
    words: list[str], cwd: Path, env: Mapping[str, str] | None = None, timeout: float | None = 1200
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run([sys.executable, *words], capture_output=True, text=True)`, without the imports' time."""
    process = Forked(words, cwd, env)
    try:
        code = process.wait(timeout)
    except BaseException:
        process.kill()
        raise
    return subprocess.CompletedProcess(words, code, process.stdout, process.stderr)
