"""What a study in PostgreSQL needs beyond Optuna's tables: a lock over all machines, and a clock they share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from optuna.storages import RDBStorage

from lit_dl.seeds import derive

LEASE_S = 30.0
"""How long an owner on another machine is taken for alive since it last said so."""


class Database:
    """A PostgreSQL server, seen as what several machines have in common.

    Args:
        storage: Optuna's storage on it.
        study_name: The study that is locked.
    """

    def __init__(self, storage: RDBStorage, study_name: str) -> None:
        self._engine = storage.engine
        self._key = derive(0, "study lock", study_name)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the study's advisory lock; the server frees it when this process or its connection dies.

        An owner that vanishes with the lock, as its machine loses power, is cut off after `LEASE_S`.
        """
        from sqlalchemy import text  # only where there is a database: importing it takes a while

        with self._engine.begin() as connection:
            self._holding = connection
            connection.execute(text(f"set local idle_in_transaction_session_timeout = '{LEASE_S:.0f}s'"))
            connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": self._key})
            yield

    def check_lock(self) -> None:
        """Asks the server whether the lock is still held; called before what must not be done without.

        Raises:
            sqlalchemy.exc.InternalError: It is not: this process hung for longer than `LEASE_S`.
        """
        from sqlalchemy import text

        self._holding.execute(text("select 1"))

    def lease(self) -> float:
        """Until when an owner that says so now is taken for alive, by the server's clock."""
        return self.now() + LEASE_S

    def now(self) -> float:
        """The server's clock, in seconds: that of no machine, so their clocks may differ."""
        from sqlalchemy import text

        with self._engine.connect() as connection:
            return float(connection.execute(text("select extract(epoch from clock_timestamp())")).scalar_one())
