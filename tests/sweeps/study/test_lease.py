from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from stand_in_workers import wait_for

from sweeps.study import lease as leases
from sweeps.study.lease import Lease

SUSPENDED = """
import os, sys, time
from sweeps.study import lease as leases
leases.LEASE_S, leases._HEARTBEAT_S = 1.0, float(sys.argv[1])

with leases.Lease(lambda: not os.path.exists("another has it"), lambda: False) as lease:
    while not lease.is_set():
        print("goes on", flush=True)
        time.sleep(0.01)
print("lost", flush=True)
"""


class Renewals:
    """What a study says of the lease; `True` for ever after the list."""

    def __init__(self, *answers: bool) -> None:
        self.answers, self.asked = list(answers), 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.answers.pop(0) if self.answers else True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock of leases forward."""
    now = [100.0]
    monkeypatch.setattr(leases, "_clock", lambda: now[0])

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward


def never() -> bool:
    return False


def test_it_is_renewed_in_time_while_it_is_held_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert leases._HEARTBEAT_S <= leases.LEASE_S / 4  # a few may fail
    monkeypatch.setattr(leases, "_HEARTBEAT_S", 0.01)
    renew = Renewals()
    with Lease(renew, never) as lease:
        wait_for(lambda: renew.asked > 5)
        assert not lease.is_set()
    time.sleep(0.05)
    asked = renew.asked
    time.sleep(0.1)
    assert renew.asked == asked


def test_it_is_lost_once_another_has_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_HEARTBEAT_S", 0.01)
    renew = Renewals(True, True, False)
    with Lease(renew, never) as lease:
        wait_for(lease.is_set)
    assert renew.asked == 3  # and is not asked for again
    assert lease.is_set()


def test_within_its_time_nobody_is_asked(clock: Callable[[float], None]) -> None:
    renew = Renewals()
    lease = Lease(renew, never)
    clock(leases.LEASE_S)
    assert not lease.is_set()
    assert renew.asked == 0
    clock(1.0)
    assert not lease.is_set()
    assert renew.asked == 1
    assert not lease.is_set()  # it has another term
    assert renew.asked == 1


def test_when_its_time_is_over_it_asks_before_it_goes_on(clock: Callable[[float], None]) -> None:
    lease = Lease(Renewals(False), never)
    clock(leases.LEASE_S + 1)
    assert lease.is_set()


def test_the_time_that_an_answer_takes_counts(clock: Callable[[float], None]) -> None:
    def slow() -> bool:
        clock(leases.LEASE_S + 1)
        return True

    asked = []
    lease = Lease(lambda: bool(asked.append(1)) or slow(), never)
    clock(leases.LEASE_S + 1)
    lease.is_set()
    lease.is_set()
    assert len(asked) == 2


def test_a_stopped_worker_does_not_renew(clock: Callable[[float], None]) -> None:
    renew = Renewals()
    lease = Lease(renew, lambda: True)
    clock(leases.LEASE_S + 1)
    assert lease.is_set()
    assert renew.asked == 0


def test_a_storage_that_is_away_when_the_worker_is_stopped_raises_nothing(clock: Callable[[float], None]) -> None:
    stop = threading.Event()

    def away() -> bool:
        stop.set()  # while it is waited for
        raise OSError("no answer")

    lease = Lease(away, stop.is_set)
    clock(leases.LEASE_S + 1)
    assert lease.is_set()


def test_an_error_that_is_none_of_the_storage_comes_to_light(clock: Callable[[float], None]) -> None:
    def bug() -> bool:
        raise ValueError("a bug")

    lease = Lease(bug, never)
    clock(leases.LEASE_S + 1)
    with pytest.raises(ValueError, match="a bug"):
        lease.is_set()


def test_without_leases_there_is_no_thread_and_no_question(clock: Callable[[float], None]) -> None:
    before, stop = threading.active_count(), threading.Event()
    with Lease(None, stop.is_set) as lease:
        assert threading.active_count() == before
        clock(10 * leases.LEASE_S)
        assert not lease.is_set()
        stop.set()
        assert lease.is_set()


@pytest.mark.parametrize("every_s", [0.1, 600])
def test_a_process_that_was_suspended_asks_before_it_goes_on(tmp_path: Path, every_s: float) -> None:
    output = tmp_path / "output"
    with output.open("w") as file:
        process = subprocess.Popen([sys.executable, "-c", SUSPENDED, str(every_s)], stdout=file, cwd=tmp_path)
    try:
        wait_for(lambda: "goes on" in output.read_text())
        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
        before = len(output.read_text().splitlines())
        (tmp_path / "another has it").touch()
        time.sleep(1.2)
        process.send_signal(signal.SIGCONT)
        assert process.wait(300) == 0
    finally:
        process.kill()
        process.wait()
    after = output.read_text().splitlines()[before:]
    assert after in (["lost"], ["goes on", "lost"])  # at the most the round in which it was suspended is ended
