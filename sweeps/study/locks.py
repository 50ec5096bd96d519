"""File locks between the processes of one machine. The kernel releases them when the holder dies."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lit_dl.errors import StorageError


@contextmanager
def locked(path: Path, opener: Callable[[str, int], int] | None = None) -> Iterator[IO[bytes]]:
    """Holds an exclusive lock on the file, and yields it open to read and append; waits for the current holder.

    Args:
        path: The file.
        opener: As `open` takes it; `None`: a file that does not exist is created.
    """
    with open(path, "a+b", buffering=0, opener=opener) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


class RunFolderLock:
    """Reserves a run folder for one launcher. The lock file names the holder.

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
        """Releases the run folder."""
        self._file.close()
