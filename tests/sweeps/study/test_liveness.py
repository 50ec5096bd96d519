from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from stand_in_workers import identity_of

from sweeps.study import liveness as owners
from sweeps.study.liveness import Owner, identity, is_alive, is_here, machine

PRINT_IDENTITY = """
import json, sys
from sweeps.study.liveness import identity
print(json.dumps(identity()), flush=True)
sys.stdin.read()
"""


def test_a_process_identifies_itself_as_others_see_it() -> None:
    words = [sys.executable, "-c", PRINT_IDENTITY]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        owner = json.loads(process.stdout.readline())
        assert owner == identity_of(process)
        assert is_here(owner)
        assert is_alive(owner)
        process.communicate()
    assert not is_alive(owner)
    assert is_alive(identity())


def test_a_process_that_nobody_has_waited_for_is_dead(other: subprocess.Popen[bytes]) -> None:
    owner = identity_of(other)
    assert is_alive(owner)
    other.kill()
    while psutil.Process(other.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert not is_alive(owner)
    other.wait()
    assert not is_alive(owner)


def test_a_later_process_with_its_number_is_not_taken_for_it(other: subprocess.Popen[bytes]) -> None:
    earlier = {**identity_of(other), "started": "1"}
    assert not is_alive(earlier)


def test_a_suspended_process_lives(other: subprocess.Popen[bytes]) -> None:
    owner = identity_of(other)
    other.send_signal(signal.SIGSTOP)
    while psutil.Process(other.pid).status() != psutil.STATUS_STOPPED:
        time.sleep(0.01)
    assert is_alive(owner)


def test_a_change_of_the_clock_makes_nobody_another() -> None:
    started = owners._start_time(os.getpid())
    assert float(started) < time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")  # not since 1970


@pytest.mark.parametrize("answer", [True, False])
def test_of_other_machines_nothing_is_known(answer: bool) -> None:
    owner = {**identity(), "machine": "elsewhere"}
    assert not is_here(owner)
    assert is_alive(owner, elsewhere=answer) is answer


@pytest.mark.parametrize("owner", [{}, {"machine": machine()}, {"machine": machine(), "pid": 2**22 + 1, "started": ""}])
def test_nobody_is_dead(owner: Owner) -> None:
    assert not is_alive(owner)


def test_a_machine_is_another_after_it_booted_and_in_another_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def seen(boot: str, numbering: str, host: str) -> str:
        (tmp_path / "boot_id").write_text(boot + "\n")
        (tmp_path / numbering).touch()
        places = {"/proc/sys/kernel/random/boot_id": tmp_path / "boot_id", "/proc/self/ns/pid": tmp_path / numbering}
        with monkeypatch.context() as patch:
            patch.setattr(owners, "Path", lambda path: places[path])
            patch.setattr("socket.gethostname", lambda: host)
            return machine.__wrapped__()

    here = seen("6f2f-11aa-aaaa", "one", "host")
    assert seen("6f2f-11aa-aaaa", "one", "host") == here
    others = [
        seen("0000-22bb-bbbb", "one", "host"),
        seen("6f2f-11aa-aaaa", "two", "host"),
        seen("6f2f-11aa-aaaa", "one", "host2"),
    ]
    assert len({here, *others}) == 4
    assert machine().startswith(os.uname().nodename)
