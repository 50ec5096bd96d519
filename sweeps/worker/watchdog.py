"""Watchdog for trials that do not end at their timeout, because they hang in a call that cannot be interrupted."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from sweeps.study.records import TrialClaim, TrialOutcome, now, write_outcome

_GRACE_S = 60.0


@contextmanager
def watchdog(
    limit_s: float | None, folder: Path, study_uid: str, claim: TrialClaim, slot: int, stop: Any
) -> Iterator[None]:
    """Kills this process a minute after the limit. The next attempt finds the outcome on disk and tells the study.

    Args:
        limit_s: Seconds that the trial may take; `None`: no limit, and no watchdog.
        folder: The trial's folder.
        study_uid: Unique ID of the study.
        claim: The trial.
        slot: Number of the worker.
        stop: Set when the trial must stop. Then no outcome is written, because another worker may have the trial.
    """
    if limit_s is None:
        yield
        return

    def end() -> None:
        reason = f"it hung beyond trial_timeout_s, {limit_s:g} s"
        row = {"outcome": "timed_out", "reason": reason, "attempt": claim.attempt, "slot": slot, "finished": now()}
        if not stop.is_set():
            write_outcome(folder, study_uid, TrialOutcome(TrialState.PRUNED, None, None, row))
        os._exit(1)

    timer = threading.Timer(limit_s + _GRACE_S, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
