"""Paths as a shell reads them; file writes that are atomic, and that wait while the disk is full; CSV text.

Imports no torch, and tenacity only where a file is written durably, so that commands stay fast.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenacity import RetryCallState

_BACKOFF_FACTOR = 1.5
_LONGEST_PAUSE_S = 10.0


def expand_path(text: str) -> str:
    """Returns a path with the home folder or an environment variable that it begins with, as a shell would.

    Only `~/`, `$NAME/` and `${NAME}/` at the beginning stand for something; a text without one is returned as it is.
    """
    if not re.match(r"(~|\$\w+|\$\{\w+\})(/|$)", text):
        return text
    return os.path.expanduser(os.path.expandvars(text))


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns rows as CSV. The columns are the keys of all rows, in order of appearance; `None` is an empty cell."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Writes a text atomically: it is written to a temporary file, which is then renamed.

    A reader sees the old file or the new one, never a part of it.

    Args:
        path: The file. Its folder exists.
        text: The content.
        durable: Whether the content must survive a power cut. Then the file is synced before it is renamed, and a full
            disk is waited for. Otherwise a full disk is an `OSError`.
    """
    write_bytes(path, text.encode("utf-8"), durable=durable)


def write_bytes(path: Path, content: bytes | memoryview, *, durable: bool = False) -> None:
    """Writes bytes atomically, as `write_text` does."""
    if durable:
        retry_on_full_disk(path, lambda: _replace(path, content, sync=True))
    else:
        _replace(path, content, sync=False)


def _replace(path: Path, content: bytes | memoryview, sync: bool) -> None:
    # The process id keeps the temporary files of two processes apart. `resume.remove_unfinished` deletes those that a
    # killed process left behind.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def is_disk_full(error: BaseException) -> bool:
    """Returns whether an error says that the disk or the user's quota is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def retry_on_full_disk(path: Path, write: Callable[[], None]) -> None:
    """Calls `write`, and retries with exponential back-off while the disk is full. Prints a line when it waits.

    Args:
        path: The file or folder that is written, for the message.
        write: Writes it. It must leave nothing behind when it fails.
    """
    from tenacity import Retrying, retry_if_exception, wait_exponential

    def announce(state: RetryCallState) -> None:
        if state.attempt_number == 1:
            _print(f"{path}: no space left on the device; waiting for space")

    retrying = Retrying(
        retry=retry_if_exception(is_disk_full),
        wait=wait_exponential(exp_base=_BACKOFF_FACTOR, max=_LONGEST_PAUSE_S),
        sleep=sleep,
        before_sleep=announce,
    )
    retrying(write)
    if retrying.statistics["attempt_number"] > 1:
        _print(f"{path}: written; going on")


def _print(line: str) -> None:
    with suppress(OSError):  # standard output may be a file on the same full disk
        print(line, flush=True)
