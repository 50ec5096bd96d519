"""Coordination over several machines: a lock and a clock, both of a PostgreSQL server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from optuna.storages import RDBStorage

from lit_dl.seeds import derive

LEASE_S = 30.0
"""Seconds after its last heartbeat until an owner on another machine counts as dead."""


class PostgresCoordinator:
    """Coordinates the processes that share a study in PostgreSQL.

    Args:
        storage: Optuna's storage on the server.
        study_name: The study that is locked.
    """

    def __init__(self, storage: RDBStorage, study_name: str) -> None:
        self._engine = storage.engine
        self._key = derive(0, "study lock", study_name)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the study's advisory lock.

        The server releases the lock when the process or its connection dies. It ends the session of a holder that is
        idle for `LEASE_S`, because a machine that lost power does not close its connection. The holder then gets an
        error at its next use of the session, at the latest on exit from the block.
        """
        from sqlalchemy import text  # imported here, because it is slow to import and the journal does not need it

        with self._engine.begin() as connection:
            self._lock_connection = connection
            connection.execute(text(f"set local idle_in_transaction_session_timeout = '{LEASE_S:.0f}s'"))
            connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": self._key})
            yield

    def check_lock(self) -> None:
        """Verifies that this process still holds the lock; called before writes that are unsafe without it.

        Raises:
            sqlalchemy.exc.InternalError: The lock was lost, because this process hung for longer than `LEASE_S`.
        """
        from sqlalchemy import text

        self._lock_connection.execute(text("select 1"))

    def lease(self) -> float:
        """Returns when a lease that is renewed now expires, by the server's clock."""
        return self.now() + LEASE_S

    def now(self) -> float:
        """Returns the server's time in seconds. All machines use it, so their own clocks may differ."""
        from sqlalchemy import text

        with self._engine.connect() as connection:
            return float(connection.execute(text("select extract(epoch from clock_timestamp())")).scalar_one())
