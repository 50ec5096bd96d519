"""Client of the fork server, which imports torch and Lightning once and forks every other process from itself.

A fork takes about 0.05 s; a fresh Python process that imports the worker takes about 8 CPU seconds. The server is
`fork_server_main.py`. `multiprocessing` has a fork server too, but it runs the user's `__main__` again in each child,
gives children neither an environment nor a log of their own, starts another server in every child that asks for a
process, and ends children without their exit handlers.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from time import monotonic, sleep
from typing import Any

import psutil

from lit_dl.errors import LitError

# Thread pools of BLAS libraries are started by the import of numpy, and a process with threads must not fork.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_END_WITHIN_S = 5.0
_MAX_TRIES = 5  # to fork a process from servers that die

_server: ForkServer | None = None
_parent_channel: Connection[Any, Any] | None = None


def fork_server() -> ForkServer:
    """Returns the fork server of this process: the one that forked it, otherwise one of its own."""
    global _server
    if _server is None:
        _server = ForkServer()
    return _server


def parent_channel() -> Connection[Any, Any]:
    """Returns the connection to the process that requested this one; only in a forked process."""
    assert _parent_channel is not None, "this process was not forked from a fork server"
    return _parent_channel


def adopt(channel: Connection[Any, Any], server: socket.socket) -> None:
    """Sets what `parent_channel` and `fork_server` return in a process that has just been forked."""
    global _server, _parent_channel
    _parent_channel, _server = channel, ForkServer(server)


class ForkServerDied(LitError):
    """The fork server died and cannot be started again from this process."""


@dataclass(frozen=True)
class ForkRequest:
    """What a forked process sets up and calls.

    Args:
        target: The function to call, as `package.module:function`.
        arguments: Positional arguments of the function; they are pickled.
        name: Name of the process in `ps` and `top`; the kernel keeps 15 characters.
        environment: All environment variables. They may hold a password, so they travel in a pipe.
        cwd: Working directory.
        path: `sys.path`, after the working directory.
    """

    target: str
    arguments: tuple[Any, ...]
    name: str
    environment: dict[str, str] = field(repr=False)
    cwd: str
    path: list[str]


class ForkedProcess:
    """A process that the fork server forked; leads its own process group. Used like a `subprocess.Popen`.

    Args:
        pid: Process ID.
        status: Connection on which the server sends the return code.
        channel: Connection to the process; see `parent_channel`.
        stdin: File descriptor of the write end of its standard input.

    Attributes:
        returncode: As in `subprocess`: negative for a signal; `None` while the process runs.
        server_died: Whether the fork server died first; then the process was killed.
    """

    def __init__(self, pid: int, status: Connection[Any, Any], channel: Connection[Any, Any], stdin: int) -> None:
        self.pid = pid
        self.channel = channel
        self.returncode: int | None = None
        self.server_died = False
        self._status = status
        self._stdin: int | None = stdin

    def poll(self) -> int | None:
        """Returns the return code; `None` while the process runs."""
        return self.wait(0.0)

    def wait(self, timeout: float | None = None) -> int | None:
        """Waits for the end of the process, at most `timeout` seconds; returns as `poll`."""
        if self.returncode is None and self._status.poll(timeout):
            try:
                self.returncode = self._status.recv()
            except (EOFError, OSError):
                self._end_without_server()
        return self.returncode

    def _end_without_server(self) -> None:
        """Kills the process: nobody else will ever learn its return code."""
        self.kill_group()
        deadline = monotonic() + _END_WITHIN_S
        while _is_running(self.pid) and monotonic() < deadline:
            sleep(0.01)
        self.returncode, self.server_died = -signal.SIGKILL, True

    def close_stdin(self) -> None:
        """Ends the standard input of the process, which asks it to stop; see `parent_watch`."""
        if self._stdin is not None:
            os.close(self._stdin)
            self._stdin = None

    def kill_group(self) -> None:
        """Kills the process and all that it started in its group, also after it has ended."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kills the process and its group, waits for its end, and closes all connections to it."""
        self.kill_group()
        self.wait()
        self.close_stdin()
        self.channel.close()
        self._status.close()


def _is_running(pid: int) -> bool:
    """Whether a process, which need not be a child of this one, exists and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class ForkServer:
    """Connection to a fork server, which is started when it is first used and ends with its last client.

    Args:
        inherited: Connection to the server that forked this process; `None`: start a server.
    """

    def __init__(self, inherited: socket.socket | None = None) -> None:
        self._socket = inherited
        self._process: subprocess.Popen[bytes] | None = None
        self._is_inherited = inherited is not None
        self._has_forked = False

    def start(self) -> None:
        """Starts the server and returns at once, while it imports; does nothing when there is one."""
        if self._socket is not None:
            return
        self._has_forked = False
        self._socket, theirs = socket.socketpair()
        path = os.pathsep.join(sys.path)  # a script or a notebook may have changed it
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sweeps.processes.fork_server_main"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={**os.environ, **_ONE_THREAD, "PYTHONUNBUFFERED": "1", "PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C reaches this process alone
            )
        atexit.register(self.close)

    def fork(
        self,
        target: str,
        *arguments: Any,
        name: str,
        output: tuple[int, int] = (1, 2),
        environment: dict[str, str] | None = None,
    ) -> ForkedProcess:
        """Starts a process that calls `target(*arguments)` and exits with what it returns, as `sys.exit` takes it.

        Args:
            target: As `package.module:function`.
            arguments: For the function; they are pickled.
            name: Name of the process.
            output: File descriptors for its standard output and error.
            environment: Variables to set or replace.

        Raises:
            ForkServerDied: The server died. One that this process itself started is started again, but not forever.
        """
        variables = {**os.environ, **(environment or {})}
        request = ForkRequest(target, arguments, name, variables, os.getcwd(), sys.path)
        for _ in range(1 if self._is_inherited else _MAX_TRIES):
            self.start()
            try:
                return self._send(request, output)
            except (EOFError, ConnectionError):
                self._forget()
        raise ForkServerDied("the process from which all others are forked died; launch the sweep again")

    def _send(self, request: ForkRequest, output: tuple[int, int]) -> ForkedProcess:
        assert self._socket is not None
        stdin, our_stdin = os.pipe()
        our_channel, channel = Pipe()
        our_status, status = Pipe(duplex=False)
        try:
            descriptors = [stdin, *output, channel.fileno(), status.fileno()]
            socket.send_fds(self._socket, [b"f"], descriptors)
        except BaseException:
            os.close(our_stdin)
            raise
        finally:  # so that each pipe ends with the process at its other end
            os.close(stdin)
            channel.close()
            status.close()
        process = ForkedProcess(our_status.recv(), our_status, our_channel, our_stdin)
        self._has_forked = True
        with suppress(ConnectionError):  # it died at once, which `poll` will tell
            our_channel.send(request)
        return process

    def _forget(self) -> None:
        """Closes the connection to a server that died, so that the next `start` starts another."""
        if not self._is_inherited and self._socket is not None:
            self.close()

    def close(self) -> None:
        """Ends the server, once the processes that it forked have ended too."""
        atexit.unregister(self.close)
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            if not self._has_forked:  # it may be at its imports still, and would not see that its client is gone
                self._process.kill()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_WITHIN_S)
            self._process = None
