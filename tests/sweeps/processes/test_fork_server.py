"""The fork server dies: it is started again, but not forever."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sweeps.processes import fork_server as module
from sweeps.processes.fork_server import ForkServer, ForkServerDied


class KilledWhileItImports(ForkServer):
    """Kills the first servers that it starts."""

    def __init__(self, kills: int) -> None:
        super().__init__()
        self.kills, self.starts = kills, 0

    def start(self) -> None:
        is_new = self._socket is None
        super().start()
        if is_new:
            self.starts += 1
            if self.starts <= self.kills:
                assert self._process is not None
                self._process.kill()


@pytest.fixture
def servers() -> Iterator[list[ForkServer]]:
    made: list[ForkServer] = []
    yield made
    for server in made:
        server.close()


def test_a_server_that_is_killed_again_and_again_is_replaced(servers: list[ForkServer]) -> None:
    servers.append(server := KilledWhileItImports(3))
    process = server.fork("os:getpid", name="child")
    assert process.wait(60) == process.pid % 256  # what `sys.exit` makes of a number
    process.close()
    assert server.starts == 4


def test_a_server_that_always_dies_is_an_error(servers: list[ForkServer]) -> None:
    servers.append(server := KilledWhileItImports(1000))
    with pytest.raises(ForkServerDied, match="launch the sweep again"):
        server.fork("os:getpid", name="child")
    assert server.starts == module._MAX_TRIES


def test_a_server_that_has_forked_nothing_is_not_waited_for() -> None:
    """Ctrl-C within the first seconds of a launch, while the server imports."""
    server = ForkServer()
    server.start()
    process = server._process
    assert process is not None
    server.close()
    assert process.returncode == -signal.SIGKILL


def test_a_server_imports_from_where_its_client_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook may have added the folder of this package to `sys.path`, or that of another version of it."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    server = ForkServer()
    server.start()
    assert server._process is not None
    environment = psutil.Process(server._process.pid).environ()
    server.close()
    assert environment["PYTHONPATH"].split(os.pathsep) == sys.path
