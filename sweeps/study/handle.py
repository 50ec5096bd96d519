"""What the parts of a shared study have in common: Optuna's study, its storage, the study lock and the retries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import JournalStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from sweeps.study.journal import CrashSafeJournal
from sweeps.study.locks import locked
from sweeps.study.postgresql import PostgresCoordinator
from sweeps.study.retry import OutageRetry


class StudyHandle:
    """A study that is open in this process.

    Args:
        study: Optuna's study.
        coordinator: The server that several machines share; `None`: the study belongs to one machine.
        lock_path: The file that is locked where there is no server.
    """

    def __init__(self, study: optuna.Study, coordinator: PostgresCoordinator | None, lock_path: Path) -> None:
        self.study = study
        self.storage = study._storage
        self.coordinator = coordinator
        self.retry = OutageRetry()
        self._lock_path = lock_path
        self.run_dir = lock_path.parent

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the study lock, which all processes of the study share. The lock is freed when its holder dies."""
        if self.coordinator:
            with self.coordinator.lock():
                yield
        else:
            with locked(self._lock_path), self._batched_fsync():
                yield

    @contextmanager
    def _batched_fsync(self) -> Iterator[None]:
        backend = self.storage._backend if isinstance(self.storage, JournalStorage) else None
        if isinstance(backend, CrashSafeJournal):
            with backend.batched_fsync():
                yield
        else:
            yield

    def check_lock(self) -> None:
        """Raises an error when the lock was lost; only a server takes it from a process that hangs."""
        if self.coordinator:
            self.coordinator.check_lock()

    def trials(self, states: Iterable[TrialState] | None = None) -> list[FrozenTrial]:
        """Returns all trials, or those in the given states, by number. They must not be modified."""
        return self.study.get_trials(deepcopy=False, states=None if states is None else tuple(states))

    def close(self) -> None:
        """Closes the connections to a database; they are opened again when the study is used."""
        backend = getattr(self.storage, "_backend", None)  # of the cache that Optuna puts around a database
        if isinstance(backend, RDBStorage):
            backend.remove_session()
            backend.engine.dispose()
