"""Who works on a trial: a process that nothing else is taken for, and whether it still lives."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path

import psutil

Owner = dict[str, object]


@cache
def machine() -> str:
    """What tells the process numbers here from those elsewhere: host, boot, and the container's numbering."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    numbering = Path("/proc/self/ns/pid")
    known = [boot.read_text().strip()[:8], str(numbering.stat().st_ino)] if boot.exists() else []
    return "/".join([socket.gethostname(), *known])


def identity() -> Owner:
    """What tells this process from every other, also from a later one with its number."""
    return {"machine": machine(), "pid": os.getpid(), "started": _started(os.getpid())}


def _started(pid: int) -> str:
    """When a process began, in a form that does not change when the clock is set; empty when it is no more."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        stat = Path(f"/proc/{pid}/stat")  # in ticks since the machine started; psutil adds the time of the clock
        return stat.read_text().rpartition(")")[2].split()[19] if stat.exists() else str(process.create_time())
    except (psutil.NoSuchProcess, OSError):
        return ""


def is_here(owner: Owner) -> bool:
    """Whether its process is, or was, one of this machine since it started."""
    return owner.get("machine") == machine()


def is_alive(owner: Owner, elsewhere: bool = True) -> bool:
    """Whether the process of an `identity` still runs; suspended, it does.

    Args:
        owner: The identity; an empty one is dead.
        elsewhere: What to say of processes on other machines, of which nothing is known here.
    """
    if not owner:
        return False
    if not is_here(owner):
        return elsewhere
    started = _started(int(str(owner.get("pid", 0))))
    return bool(started) and started == owner.get("started")
