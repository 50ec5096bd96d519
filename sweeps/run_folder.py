"""The run folder of a sweep: may it be used, is it the same sweep's, who has it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lit_dl.errors import LitError, StorageError
from sweeps.locks import RunFolderLock
from sweeps.spec import SweepSpec, check_continues
from sweeps.spec_file import load_spec


def check_folder(run_dir: Path) -> None:
    try:
        place = next(path for path in (run_dir, *run_dir.absolute().parents) if path.exists())
        if not place.is_dir():
            raise NotADirectoryError(0, f"{place} is no folder")
        if not os.access(place, os.W_OK | os.X_OK) or str(place.absolute()).startswith(("/proc", "/sys")):
            raise PermissionError(0, f"{place} cannot be written")
        holds = {path.name for path in run_dir.iterdir()} if run_dir.exists() else set()
    except OSError as error:
        raise _unwritable(run_dir, error) from None
    if holds and "spec.yaml" not in holds:
        raise StorageError(
            f"{run_dir}: must be new, empty, or the run folder of a sweep; it has no spec.yaml; name another --run_dir"
        )
    if "lock" in holds:
        RunFolderLock(run_dir).release()


def _unwritable(run_dir: Path, error: OSError) -> StorageError:
    return StorageError(f"{run_dir}: must be a folder that can be written ({error.strerror}); name another --run_dir")


def check_same(run_dir: Path, spec: SweepSpec) -> None:
    path = run_dir / "spec.yaml"
    if path.exists():
        check_continues(load_spec(path), spec)


@contextmanager
def open_folder(run_dir: Path) -> Iterator[None]:
    """Makes and locks the run folder; takes it away again when what follows refuses to start."""
    made = [path for path in (run_dir, *run_dir.parents) if not path.exists()]
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(run_dir, error) from None
    lock = RunFolderLock(run_dir)
    try:
        yield
    except LitError:
        if run_dir in made:
            for path in run_dir.iterdir():
                path.unlink()
        for path in made:
            path.rmdir()
        raise
    finally:
        lock.release()
