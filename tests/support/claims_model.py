"""The model that `test_claims_model.py` holds a shared study against: workers, trials, a server and a storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from strict_storage import WRITES, Killed, WaitingTrialModified

from sweeps.study.liveness import Owner
from sweeps.study.postgresql import LEASE_S
from sweeps.study.records import TrialClaim
from sweeps.study.study import SharedStudy


@dataclass
class Worker:
    """A process on some machine, with all claims that it ever got."""

    pid: int
    machine: str
    study: SharedStudy
    claims: list[TrialClaim] = field(default_factory=list)
    lives: bool = True

    def identity(self) -> Owner:
        return {"machine": self.machine, "pid": self.pid, "started": "then"}


@dataclass
class ExpectedTrial:
    """A trial as it must be."""

    config: int
    seed_number: int
    state: str = "WAITING"
    attempt: int = 0
    owner: Worker | None = None
    lease: float = 0.0
    epoch: int = 0
    is_sampled: bool = False
    deaths: int = 0
    died_at: int = 0

    def is_owned(self) -> bool:
        """Returns whether it runs, and its claim was completed at least as far as the owner."""
        return self.state == "RUNNING" and self.owner is not None

    def is_unowned(self) -> bool:
        """Returns whether its claimer was killed before it wrote the owner."""
        return self.state == "RUNNING" and self.owner is None


class Clock:
    """Seconds, which pass only when a rule says so."""

    def __init__(self) -> None:
        self.time = 1000.0


class Server:
    """A database's clock, and its lock, which is always free."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def lock(self) -> AbstractContextManager[None]:
        return nullcontext()

    def check_lock(self) -> None:
        """The lock is never lost."""

    def now(self) -> float:
        return self.clock.time

    def lease(self) -> float:
        return self.clock.time + LEASE_S


class StrictStorage(InMemoryStorage):
    """A storage in memory that refuses to modify WAITING trials except for their state, and may kill its user."""

    def __init__(self) -> None:
        super().__init__()
        self.writes_left: Iterator[int] | None = None

    def get_all_trials(self, study_id: int, *args: Any, **options: Any) -> Any:
        self._prev_waiting_trial_number[study_id] = 0  # else it does not find trials that wait again
        return super().get_all_trials(study_id, *args, **options)

    def _check_write(self, trial_id: int | None = None) -> None:
        if self.writes_left is not None and next(self.writes_left, None) is None:
            raise Killed
        if trial_id is not None and self.get_trial(trial_id).state == TrialState.WAITING:
            raise WaitingTrialModified

    def create_new_trial(self, *args: Any, **options: Any) -> int:
        self._check_write()
        return super().create_new_trial(*args, **options)

    def set_trial_state_values(self, *args: Any, **options: Any) -> bool:
        self._check_write()
        return super().set_trial_state_values(*args, **options)


def _checked(name: str) -> Callable[..., None]:
    def write(self: StrictStorage, trial_id: int, *args: Any) -> None:
        self._check_write(trial_id)
        getattr(InMemoryStorage, name)(self, trial_id, *args)

    return write


for name in WRITES:
    setattr(StrictStorage, name, _checked(name))
