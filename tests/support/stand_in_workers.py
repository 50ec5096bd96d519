"""A program in the place of `sweeps worker`, for tests of engines: it says what it was given, and ends when told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from sweeps.study import liveness as owners
from sweeps.study.liveness import Owner

PROGRAM = """
import sys

sys.path.append({support!r})
from stand_in_workers import main

main(["worker", *sys.argv[1:]])
"""


def main(words: list[str]) -> None:
    """Writes what this process was given to a file, runs until `end-SLOT` says with which status, or stdin ends."""
    folder, slot = words[1], words[words.index("--slot") + 1]
    told = {"pid": os.getpid(), "words": words[1:], "environment": dict(os.environ), "cwd": os.getcwd()}
    path = os.path.join(folder, f"began-{slot}-{time.time_ns()}.json")
    with open(path + ".part", "w") as file:
        json.dump(told, file)
    print("worker", os.getpid(), flush=True)
    os.rename(path + ".part", path)

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    end = Path(folder) / f"end-{slot}"
    while not end.exists():
        time.sleep(0.02)
    sys.exit(int(end.read_text()))


def leave_a_child(words: list[str]) -> None:
    """Dies, and leaves a process that it started."""
    print(subprocess.Popen(["sleep", "1000"]).pid, flush=True)
    os._exit(1)


def hang(words: list[str]) -> None:
    """Runs on when standard input ends."""
    time.sleep(1000)


def write_program(folder: Path) -> tuple[str, ...]:
    """The program, as `WorkerCommand.program` takes it."""
    path = folder / "stand_in.py"
    path.write_text(PROGRAM.format(support=str(Path(__file__).parent)))
    return (str(path),)


def begun(folder: Path) -> list[dict[str, Any]]:
    """What workers said that have begun, in that order; `slot` besides."""
    paths = sorted(folder.glob("began-*.json"), key=lambda path: path.stem.rpartition("-")[2])
    return [{**json.loads(path.read_text()), "slot": int(path.stem.split("-")[1])} for path in paths]


def wait_for(condition: Callable[[], Any], within_s: float = 240) -> Any:
    """What the condition gives, once it is something."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)
    return found


def is_running(pid: int) -> bool:
    """Whether a process runs; not that it is waited for."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def waits_for_lock(pid: int) -> bool:
    """Whether a process hangs in `flock`, as the kernel says."""
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any("->" in words and str(pid) in words for words in lines)


def kill(pid: int) -> None:
    """kill -9."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def identity_of(process: subprocess.Popen[Any]) -> Owner:
    """What a process would say of itself."""
    return {"machine": owners.machine(), "pid": process.pid, "started": owners._start_time(process.pid)}
