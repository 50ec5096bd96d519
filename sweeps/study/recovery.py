"""Recovery: RUNNING trials without a living owner are requeued, or given up when they crash again and again.

A trial is requeued under its number, with its parameters and its reported epochs. It is never marked as failed for the
death of a worker, and never copied. All methods are called under the study lock.

Requeue order. A WAITING trial must not be modified except for its state (Optuna's contract for storages), so
everything that belongs to the ended attempt is written while the trial is still RUNNING:

1. `deaths` counts the crash, with the attempt that crashed. Recovery that is itself killed after this write does not
   count the crash again.
2. `owner` becomes empty. From here on, whoever holds the lock next may requeue the trial at once, and the claim of the
   previous owner is stale.
3. The state becomes WAITING.
"""

from __future__ import annotations

from optuna.trial import FrozenTrial, TrialState

from sweeps.spec.spec import SweepSpec
from sweeps.study.configurations import is_sampled
from sweeps.study.crashes import MAX_CRASHES, count_crash, is_unowned, orphaned, owner_of
from sweeps.study.handle import StudyHandle
from sweeps.study.liveness import Owner
from sweeps.study.records import killed_row


class Recovery:
    """Requeues trials that nobody runs any more.

    Args:
        handle: The open study.
        spec: The spec.
    """

    def __init__(self, handle: StudyHandle, spec: SweepSpec) -> None:
        self._handle = handle
        self._spec = spec

    def orphans(self, elsewhere: bool) -> list[FrozenTrial]:
        """Returns the RUNNING trials without a living owner; see `orphaned`.

        Without the lock the answer is preliminary: a trial may be in the middle of its claim.
        """
        return orphaned(self._handle.trials([TrialState.RUNNING]), self._handle.coordinator, elsewhere)

    def requeue(self, trial: FrozenTrial) -> None:
        """Puts a RUNNING trial back to WAITING."""
        self._handle.check_lock()
        if owner_of(trial):
            self._handle.storage.set_trial_user_attr(trial._trial_id, "owner", {})
        self._handle.storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)

    def requeue_crashed(self, trial: FrozenTrial, reason: str) -> bool:
        """Requeues a trial whose attempt crashed, or fails it after `MAX_CRASHES` in a row without progress.

        Returns:
            Whether the trial waits again.
        """
        if is_unowned(trial) or not is_sampled(trial, self._handle.trials(), self._spec):
            self.requeue(trial)  # its claim was not complete, so nothing ran that could have caused the crash
            return True
        crashes = count_crash(trial)
        self._handle.check_lock()
        self._handle.storage.set_trial_user_attr(trial._trial_id, "deaths", crashes)
        if crashes["count"] < MAX_CRASHES:
            self.requeue(trial)
            return True
        row = killed_row(f"{reason} in each of {MAX_CRASHES} attempts", trial.user_attrs.get("attempt"))
        self._handle.storage.set_trial_user_attr(trial._trial_id, "result", row)
        self._handle.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        return False

    def requeue_incomplete_claims(self, owner: Owner, claimed: int | None) -> list[FrozenTrial]:
        """Requeues RUNNING trials that no process runs because their claim was interrupted; returns all trials.

        These are trials without an owner, and trials that this process owns but never started: its claim was cut short
        by an outage, or was committed twice because the database's answer was lost.

        Args:
            owner: The owner that the last claim of this process wrote.
            claimed: The trial id of that claim; `None` while the claim is not complete.
        """
        trials = self._handle.trials()
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        incomplete = [t for t in running if is_unowned(t) or (owner_of(t) == owner and t._trial_id != claimed)]
        for trial in incomplete:
            self.requeue(trial)
        return self._handle.trials() if incomplete else trials
