"""What goes wrong with trials: owners that died, trials that take their owners with them, trials that all fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from sweeps.study.liveness import is_alive, is_here
from sweeps.study.postgresql import Database

MAX_CRASHES = 3


def orphaned(running: list[FrozenTrial], database: Database | None, elsewhere: bool) -> list[FrozenTrial]:
    """Those of the running trials whose owner lives no more, or that have none.

    An owner on this machine is looked for; one on another machine is dead when its lease has run out.

    Args:
        running: The trials.
        database: Whose clock leases go by; `None`: there are none.
        elsewhere: Whether owners on other machines are dead where there are no leases.
    """
    owners = [trial.user_attrs.get("owner", {}) for trial in running]
    clock = database.now() if database and not all(map(is_here, owners)) else 0.0

    def is_lost(trial: FrozenTrial, owner: dict[str, Any]) -> bool:
        if not owner or is_here(owner):
            return not is_alive(owner)
        return trial.user_attrs.get("lease", 0.0) <= clock if database else elsewhere

    return [trial for trial, owner in zip(running, owners, strict=True) if is_lost(trial, owner)]


def count_crash(trial: FrozenTrial) -> dict[str, int]:
    """Deaths in a row, this one included, without an epoch completed in between; the last epoch; and the attempt, as
    one is counted once.
    """
    epoch, attempt = max(trial.intermediate_values, default=0), trial.user_attrs.get("attempt", 0)
    before = trial.user_attrs.get("deaths", {"count": 0, "epoch": 0})
    if before.get("attempt") == attempt:
        return before  # type: ignore[no-any-return]
    return {"count": before["count"] + 1 if epoch <= before["epoch"] else 1, "epoch": epoch, "attempt": attempt}


def too_many_failures(trials: list[FrozenTrial], study_attrs: Mapping[str, Any], most: int) -> bool:
    """Whether the last `most` trials to end since the launch all failed: something is wrong with all of them."""
    if sum(trial.state == TrialState.FAIL for trial in trials) < most:
        return False
    rows = [trial.user_attrs.get("result", {}) for trial in trials if trial.state.is_finished()]
    rows = [row for row in rows if row.get("finished", "") >= study_attrs["launched"]]
    last = sorted(rows, key=lambda row: str(row["finished"]))[-most:]
    return len(last) == most and all(row["outcome"] == "failed" for row in last)
