"""The run folder of a sweep: may it be used, is it the same sweep's, who has it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lit_dl.errors import LitError, StorageError
from lit_dl.files import write_text
from sweeps.spec.parse_spec import load_spec
from sweeps.spec.spec import SweepSpec, check_continues
from sweeps.study.locks import RunFolderLock
from sweeps.study.storage import JOURNAL, spec_text


def check_folder(run_dir: Path) -> None:
    try:
        place = next(path for path in (run_dir, *run_dir.absolute().parents) if path.exists())
        if not place.is_dir():
            raise NotADirectoryError(0, f"{place} is no folder")
        if not os.access(place, os.W_OK | os.X_OK) or str(place.absolute()).startswith(("/proc", "/sys")):
            raise PermissionError(0, f"{place} cannot be written")
        names = {path.name for path in run_dir.iterdir()} if run_dir.exists() else set()
        holds = {name for name in names if not name.startswith(".")}  # such as another worker's, half written
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


def join_folder(run_dir: Path | None, study: str | None, url: str | None) -> Path:
    """The run folder for a worker that joins a sweep: the launcher's, or one of its own on another machine.

    Args:
        run_dir: The folder; `None`: runs/NAME.
        study: Name of a study in the storage; `None`: the folder says.
        url: The storage; `None`: the journal in the folder.

    Raises:
        StorageError: There is no such folder or study, or it belongs to another storage.
    """
    if study is None:
        if run_dir is None:
            raise StorageError("RUN_DIR: must be given, or --study NAME with --storage URL")
        if not (run_dir / "spec.yaml").is_file():
            raise StorageError(f"{run_dir}: must be the run folder of a sweep; it has no spec.yaml")
        if url is None and not (run_dir / JOURNAL).is_file():
            raise StorageError(f"{run_dir}: must have a study in it; its sweep uses a database; give its --storage")
        return run_dir
    if url is None:
        raise StorageError("--study: must come with --storage URL, or $SWEEPS_STORAGE")
    text = spec_text(url, study)
    run_dir = run_dir or Path("runs") / study
    if not (run_dir / "spec.yaml").exists():
        check_folder(run_dir)
        run_dir.mkdir(parents=True, exist_ok=True)
    elif (name := load_spec(run_dir / "spec.yaml").name) != study:
        raise StorageError(f"{run_dir}: must not be the run folder of another study, {name!r}; name another RUN_DIR")
    if not (run_dir / "spec.yaml").exists() or (run_dir / "spec.yaml").read_text(encoding="utf-8") != text:
        write_text(run_dir / "spec.yaml", text)
    return run_dir


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
        if run_dir in made and not (run_dir / "trials").exists():
            for path in run_dir.iterdir():
                path.unlink()
            with suppress(OSError):  # a folder above may hold another sweep by now
                for path in made:
                    path.rmdir()
        raise
    finally:
        lock.release()
