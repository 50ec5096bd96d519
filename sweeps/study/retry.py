"""Waiting for a storage that cannot answer for a while: a database that restarts, a disk that is full."""

from __future__ import annotations

import errno
import sys
import threading
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

Result = TypeVar("Result")
P = ParamSpec("P")

_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.5, 10.0


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def is_disk_full(error: BaseException) -> bool:
    """Whether it is a disk's that has no space left."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def transient_reason(error: BaseException) -> str | None:
    """Why a storage cannot answer for now; `None` for an error that waiting does not mend."""
    for cause in _causes(error):
        if is_disk_full(cause):
            return "no space left on its disk"
        # By name: SQLAlchemy is imported where there is a database alone.
        names = {kind.__name__ for kind in type(cause).__mro__ if kind.__module__.startswith("sqlalchemy.")}
        orig = getattr(cause, "orig", cause)
        # The last is what a process finds that was suspended while it held the lock; SQLAlchemy takes it for a bug.
        if names & {"OperationalError", "InterfaceError"} or type(orig).__name__ == "IdleInTransactionSessionTimeout":
            return str(orig).strip().split("\n")[0]
    return None


class OutageRetry:
    """Tries again, with growing pauses, what an outage prevents.

    Args:
        stop: Ends the waiting when it is set: the error is raised then.
        say: Told once when an outage begins and once when it is over.
    """

    def __init__(self, stop: threading.Event | None = None, say: Callable[[str], None] | None = None) -> None:
        self.stop = stop or threading.Event()
        self.say = say or (lambda text: print(text, file=sys.stderr, flush=True))

    def __call__(self, action: Callable[[], Result]) -> Result:
        """What `action` gives, when at last it does."""
        delay, told = 0.0, False
        while True:
            try:
                result = action()
            except Exception as error:
                reason = transient_reason(error)
                if reason is None or self.stop.is_set():
                    raise
                if delay and not told:  # the first time it may be a connection that a server closed meanwhile
                    self.say(f"the study's storage cannot be used ({reason}); waiting for it")
                    told = True
                self.stop.wait(delay)
                delay = min(2 * delay or _FIRST_DELAY_S, _LONGEST_DELAY_S)
            else:
                if told:
                    self.say("the study's storage is back")
                return result


def retry_on_outage(method: Callable[Concatenate[Any, P], Result]) -> Callable[Concatenate[Any, P], Result]:
    """A method of what has a `patience`, tried again until it is done. Cut short, it must have done nothing that doing
    it again would double.
    """

    @wraps(method)
    def wait(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return self.patience(lambda: method(self, *args, **kwargs))  # type: ignore[no-any-return]

    return wait
