"""What else there can be in the folder of a sweep: one context manager each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bad_input.case import RUN_DIR


@contextmanager
def sweep_folder(folder: Path, resolved: str) -> Iterator[None]:
    """A run folder of the valid sweep, which has not begun."""
    (folder / RUN_DIR).mkdir(parents=True)
    (folder / RUN_DIR / "spec.yaml").write_text(resolved)
    yield


@contextmanager
def begun_study(folder: Path, resolved: str) -> Iterator[None]:
    """A run folder of the valid sweep, with a study in which no trial has completed."""
    from sweeps.spec.parse_spec import load_spec
    from sweeps.study.study import SharedStudy

    with sweep_folder(folder, resolved):
        SharedStudy(folder / RUN_DIR, load_spec(folder / RUN_DIR / "spec.yaml"), create=True)
        yield


@contextmanager
def broken_sweep_folder(folder: Path, resolved: str) -> Iterator[None]:
    with sweep_folder(folder, resolved):
        (folder / RUN_DIR / "spec.yaml").write_text("base: {\nname: [")
        yield


@contextmanager
def used_folder(folder: Path, resolved: str) -> Iterator[None]:
    from sweeps.study.locks import RunFolderLock

    with sweep_folder(folder, resolved):
        lock = RunFolderLock(folder / RUN_DIR)
        try:
            yield
        finally:
            lock.release()


@contextmanager
def other_folder(folder: Path, resolved: str) -> Iterator[None]:
    """A folder of something else in the run folder's place."""
    (folder / RUN_DIR).mkdir(parents=True)
    (folder / RUN_DIR / "thesis.txt").write_text("do not touch")
    yield


@contextmanager
def file_in_place(folder: Path, resolved: str) -> Iterator[None]:
    """A file in the run folder's place."""
    (folder / RUN_DIR).parent.mkdir()
    (folder / RUN_DIR).write_text("a file")
    yield


@contextmanager
def torn_status(folder: Path, resolved: str) -> Iterator[None]:
    with sweep_folder(folder, resolved):
        (folder / RUN_DIR / "status.json").write_text('{"name": "sw')
        yield


@contextmanager
def damaged_journal(folder: Path, resolved: str) -> Iterator[None]:
    with sweep_folder(folder, resolved):
        (folder / RUN_DIR / "study.journal").write_text("not json\n{}\n")
        yield


@contextmanager
def lock_is_folder(folder: Path, resolved: str) -> Iterator[None]:
    with sweep_folder(folder, resolved):
        (folder / RUN_DIR / "lock").mkdir()
        yield


@contextmanager
def other_directions(folder: Path, resolved: str) -> Iterator[None]:
    """A database with a study of the sweep's name that minimizes."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder}/studies.db")
    optuna.create_study(storage=storage, study_name="sweep", direction="minimize")
    storage.engine.dispose()
    yield


@contextmanager
def finished_run(folder: Path, resolved: str) -> Iterator[None]:
    """A folder with the config of an earlier `lit-dl fit`."""
    (folder / "done").mkdir()
    (folder / "done" / "config.yaml").write_text("{}")
    yield
