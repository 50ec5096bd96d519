"""Rules about crashed trials: which trials have lost their owner, and when crashes or failures are too many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from sweeps.study.liveness import Owner, is_alive, is_here
from sweeps.study.postgresql import PostgresCoordinator

MAX_CRASHES = 3


def owner_of(trial: FrozenTrial) -> Owner:
    """Returns the owner of a RUNNING trial; empty while its claim is not complete."""
    return trial.user_attrs.get("owner") or {}


def is_unowned(trial: FrozenTrial) -> bool:
    """Returns whether the trial is RUNNING without an owner; see "Claim order" in `trial_queue.py`."""
    return trial.state == TrialState.RUNNING and not owner_of(trial)


def orphaned(running: list[FrozenTrial], coordinator: PostgresCoordinator | None, elsewhere: bool) -> list[FrozenTrial]:
    """Returns the trials that have no living owner.

    An owner on this machine is looked up among its processes. An owner on another machine is dead when its lease has
    expired.

    Args:
        running: RUNNING trials.
        coordinator: Its clock decides whether a lease has expired; `None`: there are no leases.
        elsewhere: Whether owners on other machines count as dead where there are no leases.
    """
    owners = [owner_of(trial) for trial in running]
    # Asking the server for the time is a round trip, which most calls do not need.
    server_time = coordinator.now() if coordinator and not all(map(is_here, owners)) else 0.0

    def is_orphaned(trial: FrozenTrial, owner: Owner) -> bool:
        if not owner or is_here(owner):
            return not is_alive(owner)
        return trial.user_attrs.get("lease", 0.0) <= server_time if coordinator else elsewhere

    return [trial for trial, owner in zip(running, owners, strict=True) if is_orphaned(trial, owner)]


def count_crash(trial: FrozenTrial) -> dict[str, int]:
    """Returns the `deaths` attribute of a trial whose current attempt crashed.

    `count` is the number of crashes in a row without a completed epoch in between; `epoch` the last completed epoch;
    `attempt` the attempt that crashed, so that the same crash is counted once however often recovery is retried.
    """
    epoch, attempt = max(trial.intermediate_values, default=0), trial.user_attrs.get("attempt", 0)
    before = trial.user_attrs.get("deaths", {"count": 0, "epoch": 0})
    if before.get("attempt") == attempt:
        return before  # type: ignore[no-any-return]
    return {"count": before["count"] + 1 if epoch <= before["epoch"] else 1, "epoch": epoch, "attempt": attempt}


def too_many_failures(trials: list[FrozenTrial], study_attrs: Mapping[str, Any], limit: int) -> bool:
    """Returns whether the last `limit` trials that finished since the launch all failed.

    Then the fault is in the sweep rather than in a trial, and no more trials are claimed.
    """
    if sum(trial.state == TrialState.FAIL for trial in trials) < limit:
        return False
    rows = [trial.user_attrs.get("result", {}) for trial in trials if trial.state.is_finished()]
    rows = [row for row in rows if row.get("finished", "") >= study_attrs["launched"]]
    last = sorted(rows, key=lambda row: str(row["finished"]))[-limit:]
    return len(last) == limit and all(row["outcome"] == "failed" for row in last)
