"""Files that are whole or not there, and a full disk that is waited for."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import sleep

_LONGEST_PAUSE_S = 10.0


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Writes the text under another name, then renames: a reader sees the old file or the new one, never a part.

    Args:
        path: The file; its folder exists.
        text: What it shall hold.
        durable: Whether the file must survive: it is on the disk before it is renamed, and a full disk is waited for.
            Otherwise a full disk is an `OSError`.
    """
    write_bytes(path, text.encode("utf-8"), durable=durable)


def write_bytes(path: Path, content: bytes | memoryview, *, durable: bool = False) -> None:
    """As `write_text`, for bytes."""
    if durable:
        retry_on_full_disk(path, lambda: _write(path, content, synced=True))
    else:
        _write(path, content, synced=False)


def _write(path: Path, content: bytes | memoryview, synced: bool) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            if synced:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def retry_on_full_disk(path: Path, write: Callable[[], None]) -> None:
    """Writes; when the disk is full, says so, and tries again until there is space.

    Args:
        path: What is written, for the message.
        write: Writes it, and leaves nothing behind where it fails.
    """
    pause_s = 1.0
    while True:
        try:
            write()
            break
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
        if pause_s == 1.0:
            _say(f"{path}: no space left on the device; waiting for space")
        sleep(pause_s)
        pause_s = min(1.5 * pause_s, _LONGEST_PAUSE_S)
    if pause_s > 1.0:
        _say(f"{path}: written; going on")


def _say(line: str) -> None:
    with suppress(OSError):  # what is printed may go to the full disk as well
        print(line, flush=True)
