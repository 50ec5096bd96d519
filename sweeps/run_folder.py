"""The run folder of a sweep: checks that it can be used, finds it for workers that join, makes and locks it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from lit_dl.errors import LitError, StorageError
from lit_dl.files import write_text
from sweeps.spec.parse_space import check_distinct_options
from sweeps.spec.parse_spec import load_spec
from sweeps.spec.spec import SweepSpec, check_continues
from sweeps.study.locks import RunFolderLock
from sweeps.study.storage import require_storage, spec_text


def check_folder(run_dir: Path) -> None:
    """Checks, without writing, that a launch can use a run folder.

    Raises:
        StorageError: It cannot be written, holds something else, or another launcher uses it.
    """
    try:
        existing = next(path for path in (run_dir, *run_dir.absolute().parents) if path.exists())
        if not existing.is_dir():
            raise NotADirectoryError(0, f"{existing} is no folder")
        if not os.access(existing, os.W_OK | os.X_OK) or str(existing.absolute()).startswith(("/proc", "/sys")):
            raise PermissionError(0, f"{existing} cannot be written")
        names = {path.name for path in run_dir.iterdir()} if run_dir.exists() else set()
        holds = {name for name in names if not name.startswith(".")}  # a hidden file is one that a worker is writing
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


def with_earlier_defaults(run_dir: Path, spec: SweepSpec) -> SweepSpec:
    """Returns a spec in which what it leaves out is as in the run folder that it continues, if there is one.

    So the trials of a folder are alike although a later version has other defaults.
    """
    path = run_dir / "spec.yaml"
    if not path.exists():
        return replace(spec, divergence=spec.divergence or "loss")
    began = load_spec(path)
    kept = {key: began.base[key] for key in ("early_stopping",) if key in began.base and key not in spec.base}
    divergence = spec.divergence or began.divergence  # `None` in a folder of an earlier version
    return replace(spec, base={**spec.base, **kept}, divergence=divergence)


def check_same(run_dir: Path, spec: SweepSpec) -> None:
    """Checks that a spec continues the sweep in a run folder, or can begin one.

    Raises:
        ConfigError: It changes what must stay the same, or has choices that new sweeps must not have.
    """
    path = run_dir / "spec.yaml"
    if path.exists():
        check_continues(load_spec(path), spec)
    else:
        check_distinct_options(spec.space)


def join_folder(run_dir: Path | None, study: str | None, url: str | None) -> Path:
    """Returns the run folder for a worker that joins a sweep; on another machine, makes one from the study.

    Args:
        run_dir: The run folder; `None`: runs/NAME.
        study: Name of a study in the storage; `None`: that of the run folder.
        url: URL of the storage; `None`: the journal in the run folder.

    Raises:
        StorageError: There is no such folder or study, or the folder belongs to another study or storage.
    """
    if study is None:
        if run_dir is None:
            raise StorageError("RUN_DIR: must be given, or --study NAME with --storage URL")
        if not (run_dir / "spec.yaml").is_file():
            raise StorageError(f"{run_dir}: must be the run folder of a sweep; it has no spec.yaml")
        require_storage(run_dir, url)
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
    """Makes and locks the run folder; removes it again when a `LitError` in the block prevents the first trial."""
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
            with suppress(OSError):  # another launch may have put its folder beside this one
                for path in made:
                    path.rmdir()
        raise
    finally:
        lock.release()
