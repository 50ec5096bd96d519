"""Opens the storage of a study: the journal in the run folder, or a database."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.study import StudyDirection

from lit_dl.errors import StorageError
from sweeps.spec.spec import SweepSpec
from sweeps.study.handle import StudyHandle
from sweeps.study.journal import CrashSafeJournal
from sweeps.study.postgresql import PostgresCoordinator
from sweeps.study.sampling import build_pruner, build_sampler

JOURNAL = "study.journal"
STORAGE_VARIABLE = "SWEEPS_STORAGE"
"""Environment variable that passes a URL to workers. It may hold a password, so no command line or file shows it."""

_CONNECT_TIMEOUT_S = 20.0
# A connection to a server that is gone fails soon. Connections are not tested before each use (`pool_pre_ping`),
# because the caller retries. The pool keeps two: one holds the lock, the other does the work under it. A server allows
# 100 connections by default.
_CONNECTION_OPTIONS = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
_ENGINE_OPTIONS = {"pool_size": 2, "max_overflow": 3, "connect_args": _CONNECTION_OPTIONS}


def storage_url(given: str | None) -> str | None:
    """Returns the URL of the storage; `None`: the journal in the run folder.

    Args:
        given: As the user gave it; `None`: the environment has it, so that no command line shows its password.
    """
    return given if given is not None else os.environ.get(STORAGE_VARIABLE)


def open_storage(run_dir: Path, url: str | None) -> BaseStorage:
    """Opens the storage of a study.

    Args:
        run_dir: The run folder, which holds the journal.
        url: URL of a database, as SQLAlchemy takes it; `None`: the journal.

    Raises:
        StorageError: The storage cannot be opened, or its server does not answer within 20 s.
    """
    return JournalStorage(CrashSafeJournal(run_dir / JOURNAL)) if url is None else _open_database(url)


def _open_database(url: str) -> RDBStorage:
    """Opens a database; where a server may not answer, in a thread that is then left behind."""
    opened: list[RDBStorage] = []
    errors: list[Exception] = []

    def connect() -> None:
        try:
            opened.append(RDBStorage(url, engine_kwargs=_ENGINE_OPTIONS if is_postgresql(url) else None))
        except Exception as error:  # of SQLAlchemy, the driver, or an import
            errors.append(error)

    if url.startswith("sqlite"):  # a file: no server that may not answer, however busy the machine is
        connect()
    else:
        thread = threading.Thread(target=connect, daemon=True)
        thread.start()
        thread.join(_CONNECT_TIMEOUT_S)
    if opened:
        return opened[0]
    error = errors[0] if errors else None
    raise StorageError(f"storage {without_password(url)}: {_connect_problem(error)}") from error


def _connect_problem(error: Exception | None) -> str:
    if error is None:
        return f"does not answer within {_CONNECT_TIMEOUT_S:.0f} s"
    if isinstance(error, ImportError):
        return f"needs a driver ({error}); for PostgreSQL pip install 'lit-sweeps[postgresql]'"
    first_line = str(error).strip().split("\n")[0]
    return f"cannot be opened ({first_line})"


def is_postgresql(url: str) -> bool:
    """Returns whether several machines can share the storage."""
    return url.startswith("postgresql")


def coordinator_of(storage: BaseStorage, study_name: str) -> PostgresCoordinator | None:
    """Returns the server behind a storage; `None` where the study belongs to one machine."""
    if isinstance(storage, RDBStorage) and is_postgresql(storage.url):
        return PostgresCoordinator(storage, study_name)
    return None


def require_storage(run_dir: Path, url: str | None) -> None:
    """Refuses a run folder without a journal whose study is to be opened there.

    Raises:
        StorageError: The study is in a database.
    """
    if url is None and not (run_dir / JOURNAL).is_file():
        raise StorageError(
            f"{run_dir}: must have a study in it; its sweep uses a database; give its URL (--storage, $SWEEPS_STORAGE)"
        )


def open_study(run_dir: Path, spec: SweepSpec, url: str | None, create: bool) -> StudyHandle:
    """Opens a study; see `SharedStudy`."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = open_storage(run_dir, url)
        study = _load_or_create(storage, spec, create)
    except (ValueError, LookupError) as error:
        if url is not None:
            raise
        raise StorageError(f"{run_dir / JOURNAL}: must be a journal of Optuna's; damaged ({error})") from None
    _check_directions(study, spec)
    return StudyHandle(study, coordinator_of(storage, spec.name), run_dir / "study.lock")


def _load_or_create(storage: BaseStorage, spec: SweepSpec, create: bool) -> optuna.Study:
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


def _check_directions(study: optuna.Study, spec: SweepSpec) -> None:
    stored = [direction.name.lower() for direction in study.directions if direction != StudyDirection.NOT_SET]
    directions = [objective.direction for objective in spec.objectives]
    if stored != directions:
        raise StorageError(
            f"study {spec.name!r}: must keep the directions it began with, {', '.join(stored)}; "
            f"got {', '.join(directions)}; name another study"
        )


def spec_text(url: str, study_name: str) -> str:
    """Reads the spec of a study that a launcher stored for workers on other machines.

    Raises:
        StorageError: The storage is not PostgreSQL, cannot be opened, or has no such study.
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
    """Refuses a folder that holds trials of a lost study, or of a study in another storage.

    Args:
        run_dir: The run folder.
        url: The storage.
        count: Returns the number of trials in the study. It is called after the folder is read, because workers may
            add trials to both meanwhile.

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


def without_password(url: str) -> str:
    """Masks the password of a storage URL, also one with characters that should have been escaped."""
    text = re.sub(r"(:(?://)?[^:/?#@]*):.*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&](?:ssl)?password=)[^&]*", r"\1***", text)
