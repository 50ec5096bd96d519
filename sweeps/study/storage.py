"""Where a study is kept: Optuna's journal in the run folder, made safe against kills and full disks; or a database."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection

from lit_dl.errors import StorageError
from sweeps.spec.spec import SweepSpec
from sweeps.study.locks import locked
from sweeps.study.postgresql import Database
from sweeps.study.sampling import build_pruner, build_sampler

JOURNAL = "study.journal"
STORAGE_VARIABLE = (
    "SWEEPS_STORAGE"  # how workers get a URL: it may hold a password, which no command line or file shows
)
_ANSWER_WITHIN_S = 7.0
# A connection to a server that is gone ends soon; none is tried before each use, as who uses it tries again. Two are
# kept, one for the lock and one for what is done under it: a server has a hundred by default.
_PATIENCE = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
_ENGINE = {
    "pool_size": 2,
    "max_overflow": 3,
    "connect_args": {**_PATIENCE, "tcp_user_timeout": 25_000},
}


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
        self._waits = False

    @contextmanager
    def synced_once(self) -> Iterator[None]:
        """What is appended meanwhile reaches the disk at the end, together: a kill loses none of it, and after a power
        cut, which kills everybody, a claim is there as a whole or in part.
        """
        self._waits = True
        try:
            yield
        finally:
            self._waits = False
            with open(self._file_path, "rb") as file:
                os.fsync(file.fileno())

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with locked(self._lock_path), open(self._file_path, "r+b", buffering=0) as file:
            size = _whole_size(file)
            file.truncate(size)
            file.seek(size)
            try:
                rest = memoryview(lines)
                while rest:
                    rest = rest[file.write(rest) :]
                if not self._waits:
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
            opened.append(RDBStorage(url, engine_kwargs=_ENGINE if is_postgresql(url) else None))
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
    cause = failed[0] if failed else None
    raise StorageError(f"storage {without_password(url)}: {reason}") from cause


def is_postgresql(url: str) -> bool:
    """Whether a storage is one that several machines can share."""
    return url.startswith("postgresql")


@contextmanager
def study_lock(storage: BaseStorage, path: Path) -> Iterator[None]:
    """Holds the lock of a study that belongs to this machine."""
    with locked(path), storage._backend.synced_once() if isinstance(storage, JournalStorage) else nullcontext():  # type: ignore[attr-defined]
        yield


def database_of(storage: BaseStorage, study_name: str) -> Database | None:
    """The server behind a storage; `None` where the study belongs to one machine."""
    if isinstance(storage, RDBStorage) and is_postgresql(storage.url):
        return Database(storage, study_name)
    return None


def open_study(run_dir: Path, spec: SweepSpec, url: str | None, create: bool) -> tuple[BaseStorage, optuna.Study]:
    """A study and where it is kept; see `SharedStudy`."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = open_storage(run_dir, url)
        study = _open(storage, spec, create)
    except (ValueError, LookupError) as error:
        if url is not None:
            raise
        raise StorageError(f"{run_dir / JOURNAL}: must be a journal of Optuna's; damaged ({error})") from None
    kept = [direction.name.lower() for direction in study.directions if direction != StudyDirection.NOT_SET]
    directions = [objective.direction for objective in spec.objectives]
    if kept != directions:
        raise StorageError(
            f"study {spec.name!r}: must keep the directions it began with, {', '.join(kept)}; "
            f"got {', '.join(directions)}; name another study"
        )
    return storage, study


def _open(storage: BaseStorage, spec: SweepSpec, create: bool) -> optuna.Study:
    pruner = build_pruner(spec)
    if not create:
        return optuna.load_study(study_name=spec.name, storage=storage, pruner=pruner)
    directions: Any = [objective.direction for objective in spec.objectives]
    return optuna.create_study(
        storage=storage,
        study_name=spec.name,
        directions=directions,
        sampler=build_sampler(spec, 0),
        pruner=pruner,
        load_if_exists=True,
    )


def spec_text(url: str, study_name: str) -> str:
    """The spec of a study, as its launcher left it for workers on other machines.

    Raises:
        StorageError: The storage is not one that machines share, cannot be opened, or knows no such study.
    """
    if not is_postgresql(url):
        raise StorageError(f"storage {without_password(url)}: must be PostgreSQL, which several machines can share")
    storage = open_storage(Path(), url)
    try:
        found = optuna.load_study(study_name=study_name, storage=storage).user_attrs.get("spec")
    except KeyError:
        found = None
    if found is None:
        names = ", ".join(study.study_name for study in storage.get_all_studies()) or "none"
        raise StorageError(
            f"storage {without_password(url)}: must hold the study {study_name!r} of a sweeps launch; it holds {names}"
        )
    return str(found)


def check_known(run_dir: Path, url: str | None, count: Callable[[], int]) -> None:
    """A folder whose study is gone, or kept elsewhere, must not be filled a second time.

    Args:
        run_dir: The run folder.
        url: The storage.
        count: Tells how many trials the study has; asked after the folder, as workers go on with both.

    Raises:
        StorageError: The folder holds trials that the study does not know.
    """
    folders = run_dir / "trials"
    found = [int(path.name) for path in folders.iterdir() if path.name.isdigit()] if folders.is_dir() else []
    if max(found, default=-1) >= count():
        raise StorageError(
            f"{run_dir}: must be the folder of the study in {without_password(url) if url else run_dir / JOURNAL}, "
            "which knows fewer trials; give the --storage it began with, or name another --run_dir"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def without_password(url: str) -> str:
    """A storage URL as it may be shown, also where its password has characters that it should have escaped."""
    text = re.sub(r"(:(?://)?[^:/?#@]*):.*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&](?:ssl)?password=)[^&]*", r"\1***", text)
