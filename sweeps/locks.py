"""Locks between processes of one machine, held by the kernel: they end with the process that holds them."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil

from lit_dl.errors import StorageError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file exclusively; waits for whoever has it."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class RunFolderLock:
    """Says that a run folder is in use, and by whom.

    Args:
        run_dir: The run folder.

    Raises:
        StorageError: Another launcher holds it; the error names its process.
    """

    def __init__(self, run_dir: Path) -> None:
        try:
            self._file: IO[str] = (run_dir / "lock").open("a+")
        except OSError as error:
            raise StorageError(f"{run_dir / 'lock'}: must be a file that can be written ({error.strerror})") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise StorageError(
                f"{run_dir}: must not be in use; process {holder} runs this sweep; wait for it, or stop it"
            ) from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()} on {socket.gethostname()}")
        self._file.flush()

    def release(self) -> None:
        """Frees the folder."""
        self._file.close()


def identity() -> dict[str, object]:
    """What tells this process from every other, also from a later one with its number."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}


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


def is_alive(owner: dict[str, object], hosts: bool = False) -> bool:
    """Whether the process of an `identity` still runs.

    Args:
        owner: The identity; an empty one is dead.
        hosts: Take processes on other machines for dead; otherwise for alive, as nothing is known of them here.
    """
    if not owner:
        return False
    if owner.get("host") != socket.gethostname():
        return not hosts
    started = _started(int(str(owner.get("pid", 0))))
    return bool(started) and started == owner.get("started")
