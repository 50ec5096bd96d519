"""The storage backend for one machine: Optuna's journal file, made safe against kills and full disks.

The journal is a file with one JSON record a line. Optuna reads it from the beginning and fails on a line that is not
JSON.

Torn tail: a process that is killed while it appends may leave a part of a record without a newline. With Optuna's own
backend, the next append is glued to that part, and no process can open the study any more. Here every append, under
the file lock, first truncates the file to the end of its last whole line. The torn record is lost, and that is
correct: its writer died before the write returned, so nobody acted on it. An append that fails, as on a full disk, is
taken back, so that a retry does not write the record twice.

Other clients: a program that uses Optuna's own backend may append at any time, without our lock. The kernel appends
the bytes of one write as a whole, so neither side needs the lock of the other for that. Only cutting off bytes could
hit a record that a client has just appended. It is done under Optuna's lock as well, which clients hold for an append.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from typing import IO, Any

from optuna.storages.journal import JournalFileBackend

from sweeps.study.locks import locked

_BLOCK_BYTES = 4096
_CLIENT_GRACE_S = 30.0  # after which Optuna, too, takes the lock file of a client for one that a killed client left


class CrashSafeJournal(JournalFileBackend):
    """Optuna's journal file, in which every line is a whole record.

    Appends are serialized by `flock` on the file itself, which the kernel releases when a process dies. Optuna's own
    lock files outlive a killed process and block all others for 30 s.

    Args:
        path: The journal file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._client_lock = path.with_suffix(path.suffix + ".lock")
        self._defers_fsync = False
        _remove_lock_of_older_versions(self._client_lock)

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
        with locked(Path(self._file_path), _open_existing) as file:
            if _size_of_whole_lines(file) < file.seek(0, os.SEEK_END):
                self._cut_torn_record(file)
            written = 0
            try:
                written = file.write(lines)
                if written < len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._file_path)
                if not self._defers_fsync:
                    os.fsync(file.fileno())
            except OSError:
                self._take_back(file, written)
                raise

    def _cut_torn_record(self, file: IO[bytes]) -> None:
        """Drops what a killed process left; a client's record that was still being written is whole by then."""
        with _locked_for_clients(self._client_lock):
            file.truncate(_size_of_whole_lines(file))

    def _take_back(self, file: IO[bytes], count: int) -> None:
        """Removes the bytes that were just appended, and keeps what clients have appended since."""
        if not count:
            return
        end = file.tell()
        with _locked_for_clients(self._client_lock):
            later = file.read()
            file.truncate(end - count)
            file.write(later)


def _open_existing(path: str, flags: int) -> int:
    """Opens a file that exists; a journal that was deleted must not begin anew in the middle of a study."""
    return os.open(path, flags & ~os.O_CREAT)


@contextmanager
def _locked_for_clients(path: Path) -> Iterator[None]:
    """Holds Optuna's lock file.

    Optuna's own class waits for ever when the lock was left by a client that named the journal by a relative path.
    """
    deadline = time.monotonic() + _CLIENT_GRACE_S
    while True:
        try:
            path.symlink_to(path.stem)
            break
        except FileExistsError:
            if time.monotonic() > deadline:
                path.unlink(missing_ok=True)
            time.sleep(0.001)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _remove_lock_of_older_versions(path: Path) -> None:
    """Removes the file that older versions locked by `flock`: a client would wait 30 s for it to go."""
    with suppress(FileNotFoundError):
        found = path.lstat()
        if S_ISREG(found.st_mode) and time.time() - found.st_mtime > _CLIENT_GRACE_S:
            path.unlink()


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
