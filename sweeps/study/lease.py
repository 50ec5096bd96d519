"""The lease of a worker on its trial, kept alive by heartbeats."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from sweeps.study.postgresql import LEASE_S

_HEARTBEAT_S = LEASE_S / 6


class Lease:
    """Renews the lease on a trial from a heartbeat thread, and knows when the lease was lost.

    A process that was suspended, or cut off from the database, for longer than a lease lasts may have lost its trial
    to another worker. `is_set` therefore renews before it lets the run continue.

    Args:
        renew: Extends the lease; returns false when the trial belongs to another worker. `None`: there are no leases,
            because all owners are on this machine, where a suspended process can be seen to be alive.
        stopped: Returns whether the worker must stop for another reason.
    """

    def __init__(self, renew: Callable[[], bool] | None, stopped: Callable[[], bool]) -> None:
        self._renew = renew
        self._stopped = stopped
        self._renewed_at = _clock()
        self._lost = False
        self._ended = threading.Event()
        self._renewing = threading.Lock()

    def __enter__(self) -> Lease:
        if self._renew is not None:
            threading.Thread(target=self._heartbeat, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()

    def _heartbeat(self) -> None:
        while not self._ended.wait(_HEARTBEAT_S) and not self._lost:
            self._renew_once()

    def _renew_once(self) -> None:
        assert self._renew is not None
        with self._renewing:
            started_at = _clock()  # the lease counts from the request, as the answer may take long
            try:
                is_ours = self._renew()
            except Exception:
                if self._stopped():  # a stop ends the retries of an unavailable storage with its error
                    return
                raise
            self._renewed_at, self._lost = started_at, not is_ours

    def is_set(self) -> bool:
        """Returns whether the run must stop, because the worker is stopped or the trial belongs to another worker."""
        if self._lost or self._stopped():
            return True
        if self._renew is not None and _clock() - self._renewed_at > LEASE_S:
            self._renew_once()
        return self._lost or self._stopped()


def _clock() -> float:
    """Returns seconds since boot, including those in which the machine was asleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
