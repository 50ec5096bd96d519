from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lit_dl.errors import StorageError
from sweeps.study.locks import RunFolderLock, locked

HOLD = """
import sys
from pathlib import Path
from sweeps.study.locks import RunFolderLock, locked
path = Path(sys.argv[1])
if path.is_dir():
    lock = RunFolderLock(path)
    print("held", flush=True)
    sys.stdin.readline()
else:
    with locked(path):
        print("held", flush=True)
        sys.stdin.readline()
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a lock."""
    words = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_excludes_until_its_holder_ends_however_that_is(tmp_path: Path, number: signal.Signals) -> None:
    got = threading.Event()

    def take() -> None:
        with locked(tmp_path / "file"):
            got.set()

    with holder(tmp_path / "file") as process:
        thread = threading.Thread(target=take)
        thread.start()
        assert not got.wait(0.3)
        process.send_signal(number)
        assert got.wait(10)
        thread.join()


def test_an_error_inside_frees_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "file"):
        1 / 0  # noqa: B018
    with locked(tmp_path / "file"):
        pass


def test_a_run_folder_in_use_is_refused_by_the_name_of_its_process(tmp_path: Path) -> None:
    with (
        holder(tmp_path) as process,
        pytest.raises(StorageError, match=f"must not be in use; process {process.pid} on"),
    ):
        RunFolderLock(tmp_path)
    lock = RunFolderLock(tmp_path)  # the process is gone, and its name in the file means nothing
    assert (tmp_path / "lock").read_text().split()[0] == str(os.getpid())
    lock.release()
    RunFolderLock(tmp_path).release()


def test_a_lock_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(StorageError, match=r"lock: must be a file that can be written"):
        RunFolderLock(tmp_path)
