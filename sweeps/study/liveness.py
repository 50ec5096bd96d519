"""The owner of a trial: a process, identified by machine, pid and start time, and whether it is alive."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path

import psutil

Owner = dict[str, object]
"""Keys `machine`, `pid` and `started`; a trial's owner also has `slot` and `since`. Empty: no owner."""


@cache
def machine() -> str:
    """Identifies the space of process ids that this process lives in: host name, boot and container."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    pid_namespace = Path("/proc/self/ns/pid")
    known = [boot.read_text().strip()[:8], str(pid_namespace.stat().st_ino)] if boot.exists() else []
    return "/".join([socket.gethostname(), *known])


def identity() -> Owner:
    """Identifies this process, also against a later process with the same pid."""
    return {"machine": machine(), "pid": os.getpid(), "started": _start_time(os.getpid())}


def _start_time(pid: int) -> str:
    """Returns when a process started, in a form that does not depend on the clock; empty for a dead process."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        # Field 22 is in ticks since boot. psutil's `create_time` adds the time of boot, which changes with the clock.
        stat = Path(f"/proc/{pid}/stat")
        return stat.read_text().rpartition(")")[2].split()[19] if stat.exists() else str(process.create_time())
    except (psutil.NoSuchProcess, OSError):
        return ""


def is_here(owner: Owner) -> bool:
    """Returns whether the owner is a process of this machine, alive or dead, since its last boot."""
    return owner.get("machine") == machine()


def is_alive(owner: Owner, elsewhere: bool = True) -> bool:
    """Returns whether the owner's process still exists. A suspended process is alive.

    Args:
        owner: The owner; an empty one is dead.
        elsewhere: The answer for an owner on another machine, whose processes cannot be seen from here.
    """
    if not owner:
        return False
    if not is_here(owner):
        return elsewhere
    started = _start_time(int(str(owner.get("pid", 0))))
    return bool(started) and started == owner.get("started")
