from __future__ import annotations

import errno
import threading
from collections.abc import Callable

import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import IntegrityError, InterfaceError, InternalError, OperationalError

from sweeps.study.retry import OutageRetry, transient_reason


class Away:
    """Fails so many times, then answers; notes the pauses in between."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.times, self.pauses = error, times, list[float]()

    def __call__(self) -> str:
        if self.times:
            self.times -= 1
            raise self.error
        return "here"


class Stop(threading.Event):
    """Takes no time to wait, notes for how long it was to, and is set after so many waits."""

    def __init__(self, after: int = 1000) -> None:
        super().__init__()
        self.waits: list[float] = []
        self.after = after

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        if len(self.waits) >= self.after:
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
def test_a_database_that_does_not_answer_is_one_also_as_optuna_tells_it(kind: Callable[..., Exception]) -> None:
    said = transient_reason(of_database(kind))
    assert said == "server closed the connection" == transient_reason(caused_by(of_database(kind)))


def test_a_session_that_the_server_ended_as_it_hung_is_one() -> None:
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
def test_other_errors_pass_at_once(error: Exception) -> None:
    assert transient_reason(error) is None
    stop = Stop()
    with pytest.raises(type(error)):
        OutageRetry(stop, lambda _: None)(Away(error, 1))
    assert stop.waits == []


def test_it_waits_with_growing_pauses_and_says_so_once() -> None:
    stop, said = Stop(), list[str]()
    patience = OutageRetry(stop, said.append)
    assert patience(Away(of_database(), 8)) == "here"
    assert stop.waits == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert said == [
        "the study's storage cannot be used (server closed the connection); waiting for it",
        "the study's storage is back",
    ]
    assert patience(Away(of_database(), 0)) == "here"
    assert len(said) == 2
    patience(Away(OSError(errno.ENOSPC, "full"), 2))
    assert stop.waits[8:] == [0.0, 0.5]  # another outage begins anew
    assert len(said) == 4


def test_one_failure_alone_is_tried_again_at_once_and_not_worth_a_word() -> None:
    stop, said = Stop(), list[str]()
    assert OutageRetry(stop, said.append)(Away(of_database(), 1)) == "here"
    assert (stop.waits, said) == ([0.0], [])


def test_what_stops_the_process_ends_the_waiting_with_the_error() -> None:
    stop, away = Stop(after=3), Away(of_database(), 100)
    with pytest.raises(OperationalError, match="server closed"):
        OutageRetry(stop, lambda _: None)(away)
    assert len(stop.waits) == 3


def test_a_real_wait_ends_when_it_is_stopped() -> None:
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    with pytest.raises(OSError, match="full"):
        OutageRetry(stop, lambda _: None)(Away(OSError(errno.ENOSPC, "full"), 100))


def test_without_a_listener_it_is_said_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    OutageRetry(Stop())(Away(OSError(errno.ENOSPC, "full"), 2))
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        "the study's storage cannot be used (no space left on its disk); waiting for it",
        "the study's storage is back",
    ]
