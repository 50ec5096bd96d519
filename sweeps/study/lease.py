"""A worker's hold on its trial, renewed while it runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from sweeps.study.postgresql import LEASE_S

_EVERY_S = LEASE_S / 6


class Lease:
    """Renews the lease on a trial from a thread, and knows when it was lost.

    A process that was suspended, or cut off from the database, for as long as a lease lasts asks before it goes on,
    as its trial may be another's.

    Args:
        renew: Extends the lease; false when the trial is another's now. `None`: there are no leases, as owners are on
            this machine, where a suspended one is seen to live.
        stopped: Whether the worker must stop anyway.
    """

    def __init__(self, renew: Callable[[], bool] | None, stopped: Callable[[], bool]) -> None:
        self._renew, self._stopped = renew, stopped
        self._renewed = _clock()
        self._lost = False
        self._end = threading.Event()
        self._busy = threading.Lock()

    def __enter__(self) -> Lease:
        if self._renew is not None:
            threading.Thread(target=self._keep, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()

    def _keep(self) -> None:
        while not self._end.wait(_EVERY_S) and not self._lost:
            self._ask()

    def _ask(self) -> None:
        assert self._renew is not None
        with self._busy:
            asked = _clock()
            try:
                is_ours = self._renew()
            except Exception:
                if self._stopped():  # which ends the waiting for a storage that is away
                    return
                raise
            self._renewed, self._lost = asked, not is_ours

    def is_set(self) -> bool:
        """Whether the run must stop: the worker is told to, or the trial is another's."""
        if self._lost or self._stopped():
            return True
        if self._renew is not None and _clock() - self._renewed > LEASE_S:
            self._ask()
        return self._lost or self._stopped()


def _clock() -> float:
    """Seconds, counting those that the machine slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
