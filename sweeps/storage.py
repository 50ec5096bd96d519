"""Where a study is kept: Optuna's journal in the run folder, made safe against kills and full disks; or a database."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from lit_dl.errors import StorageError
from sweeps.locks import locked

JOURNAL = "study.journal"
STORAGE_VARIABLE = (
    "SWEEPS_STORAGE"  # how workers get a URL: it may hold a password, which no command line or file shows
)
_ANSWER_WITHIN_S = 7.0


class Journal(JournalFileBackend):
    """Optuna's journal file, whose every line is whole.

    A process that dies while it appends leaves part of a line, to which the next append would add, and the file could
    never be read again. Here an append first cuts such a rest off, and takes itself back when it fails. Its lock is
    `flock`: Optuna's own lock files outlive a killed process and stall the others for 30 s.

    Args:
        path: The journal.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._lock_path = path.with_suffix(path.suffix + ".lock")

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with locked(self._lock_path), open(self._file_path, "r+b") as file:
            size = _whole_size(file)
            file.truncate(size)
            file.seek(size)
            try:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise


def _whole_size(file: IO[bytes]) -> int:
    """Bytes up to the end of the last whole line."""
    size = file.seek(0, os.SEEK_END)
    while size:
        block = min(size, 4096)
        file.seek(size - block)
        end = file.read(block).rfind(b"\n")
        if end >= 0:
            return size - block + end + 1
        size -= block
    return 0


def open_storage(run_dir: Path, url: str | None) -> BaseStorage:
    """The storage of a study.

    Args:
        run_dir: The run folder, which holds the journal.
        url: A database, as SQLAlchemy writes it; `None`: the journal.

    Raises:
        StorageError: It cannot be opened, or does not answer within 7 s.
    """
    if url is None:
        return JournalStorage(Journal(run_dir / JOURNAL))
    opened: list[BaseStorage] = []
    failed: list[Exception] = []

    def attempt() -> None:
        try:
            opened.append(RDBStorage(url))
        except Exception as error:  # SQLAlchemy's, the driver's, ImportError: all say why
            failed.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(_ANSWER_WITHIN_S)
    if opened:
        return opened[0]
    if failed and isinstance(failed[0], ImportError):
        reason = f"needs a driver ({failed[0]}); for PostgreSQL pip install 'lit-sweeps[postgresql]'"
    else:
        reason = (
            f"cannot be opened ({_first_line(failed[0])})"
            if failed
            else f"does not answer within {_ANSWER_WITHIN_S:.0f} s"
        )
    raise StorageError(f"storage {without_password(url)}: {reason}")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def without_password(url: str) -> str:
    """A storage URL as it may be shown."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not a URL)"
    if parts.password is None:
        return url
    return parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")).geturl()
