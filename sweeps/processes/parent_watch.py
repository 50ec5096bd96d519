"""The end of a process when its parent ends: the parent holds the write end of the child's standard input."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable


def wait_for_parent_exit() -> None:
    """Blocks until standard input ends, because the parent closed it or died."""
    while os.read(0, 1024):
        pass


def on_parent_exit(action: Callable[[], None]) -> None:
    """Calls `action` in a daemon thread as soon as the parent has closed standard input or died."""

    def watch() -> None:
        wait_for_parent_exit()
        action()

    threading.Thread(target=watch, name="parent watch", daemon=True).start()


def kill_own_group() -> None:
    """Kills the process group of this process, itself included."""
    os.killpg(0, signal.SIGKILL)
