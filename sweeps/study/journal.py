"""The storage backend for one machine: Optuna's journal file, made safe against kills and full disks.

The journal is a file with one JSON record a line. Optuna reads it from the beginning and fails on a line that is not
JSON.

Torn tail: a process that is killed while it appends may leave a part of a record without a newline. With Optuna's own
backend, the next append is glued to that part, and no process can open the study any more. Here every append, under
the file lock, first truncates the file to the end of its last whole line. The torn record is lost, and that is
correct: its writer died before the write returned, so nobody acted on it. An append that fails, as on a full disk,
truncates the file back to where it began, so that a retry does not write the record twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from optuna.storages.journal import JournalFileBackend

from sweeps.study.locks import locked

_BLOCK_BYTES = 4096


class CrashSafeJournal(JournalFileBackend):
    """Optuna's journal file, in which every line is a whole record.

    Appends are serialized by `flock`, which the kernel releases when a process dies. Optuna's own lock files outlive a
    killed process and block all others for 30 s.

    Args:
        path: The journal file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._lock_path = path.with_suffix(path.suffix + ".lock")
        self._defers_fsync = False

    @contextmanager
    def batched_fsync(self) -> Iterator[None]:
        """Syncs the appends inside the block once, on exit.

        A process kill loses none of them. A power cut may lose the last records of the block, but then every process
        is dead, and recovery starts from what is on the disk.
        """
        self._defers_fsync = True
        try:
            yield
        finally:
            self._defers_fsync = False
            with open(self._file_path, "rb") as file:
                os.fsync(file.fileno())

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Appends the records as a whole or not at all.

        Raises:
            OSError: The disk is full, for example; the file is as it was before.
        """
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with locked(self._lock_path), open(self._file_path, "r+b", buffering=0) as file:
            size = _size_of_whole_lines(file)
            file.truncate(size)  # drops the torn record of a killed process
            file.seek(size)
            try:
                rest = memoryview(lines)
                while rest:  # an unbuffered write may write less than it was given
                    rest = rest[file.write(rest) :]
                if not self._defers_fsync:
                    os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise


def _size_of_whole_lines(file: IO[bytes]) -> int:
    """Returns the size in bytes up to and including the last newline; searches backwards in blocks."""
    size = file.seek(0, os.SEEK_END)
    while size:
        block = min(size, _BLOCK_BYTES)
        file.seek(size - block)
        newline = file.read(block).rfind(b"\n")
        if newline >= 0:
            return size - block + newline + 1
        size -= block
    return 0
