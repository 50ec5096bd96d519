from __future__ import annotations

import errno
import threading
from collections.abc import Callable

import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import IntegrityError, InterfaceError, InternalError, OperationalError

from sweeps.study.retry import OutageRetry, transient_reason


class Unavailable:
    """An action that fails so many times before it succeeds."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.times = error, times

    def __call__(self) -> str:
        if self.times:
            self.times -= 1
            raise self.error
        return "result"


class Stop(threading.Event):
    """Records the pauses instead of waiting, and is set after so many of them."""

    def __init__(self, after: int = 1000) -> None:
        super().__init__()
        self.pauses: list[float] = []
        self.after = after

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.pauses.append(timeout)
        if len(self.pauses) >= self.after:
            self.set()
        return self.is_set()


def of_database(kind: Callable[..., Exception] = OperationalError) -> Exception:
    return kind("select 1", {}, ConnectionError("server closed the connection\nunexpectedly"))


def caused_by(cause: Exception) -> Exception:
    try:
        raise StorageInternalError("An exception is raised during the commit.") from cause
    except StorageInternalError as error:
        return error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_an_outage(number: int) -> None:
    assert transient_reason(OSError(number, "full")) == "no space left on its disk"


@pytest.mark.parametrize("kind", [OperationalError, InterfaceError])
def test_an_unavailable_database_is_an_outage_also_when_optuna_wraps_its_error(kind: Callable[..., Exception]) -> None:
    reason = transient_reason(of_database(kind))
    assert reason == "server closed the connection" == transient_reason(caused_by(of_database(kind)))


def test_a_session_that_the_server_ended_because_it_was_idle_is_an_outage() -> None:
    from psycopg.errors import IdleInTransactionSessionTimeout  # psycopg takes it for an error of its own making

    error = InternalError("commit", {}, IdleInTransactionSessionTimeout("terminating connection"))
    assert transient_reason(error) == "terminating connection"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EACCES, "denied"),
        ValueError("bug"),
        of_database(IntegrityError),
        caused_by(of_database(IntegrityError)),
        KeyError("study"),
    ],
)
def test_other_errors_are_raised_at_once(error: Exception) -> None:
    assert transient_reason(error) is None
    stop = Stop()
    with pytest.raises(type(error)):
        OutageRetry(stop, lambda _: None)(Unavailable(error, 1))
    assert stop.pauses == []


def test_it_retries_with_growing_pauses_and_logs_once() -> None:
    stop, logged = Stop(), list[str]()
    retry = OutageRetry(stop, logged.append)
    assert retry(Unavailable(of_database(), 8)) == "result"
    assert stop.pauses == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert logged == [
        "the study's storage cannot be used (server closed the connection); waiting for it",
        "the study's storage is back",
    ]
    assert retry(Unavailable(of_database(), 0)) == "result"
    assert len(logged) == 2
    retry(Unavailable(OSError(errno.ENOSPC, "full"), 2))
    assert stop.pauses[8:] == [0.0, 0.5]  # another outage begins anew
    assert len(logged) == 4


def test_a_single_failure_is_retried_at_once_and_not_logged() -> None:
    stop, logged = Stop(), list[str]()
    assert OutageRetry(stop, logged.append)(Unavailable(of_database(), 1)) == "result"
    assert (stop.pauses, logged) == ([0.0], [])


def test_a_stop_ends_the_retries_with_the_error() -> None:
    stop, action = Stop(after=3), Unavailable(of_database(), 100)
    with pytest.raises(OperationalError, match="server closed"):
        OutageRetry(stop, lambda _: None)(action)
    assert len(stop.pauses) == 3


def test_a_real_wait_ends_when_it_is_stopped() -> None:
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    with pytest.raises(OSError, match="full"):
        OutageRetry(stop, lambda _: None)(Unavailable(OSError(errno.ENOSPC, "full"), 100))


def test_without_a_logger_messages_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    OutageRetry(Stop())(Unavailable(OSError(errno.ENOSPC, "full"), 2))
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        "the study's storage cannot be used (no space left on its disk); waiting for it",
        "the study's storage is back",
    ]
