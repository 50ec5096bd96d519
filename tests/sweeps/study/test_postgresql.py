from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from postgresql import Server
from sqlalchemy.exc import DBAPIError

from sweeps.study import postgresql
from sweeps.study.postgresql import PostgresCoordinator
from sweeps.study.retry import transient_reason
from sweeps.study.storage import coordinator_of, open_storage

HOLD = """
import os, sys, time
from sweeps.study import postgresql
from sweeps.study.storage import coordinator_of, open_storage
postgresql.LEASE_S = float(os.environ.get("LEASE_S", "30"))
with coordinator_of(open_storage(None, os.environ["URL"]), sys.argv[1]).lock():
    print("held", flush=True)
    sys.stdin.readline()
print("freed", flush=True)
"""


@pytest.fixture
def storage(server: Server) -> Iterator[RDBStorage]:
    opened = open_storage(Path(), server.url)
    assert isinstance(opened, RDBStorage)
    yield opened
    opened.remove_session()
    opened.engine.dispose()


@pytest.fixture
def ours(storage: RDBStorage) -> PostgresCoordinator:
    found = coordinator_of(storage, "study")
    assert found is not None
    return found


class Holder:
    """A process that holds a study's lock."""

    def __init__(self, server: Server, study: str = "study", lease_s: float = 30) -> None:
        import os

        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, study],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "URL": server.url, "LEASE_S": str(lease_s)},
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "held\n"

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


class Wish(threading.Thread):
    """Wants the lock; `got` when it has had it."""

    def __init__(self, ours: PostgresCoordinator) -> None:
        super().__init__(daemon=True)
        self.ours, self.got = ours, threading.Event()
        self.start()

    def run(self) -> None:
        with self.ours.lock():
            self.got.set()

    def comes_true(self, within_s: float) -> bool:
        """Whether it has had the lock."""
        self.join(within_s)
        return self.got.is_set()

    def waits(self, server: Server) -> bool:
        """Whether the server has it waiting."""
        with server.connect() as connection:
            count = connection.execute("select count(*) from pg_locks where locktype = 'advisory' and not granted")
            return bool(count.fetchone()[0])


def waiting(ours: PostgresCoordinator, server: Server) -> Wish:
    wish = Wish(ours)
    while not wish.waits(server):
        assert not wish.got.is_set()
        time.sleep(0.01)
    return wish


def test_the_lock_excludes_other_processes_until_it_is_given_back(server: Server, ours: PostgresCoordinator) -> None:
    with Holder(server) as holder:
        wish = waiting(ours, server)
        assert holder.process.stdin is not None
        holder.process.stdin.write("\n")
        holder.process.stdin.flush()
        assert wish.comes_true(30)


def test_kill_9_frees_the_lock(server: Server, ours: PostgresCoordinator) -> None:
    with Holder(server) as holder:
        wish = waiting(ours, server)
        holder.process.kill()
        assert wish.comes_true(10)


def test_a_connection_that_drops_frees_the_lock_and_its_holder_is_told(
    server: Server, ours: PostgresCoordinator
) -> None:
    with Holder(server) as holder:
        wish = waiting(ours, server)
        with server.connect() as connection:
            connection.execute("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted")
        assert wish.comes_true(10)
        _, errors = holder.process.communicate("\n")
        assert holder.process.returncode == 1
        assert "OperationalError" in errors


def test_a_holder_that_hangs_is_cut_off_when_its_lease_is_over(server: Server, ours: PostgresCoordinator) -> None:
    with Holder(server, lease_s=2) as holder:
        holder.process.send_signal(signal.SIGSTOP)
        wish = waiting(ours, server)
        assert wish.comes_true(30)
        holder.process.send_signal(signal.SIGCONT)
        holder.process.communicate("\n")
        assert holder.process.returncode == 1  # it learns that it lost the lock


def test_who_was_cut_off_can_try_again(ours: PostgresCoordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "LEASE_S", 1.0)
    with pytest.raises(DBAPIError) as raised, ours.lock():
        time.sleep(1.5)
    assert transient_reason(raised.value) is not None
    with ours.lock():
        pass


def test_an_error_inside_frees_the_lock(ours: PostgresCoordinator, server: Server) -> None:
    with pytest.raises(ZeroDivisionError), ours.lock():
        1 / 0  # noqa: B018
    assert Wish(ours).comes_true(10)


def test_the_lock_of_another_study_is_another(server: Server, ours: PostgresCoordinator) -> None:
    with Holder(server, "another"), ours.lock():
        pass


def test_a_study_is_worked_on_while_the_lock_is_held(ours: PostgresCoordinator, storage: RDBStorage) -> None:
    name = f"study-{time.time_ns()}"
    with ours.lock():
        study = optuna.create_study(storage=storage, study_name=name)
        study.tell(study.ask(), 1.0)
    assert optuna.load_study(storage=storage, study_name=name).best_value == 1.0


def test_time_is_the_servers(server: Server, ours: PostgresCoordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    def clock() -> float:
        with server.connect() as connection:
            return float(connection.execute("select extract(epoch from clock_timestamp())").fetchone()[0])

    monkeypatch.setattr("time.time", lambda: 0.0)  # ours may be wrong
    before = clock()
    now, lease = ours.now(), ours.lease()
    after = clock()
    assert before <= now <= lease - postgresql.LEASE_S <= after


def test_only_postgresql_is_for_several_machines(tmp_path: Path) -> None:
    assert coordinator_of(open_storage(tmp_path, None), "study") is None
    file = open_storage(tmp_path, f"sqlite:///{tmp_path / 'a.db'}")
    assert coordinator_of(file, "study") is None
    assert isinstance(file, RDBStorage)
    file.engine.dispose()
