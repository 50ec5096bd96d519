"""The study that all processes of a sweep share: claims trials, records their progress, and recovers from crashes.

The life of a trial; the arrows are methods of `SharedStudy`:

    enqueued                                                                  created by claim
       |                                                                              |
       v          claim, first write                       claim, last write          v
    WAITING -------------------------> RUNNING, unowned ----------------------> RUNNING, owned
       ^  ^                                   |                                    |  |  |
       |  |   requeued by the next holder     |                                    |  |  +-- finish --> COMPLETE,
       |  +-- of the lock, if the claimer ----+                                    |  |                 PRUNED or FAIL
       |      died here                                                            |  |
       |                                                                           |  +-- third crash in a row --> FAIL
       +-------------- release, requeue_crashed, reclaim --------------------------+

Who writes what, and when:

- A claim writes `attempt`, `lease` (PostgreSQL only) and `owner`, then the parameters, under the study lock.
- The owner writes epochs (`report`) and its heartbeat (`renew`), without the lock.
- The owner writes `result` and the final state (`finish`), under the lock. A stale attempt is refused.
- A requeue writes `deaths` after a crash, empties `owner`, and sets WAITING, under the lock.

A trial keeps its number, its parameters and its epochs over all attempts. All methods retry while the storage is
unavailable, except `report`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from functools import partial
from pathlib import Path

from optuna.trial import FrozenTrial, Trial, TrialState

from sweeps.spec.spec import SweepSpec
from sweeps.study.attributes import StudyAttributes
from sweeps.study.configurations import committed_trials
from sweeps.study.crashes import is_unowned, too_many_failures
from sweeps.study.extensions import Extensions
from sweeps.study.lease import Lease
from sweeps.study.records import TrialClaim, TrialOutcome
from sweeps.study.recovery import Recovery
from sweeps.study.retry import OutageRetry, retry_on_outage, transient_reason
from sweeps.study.sampling import grid_size, requires_serial_sampling, tell
from sweeps.study.stopping import Stopping
from sweeps.study.storage import check_known, open_study
from sweeps.study.trial_queue import TrialQueue, is_waiting
from sweeps.study.warm_start import OlderTrial, store_older_trials


class SharedStudy:
    """A study that several processes work on.

    Args:
        run_dir: The run folder.
        spec: The resolved spec.
        url: Storage; `None`: the journal in the run folder.
        create: Create the study, or continue it; otherwise it must exist.

    Raises:
        ConfigError: The storage holds another sweep of that name.
        StorageError: The storage cannot be opened, holds a study of that name with other directions, or knows fewer
            trials than the folder.
    """

    def __init__(self, run_dir: Path, spec: SweepSpec, url: str | None = None, create: bool = False) -> None:
        self.spec = spec
        self._handle = open_study(run_dir, spec, url, create)
        self.attributes = StudyAttributes(self._handle)
        self._recovery = Recovery(self._handle, spec)
        self.stopping = Stopping(self._handle, spec)
        self.extensions = Extensions(self._handle)
        self._queue = TrialQueue(self._handle, spec, self._recovery, self.stopping)
        self._is_serial = requires_serial_sampling(spec)
        if create:
            check_known(run_dir, url, lambda: len(self._handle.trials()))
            with self._handle.lock():
                self.attributes.publish(spec, _total(spec))
                self._queue.enqueue_runs()
                self.extensions.enqueue_missing()
            self.stopping.decide()

    def close(self) -> None:
        """Closes the connections to a database."""
        self._handle.close()

    @property
    def retry(self) -> OutageRetry:
        """Retries what an outage of the storage prevents."""
        return self._handle.retry

    @retry.setter
    def retry(self, retry: OutageRetry) -> None:
        self._handle.retry = retry

    @retry_on_outage
    def warm_start(self, older: Sequence[OlderTrial]) -> None:
        """Gives the sampler trials of older sweeps. They replace those of the last launch, and count nowhere else."""
        store_older_trials(self._handle.study, older)

    @retry_on_outage
    def trials(self, states: Iterable[TrialState] | None = None) -> list[FrozenTrial]:
        """Returns all trials, or those in the given states, by number."""
        return self._handle.trials(states)

    @retry_on_outage
    def claim(self, slot: int) -> TrialClaim | None:
        """Claims the next trial: one that waits, else a new one while there are fewer than the total.

        Args:
            slot: The slot of this worker, for the owner attribute.

        Returns:
            `None` when there is nothing to claim, for now or at all.
        """
        claim = self._claim_serially(slot) if self._is_serial else self._claim_in_parallel(slot)
        if claim is not None:
            self._queue.confirm(claim)
        return claim

    def _claim_serially(self, slot: int) -> TrialClaim | None:
        """Samples under the lock, for samplers that would give two processes the same point."""
        with self._handle.lock():
            claim = self._queue.take(slot)
            return claim and self._queue.write(claim, self._queue.suggest(claim))

    def _claim_in_parallel(self, slot: int) -> TrialClaim | None:
        """Samples without the lock, so that several processes sample at once."""
        with self._handle.lock():
            claim = self._queue.take(slot)
        if claim is None:
            return None
        with self.lease(claim, self.retry.stop.is_set):  # sampling may take longer than a lease lasts
            suggestion = self._queue.suggest(claim)
        with self._handle.lock():
            return self._queue.write(claim, suggestion)

    def report(self, claim: TrialClaim, epoch: int, value: float | None) -> str | None:
        """Reports the objective after an epoch to Optuna. Does not retry: training can continue without the storage.

        Args:
            claim: The trial.
            epoch: From 1; one that was reported before is not reported again.
            value: `None` where there are several objectives, by which Optuna does not prune.

        Returns:
            `stale` when the trial belongs to another worker, `pruned` when the pruner stops it, `away` when the storage
            is unavailable; else `None`.
        """
        try:
            return self._report(claim, epoch, value)
        except Exception as error:
            if transient_reason(error) is None:
                raise
            return "away"

    def _report(self, claim: TrialClaim, epoch: int, value: float | None) -> str | None:
        trial = self._read(claim)
        if not claim.is_current(trial):
            return "stale"
        if value is None or epoch < max(trial.intermediate_values, default=0):
            return None
        if epoch not in trial.intermediate_values:
            self._handle.storage.set_trial_intermediate_value(claim.trial_id, epoch, value)
            trial = copy(trial)  # the journal storage returns the object in its memory
            trial.intermediate_values = {**trial.intermediate_values, epoch: value}
        study = self._handle.study
        return "pruned" if claim.extends is None and study.pruner.prune(study, trial) else None

    @retry_on_outage
    def finish(self, claim: TrialClaim, outcome: TrialOutcome) -> bool:
        """Tells Optuna the outcome of a trial. Returns false, and writes nothing, when the attempt is stale."""
        with self._handle.lock():
            if not claim.is_current(self._read(claim)):
                return False
            self._handle.check_lock()
            if outcome.constraints:
                trial = Trial(self._handle.study, claim.trial_id)
                known = trial._cached_frozen_trial.constraints
                for name, amount in outcome.constraints.items():  # in the same order for all trials
                    if name not in known:
                        trial.set_constraint(name, amount)
            for epoch, value in outcome.untold.items():
                self._handle.storage.set_trial_intermediate_value(claim.trial_id, int(epoch), value)
            self._handle.storage.set_trial_user_attr(claim.trial_id, "result", outcome.row)
            tell(self._handle.study, claim.number, outcome.values, outcome.state)
            return True

    @retry_on_outage
    def release(self, claim: TrialClaim) -> None:
        """Requeues a trial that was interrupted: it waits, under its number, for the next claim."""
        with self._handle.lock():
            trial = self._read(claim)
            if claim.is_current(trial) or is_unowned(trial):  # the latter when an outage cut a release short
                self._recovery.requeue(trial)

    @retry_on_outage
    def requeue_crashed(self, claim: TrialClaim, reason: str) -> None:
        """Requeues a trial whose processes died while this process lives; counts the crash as `reclaim` does."""
        with self._handle.lock():
            trial = self._read(claim)
            if claim.is_current(trial) or is_unowned(trial):
                self._recovery.requeue_crashed(trial, reason)

    @retry_on_outage
    def reclaim(self, elsewhere: bool = False, reason: str = "its worker died") -> list[int]:
        """Requeues the trials of dead owners; one that crashed three times in a row without progress fails.

        Args:
            elsewhere: Whether owners on other machines count as dead where there are no leases: this machine alone
                works on the study.
            reason: What happened, for the result of a trial that fails.

        Returns:
            Numbers of the trials that wait again.
        """
        if not self._recovery.orphans(elsewhere):  # the usual case, in which nobody needs to wait for the lock
            return []
        with self._handle.lock():
            orphans = self._recovery.orphans(elsewhere)
            return [trial.number for trial in orphans if self._recovery.requeue_crashed(trial, reason)]

    def lease(self, claim: TrialClaim, stopped: Callable[[], bool]) -> Lease:
        """Returns the lease of this process on a trial; see `Lease`."""
        return Lease(partial(self.renew, claim) if self._handle.coordinator else None, stopped)

    @retry_on_outage
    def renew(self, claim: TrialClaim) -> bool:
        """Extends the lease on a trial; returns false when the trial belongs to another worker."""
        if not claim.is_current(self._read(claim)):
            return False
        if self._handle.coordinator:
            lease = self._handle.coordinator.lease()
            self._handle.storage.set_trial_user_attr(claim.trial_id, "lease", lease)
        return True

    def _read(self, claim: TrialClaim) -> FrozenTrial:
        return self._handle.storage.get_trial(claim.trial_id)

    def is_finished(self) -> bool:
        """Returns whether all trials are in a final state, up to the total or to where a stop rule ended the sweep."""
        trials = self.trials()
        if self.stopping.reason() is not None:
            return not any(trial.state == TrialState.RUNNING or is_waiting(trial, True) for trial in trials)
        is_total = committed_trials(trials, seeds=1) >= self.attributes.total
        return is_total and all(trial.state.is_finished() for trial in trials)

    def is_over(self) -> bool:
        """Returns whether nothing will be left to claim, whatever becomes of the trials that run."""
        return self.is_finished() or self.is_failing()

    @retry_on_outage
    def is_failing(self) -> bool:
        """Returns whether the last `max_failures` trials since the launch all failed: no more trials are claimed."""
        return too_many_failures(self._handle.trials(), self._handle.study.user_attrs, self.spec.max_failures)


def _total(spec: SweepSpec) -> int:
    """Returns `n_trials`, or fewer where the sampler has tried everything before."""
    size = grid_size(spec)
    return spec.n_trials if size is None else min(spec.n_trials, (size + len(spec.runs)) * spec.seeds)
