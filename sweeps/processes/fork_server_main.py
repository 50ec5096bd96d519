"""The fork server: `python -m sweeps.processes.fork_server_main`, started by `fork_server.py`.

It imports what all processes of a sweep need, and then forks a process for each request. It must stay without threads
and must never touch CUDA, because neither survives a fork.
"""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import select
import signal
import socket
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from sweeps.processes.fork_server import ForkRequest, adopt

PRELOADED = (
    "sweeps.worker.loop",
    "sweeps.worker.ddp_rank",
    "sweeps.spec.preflight",
    "sweeps.cli",
    "lit_dl.modules.classifier",
    "lit_dl.data.mnist",
    "wandb",
    "wandb.sdk.launch",  # 0.7 CPU s, which the first `wandb.init` of each process would spend
)
_DESCRIPTORS = 5  # of a request: standard input, output and error, channel, status


class Fork:
    """A process that has just been forked.

    Args:
        descriptors: Standard input, output and error, and the channel.
        server: Connection to the fork server.
    """

    def __init__(self, descriptors: list[int], server: socket.socket) -> None:
        for number, descriptor in enumerate(descriptors[:3]):
            os.dup2(descriptor, number)
            os.close(descriptor)
        self._channel: Connection[Any, Any] = Connection(descriptors[3])
        adopt(self._channel, server)

    def run(self) -> None:
        """Receives the request, calls its function, and exits with what that returns."""
        try:
            request: ForkRequest = self._channel.recv()
        except EOFError:  # the process that requested this one is gone
            return
        _set_up(request)
        sys.exit(pkgutil.resolve_name(request.target)(*request.arguments))


def _set_up(request: ForkRequest) -> None:
    """Makes this process look like a fresh one that was started in the directory and environment of the request."""
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.cwd)
    sys.path[:] = [request.cwd, *request.path]
    sys.argv[:] = [request.name]
    importlib.invalidate_caches()
    _name_process(request.name)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # `random` does this itself after a fork


def _name_process(name: str) -> None:
    """Sets the name that `ps` and `top` show; the command line stays that of the server."""
    with suppress(OSError), open("/proc/self/comm", "w") as file:
        file.write(name)


class ForkServerLoop:
    """Forks a process for each request of its clients, and reports the return codes of those processes.

    Args:
        client: Connection to the process that started the server. Each forked process is a client too.
    """

    def __init__(self, client: socket.socket) -> None:
        self._clients = {client}
        self._status_of: dict[int, Connection[Any, Any]] = {}  # by process ID
        self._wakeup, self._signalled = socket.socketpair()
        for end in (self._wakeup, self._signalled):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler, nothing is written to the wakeup socket
        signal.set_wakeup_fd(self._signalled.fileno())

    def run(self) -> Fork | None:
        """Serves until the last client is gone; returns a `Fork` in each forked process, `None` in the server."""
        while self._clients:
            ready, _, _ = select.select([self._wakeup, *self._clients], [], [])
            for end in ready:
                if end is self._wakeup:
                    self._reap()
                elif (fork := self._receive(end)) is not None:
                    return fork
        return None

    def _reap(self) -> None:
        """Sends the return codes of the processes that have ended."""
        with suppress(BlockingIOError):
            while self._wakeup.recv(4096):
                pass
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                with self._status_of.pop(pid) as client, suppress(OSError):  # the client may be gone
                    client.send(os.waitstatus_to_exitcode(status))

    def _receive(self, client: socket.socket) -> Fork | None:
        """Forks a process for the request of a client; returns a `Fork` in that process."""
        try:
            message, descriptors, _, _ = socket.recv_fds(client, 1, _DESCRIPTORS)
        except ConnectionError:
            message, descriptors = b"", []
        if not message:
            self._clients.remove(client)
            client.close()
            return None
        ours, theirs = socket.socketpair()
        pid = os.fork()
        with suppress(OSError):
            os.setpgid(pid, pid)  # in both processes, as neither may go on before it is done
        if pid == 0:
            self._close(ours, descriptors.pop())
            return Fork(descriptors, theirs)
        theirs.close()
        self._clients.add(ours)
        self._status_of[pid] = Connection(descriptors.pop(), readable=False)
        with suppress(OSError):
            self._status_of[pid].send(pid)
        for descriptor in descriptors:
            os.close(descriptor)
        return None

    def _close(self, server_end: socket.socket, status: int) -> None:
        """Closes in a forked process all that belongs to the server, and resets its signal handling."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(status)
        server_end.close()
        for end in (*self._clients, self._wakeup, self._signalled):
            end.close()
        for connection in self._status_of.values():
            connection.close()


def preload() -> None:
    """Imports what the forked processes need."""
    for name in PRELOADED:
        with suppress(Exception):  # the process that needs it raises the error where it is reported
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # the collector would write to, and so copy, memory that forked processes share


def main() -> None:
    """Runs the server, and in each forked process its function."""
    client = socket.socket(fileno=os.dup(0))
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    _name_process("fork-server")
    preload()
    fork = ForkServerLoop(client).run()
    if fork is not None:
        fork.run()


if __name__ == "__main__":
    main()
