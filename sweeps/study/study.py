"""The study: the only ways to ask Optuna for a trial and to tell it what came out, under one lock.

A trial keeps its number whatever happens to it. Who runs it writes `attempt` and `owner` into its user attributes; a
trial whose owner died goes back to WAITING and is claimed again, as its next attempt; an owner that comes back late
finds its attempt stale, and its result is refused. All methods wait for a storage that is away for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from sweeps.spec.space import Values
from sweeps.spec.spec import SweepSpec
from sweeps.study.attributes import StudyAttributes
from sweeps.study.configurations import committed_trials, configuration, is_sampled
from sweeps.study.crashes import MAX_CRASHES, count_crash, orphaned, too_many_failures
from sweeps.study.deferred_suggest import DeferredSuggestion
from sweeps.study.lease import Lease
from sweeps.study.liveness import Owner, identity
from sweeps.study.records import TrialClaim, TrialOutcome, killed, now
from sweeps.study.retry import OutageRetry, retry_on_outage, transient_reason
from sweeps.study.sampling import grid_size, requires_serial_sampling, tell
from sweeps.study.storage import check_known, database_of, open_study, study_lock


class SharedStudy(StudyAttributes):
    """A study that several processes work on.

    Args:
        run_dir: The run folder.
        spec: The resolved spec.
        url: Storage; `None`: the journal in the run folder.
        create: Make the study, or continue it; otherwise it must be there.

    Raises:
        ConfigError: The storage holds another sweep of that name.
        StorageError: The storage cannot be opened, holds a study of that name with other directions, or knows fewer
            trials than the folder.
    """

    def __init__(self, run_dir: Path, spec: SweepSpec, url: str | None = None, create: bool = False) -> None:
        self.spec = spec
        self.patience = OutageRetry()
        self._lock_path = run_dir / "study.lock"
        self._owner: Owner = {}  # as the last claim wrote it
        self._claimed: int | None = None  # which trial it was; `None` while it may have been cut short
        self._in_turn = requires_serial_sampling(spec)
        opened, self._study = open_study(run_dir, spec, url, create)
        self._storage, self.database = self._study._storage, database_of(opened, spec.name)
        if create:
            check_known(run_dir, url, lambda: len(self._trials()))
            ends_at = grid_size(spec)
            most = spec.n_trials if ends_at is None else (ends_at + len(spec.runs)) * spec.seeds
            with self._lock():
                self._announce(spec, min(spec.n_trials, most))
                self._enqueue_runs()

    def _enqueue_runs(self) -> None:
        for run, keys in self.spec.runs.items():
            space = self.spec.space
            values = {name: space.parameters[name].stored(value) for name, value in keys.items() if name in space}
            self._enqueue_missing(values, {"run": run, "config_id": run}, range(self.spec.seeds))

    def _enqueue_missing(self, values: Values, attrs: Values, seed_numbers: Iterable[int]) -> None:
        """Queues the repeats of a configuration that are not there yet: whoever queued them may have died halfway."""
        if not seed_numbers:
            return
        same = [trial for trial in self._trials() if configuration(trial) == attrs["config_id"]]
        there = {trial.user_attrs.get("seed_number") for trial in same}
        for seed_number in seed_numbers:
            if seed_number not in there:
                self._study.enqueue_trial(values, user_attrs={**attrs, "seed_number": seed_number})

    def _lock(self) -> AbstractContextManager[None]:
        return self.database.lock() if self.database else study_lock(self._storage, self._lock_path)

    def _check_lock(self) -> None:
        """Ends what is under way when the lock was lost meanwhile, as a database takes it from whoever hangs."""
        if self.database:
            self.database.check_lock()

    def _trials(self, states: Iterable[TrialState] | None = None) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=None if states is None else tuple(states))

    @retry_on_outage
    def trials(self, states: Iterable[TrialState] | None = None) -> list[FrozenTrial]:
        """All trials, or those in some states, in the order of their numbers."""
        return self._trials(states)

    @retry_on_outage
    def claim(self, slot: int) -> TrialClaim | None:
        """The next trial: one that waits, else a new one while there are fewer than the total; else `None`.

        It is taken first, and only then its values are drawn: two processes that need a trial at once draw at once.
        """
        with self._lock():
            claim = self._take(slot)
            if claim is not None and self._in_turn:
                claim = self._settle(claim, self._draw(claim))
        if claim is not None and not self._in_turn:
            with self.lease(claim, self.patience.stop.is_set):
                draft = self._draw(claim)
            with self._lock():
                claim = self._settle(claim, draft)
        if claim is not None:
            self._claimed = claim.trial_id
        return claim

    def _take(self, slot: int) -> TrialClaim | None:
        """Makes a trial this process's; RUNNING is the last that it writes, so who runs a trial is always known."""
        trials = self._take_back()
        waiting = next((trial for trial in trials if trial.state == TrialState.WAITING), None)
        said = self._study.user_attrs
        is_complete = waiting is None and committed_trials(trials, self.spec.seeds) >= said["total"]
        if is_complete or too_many_failures(trials, said, self.spec.max_failures):
            return None
        self._check_lock()
        self._owner, self._claimed = {**identity(), "slot": slot, "since": now()}, None
        attrs = {"owner": self._owner, "attempt": 1 + (waiting.user_attrs.get("attempt", 0) if waiting else 0)}
        if self.database:
            attrs["lease"] = self.database.lease()
        if waiting is None:
            new = create_trial(state=TrialState.RUNNING, user_attrs=attrs)
            trial_id = self._storage.create_new_trial(self._study._study_id, new)
        else:
            trial_id = waiting._trial_id
            for name, value in attrs.items():
                self._storage.set_trial_user_attr(trial_id, name, value)
            if not self._storage.set_trial_state_values(trial_id, TrialState.RUNNING):
                return None  # another's, as this process hung and a database took the lock from it
        trial = self._storage.get_trial(trial_id)
        more = {"run": trial.user_attrs.get("run"), "seed_number": trial.user_attrs.get("seed_number", 0)}
        return TrialClaim(
            trial.number, trial_id, trial.user_attrs["attempt"], {}, config_id=configuration(trial), **more
        )

    def _take_back(self) -> list[FrozenTrial]:
        """All trials, once those wait again that are this process's by a claim that was cut short, or that a database
        made twice because its answer was lost.
        """
        trials = self._trials()
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        stray = [t for t in running if t.user_attrs.get("owner") == self._owner and t._trial_id != self._claimed]
        for trial in stray:
            self._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
        return self._trials() if stray else trials

    def _draw(self, claim: TrialClaim) -> DeferredSuggestion | None:
        try:
            return DeferredSuggestion(self._study, claim, self.spec)
        except UpdateFinishedTrialError:  # by a sampler that notes something for itself: another ended the trial
            return None

    def _settle(self, claim: TrialClaim, draft: DeferredSuggestion | None) -> TrialClaim | None:
        """Writes what was drawn, and queues its repeats, unless the trial was lost meanwhile."""
        if draft is None or not self._is_current(claim):
            return None
        self._check_lock()
        draft.write()
        if claim.config_id == str(claim.number):
            self._enqueue_missing(draft.values, {"config_id": claim.config_id}, range(1, self.spec.seeds))
        return replace(claim, values=draft.values)

    def report(self, claim: TrialClaim, epoch: int, value: float | None) -> str | None:
        """Tells Optuna the objective after an epoch; waits for no storage, as training can go on without.

        Args:
            claim: The trial.
            epoch: From 1; one that was reported before is not reported again.
            value: `None` where there are several objectives, by which Optuna does not prune.

        Returns:
            `stale` when the trial is another's now, `pruned` when the pruner wants it ended, `away` when the storage
            cannot be told now; else `None`.
        """
        try:
            return self._report(claim, epoch, value)
        except Exception as error:
            if transient_reason(error) is None:
                raise
            return "away"

    def _report(self, claim: TrialClaim, epoch: int, value: float | None) -> str | None:
        trial = self._storage.get_trial(claim.trial_id)
        if not self._is_current(claim, trial):
            return "stale"
        if value is None or epoch < max(trial.intermediate_values, default=0):
            return None
        if epoch not in trial.intermediate_values:
            self._storage.set_trial_intermediate_value(claim.trial_id, epoch, value)
            trial = copy(trial)  # which may be the journal's own
            trial.intermediate_values = {**trial.intermediate_values, epoch: value}
        return "pruned" if self._study.pruner.prune(self._study, trial) else None

    @retry_on_outage
    def finish(self, claim: TrialClaim, verdict: TrialOutcome) -> bool:
        """Tells Optuna how a trial ended; false, and nothing told, when the attempt is stale."""
        with self._lock():
            if not self._is_current(claim):
                return False
            self._check_lock()
            if verdict.constraint is not None:
                trial = Trial(self._study, claim.trial_id)
                if verdict.constraint not in trial._cached_frozen_trial.constraints:
                    trial.set_constraint(verdict.constraint, 1.0)
            for epoch, value in verdict.untold.items():
                self._storage.set_trial_intermediate_value(claim.trial_id, int(epoch), value)
            self._storage.set_trial_user_attr(claim.trial_id, "result", verdict.row)
            tell(self._study, claim.number, verdict.values, verdict.state)
            return True

    @retry_on_outage
    def release(self, claim: TrialClaim) -> None:
        """Gives back a trial that was interrupted: it waits, under its number, for the next claim."""
        with self._lock():
            if self._is_current(claim):
                self._storage.set_trial_state_values(claim.trial_id, TrialState.WAITING)

    @retry_on_outage
    def lose(self, claim: TrialClaim, how: str) -> None:
        """Gives back a trial whose processes died though this one lives; see `reclaim`."""
        with self._lock():
            if self._is_current(claim):
                self._give_back(self._storage.get_trial(claim.trial_id), how)

    @retry_on_outage
    def reclaim(self, elsewhere: bool = False, how: str = "its worker died") -> list[int]:
        """Gives back the trials of owners that no longer live (see `deaths.lost`); one that took three with it fails.

        Args:
            elsewhere: Take owners on other machines for dead where there are no leases: this machine alone works on
                the study.
            how: What happened, for the reason of a trial that fails.

        Returns:
            Numbers of the trials that wait again.
        """
        if not self._lost(elsewhere):
            return []
        with self._lock():
            return [trial.number for trial in self._lost(elsewhere) if self._give_back(trial, how)]

    def _lost(self, elsewhere: bool) -> list[FrozenTrial]:
        return orphaned(self._trials([TrialState.RUNNING]), self.database, elsewhere)

    def _give_back(self, trial: FrozenTrial, how: str) -> bool:
        """Whether the trial waits again; one that dies without getting further than the last time is not tried for
        ever.
        """
        if not is_sampled(trial, self._trials(), self.spec):  # nothing ran: the trial is not to blame
            self._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
            return True
        deaths = count_crash(trial)
        self._storage.set_trial_user_attr(trial._trial_id, "deaths", deaths)
        if deaths["count"] < MAX_CRASHES:
            self._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
            return True
        row = killed(f"{how} in each of {MAX_CRASHES} attempts", trial.user_attrs.get("attempt"))
        self._storage.set_trial_user_attr(trial._trial_id, "result", row)
        self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        return False

    def lease(self, claim: TrialClaim, stopped: Callable[[], bool]) -> Lease:
        """This process's hold on a trial; see `Lease`."""
        return Lease(partial(self.renew, claim) if self.database else None, stopped)

    @retry_on_outage
    def renew(self, claim: TrialClaim) -> bool:
        """Extends the lease on a trial; false when it is another's now."""
        if not self._is_current(claim):
            return False
        if self.database:
            self._storage.set_trial_user_attr(claim.trial_id, "lease", self.database.lease())
        return True

    def _is_current(self, claim: TrialClaim, trial: FrozenTrial | None = None) -> bool:
        trial = trial or self._storage.get_trial(claim.trial_id)
        return trial.state == TrialState.RUNNING and trial.user_attrs.get("attempt") == claim.attempt

    def is_finished(self) -> bool:
        """Whether all trials of the total are in a final state."""
        trials = self.trials()
        return len(trials) >= self.total and all(trial.state.is_finished() for trial in trials)

    def is_over(self) -> bool:
        """Whether nothing will be left to claim, whatever becomes of the trials that run."""
        return self.is_finished() or self.is_failing()

    @retry_on_outage
    def is_failing(self) -> bool:
        """Whether the last `max_failures` trials since the launch all failed: nothing is claimed any more."""
        return too_many_failures(self._trials(), self._study.user_attrs, self.spec.max_failures)
