"""Storages for tests: one that holds Optuna's contract for WAITING trials, and one whose process is killed."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.storages import BaseStorage
from optuna.trial import TrialState

WRITES = ("set_trial_param", "set_trial_user_attr", "set_trial_system_attr", "set_trial_intermediate_value")


class WaitingTrialModified(AssertionError):
    """A WAITING trial was modified otherwise than by its state."""


def make_strict(storage: BaseStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the storage raise `WaitingTrialModified`; other storages of the same study are as before."""
    for name in WRITES:
        monkeypatch.setattr(storage, name, _guarded(storage, name))


def _guarded(storage: BaseStorage, name: str) -> Any:
    write = getattr(storage, name)

    def guarded(trial_id: int, *args: Any, **options: Any) -> Any:
        if storage.get_trial(trial_id).state == TrialState.WAITING:
            raise WaitingTrialModified(f"{name}({trial_id}, {args})")
        return write(trial_id, *args, **options)

    return guarded


class Killed(BaseException):
    """Stands for kill -9."""


def kill_after(writes: int, storage: BaseStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the storage raise `Killed` in the place of each write after so many."""
    left = iter(range(writes))

    def mortal(write: Any) -> Any:
        def write_or_die(*args: Any, **options: Any) -> Any:
            if next(left, None) is None:
                raise Killed
            return write(*args, **options)

        return write_or_die

    for name in (*WRITES, "create_new_trial", "set_trial_state_values"):
        monkeypatch.setattr(storage, name, mortal(getattr(storage, name)))
