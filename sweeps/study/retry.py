"""Retries with back-off while the storage is unavailable: a database that restarts, or a disk that is full."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_when_event_set,
    wait_chain,
    wait_exponential,
    wait_none,
)

from lit_dl.files import is_disk_full

Result = TypeVar("Result")
P = ParamSpec("P")

_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.5, 10.0
_LOGGED_AT_ATTEMPT = 2  # the failure of the first may be an idle connection that the server closed


def transient_reason(error: BaseException) -> str | None:
    """Returns why the storage is unavailable for now, or `None` for an error that a retry cannot mend."""
    for cause in _causes(error):
        if is_disk_full(cause):
            return "no space left on its disk"
        # Compared by name, because SQLAlchemy is imported only where a database is used.
        names = {kind.__name__ for kind in type(cause).__mro__ if kind.__module__.startswith("sqlalchemy.")}
        orig = getattr(cause, "orig", cause)
        # A process that was suspended while it held the lock gets IdleInTransactionSessionTimeout. SQLAlchemy wraps it
        # as an InternalError, its class for bugs.
        if names & {"OperationalError", "InterfaceError"} or type(orig).__name__ == "IdleInTransactionSessionTimeout":
            return str(orig).strip().split("\n")[0]
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


class OutageRetry:
    """Retries an action with exponential back-off for as long as the storage is unavailable.

    The first retry comes at once and is not logged. The pauses before later ones grow from 0.5 to 10 s.

    Args:
        stop: Ends the retries when it is set; the last error is raised then.
        log: Gets one message when an outage begins and one when it ends. Default: standard error.
    """

    def __init__(self, stop: threading.Event | None = None, log: Callable[[str], None] | None = None) -> None:
        self.stop = stop or threading.Event()
        self.log = log or (lambda text: print(text, file=sys.stderr, flush=True))

    def __call__(self, action: Callable[[], Result]) -> Result:
        """Returns the result of `action`, once it succeeds."""
        retrying = Retrying(
            retry=retry_if_exception(lambda error: transient_reason(error) is not None),
            wait=wait_chain(wait_none(), wait_exponential(multiplier=_FIRST_DELAY_S / 2, max=_LONGEST_DELAY_S)),
            stop=stop_when_event_set(self.stop),
            sleep=sleep_using_event(self.stop),
            before_sleep=self._log_outage,
            reraise=True,
        )
        result = retrying(action)
        if retrying.statistics["attempt_number"] > _LOGGED_AT_ATTEMPT:
            self.log("the study's storage is back")
        return result

    def _log_outage(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if error is not None and state.attempt_number == _LOGGED_AT_ATTEMPT:
            self.log(f"the study's storage cannot be used ({transient_reason(error)}); waiting for it")


def retry_on_outage(method: Callable[Concatenate[Any, P], Result]) -> Callable[Concatenate[Any, P], Result]:
    """Decorator: retries the method while the storage is unavailable, with the `retry` of the object's `_handle`.

    The method must be idempotent: an attempt that was cut short by an error is made again as a whole.
    """

    @wraps(method)
    def retried(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return self._handle.retry(lambda: method(self, *args, **kwargs))  # type: ignore[no-any-return]

    return retried
