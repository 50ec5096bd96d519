"""The queue of trials: claims the next WAITING trial, or creates one, and samples its values.

Claim order. A trial is claimed under the study lock. The state is set to RUNNING first, because a WAITING trial must
not be modified except for its state (Optuna's contract for storages). Then `attempt` and `lease` are written, and
`owner` last:

    WAITING, owner {}  ->  RUNNING, owner {}  ->  attempt, lease  ->  owner {machine, pid, ...}

A claimer that is killed in between leaves a RUNNING trial without an owner. Others can see such a trial in two cases
only: while the claimer still holds the lock, or after it died and so released the lock. Therefore whoever holds the
lock and sees one requeues it at once (`recovery.py`). The owner of the previous attempt cannot be mistaken for the new
one, because every requeue empties `owner` before the trial goes back to WAITING.

A reader without the lock may see a trial in the middle of its claim. That is harmless: the previous attempt's claim
is stale as soon as its owner is gone; `reclaim` looks again under the lock before it acts; `is_finished` and `status`
count the trial as running.

A new trial is created as RUNNING with all attributes in one write. A trial that an older version of this program
requeued still has its previous owner while it waits. If its next claimer is killed before the last write, the trial
counts as an orphan of that previous owner, whose process has ended with the older version.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.spec.space import Values
from sweeps.spec.spec import SweepSpec
from sweeps.study.configurations import committed_trials, config_id_of, extended_number
from sweeps.study.crashes import too_many_failures
from sweeps.study.deferred_suggest import DeferredSuggestion
from sweeps.study.handle import StudyHandle
from sweeps.study.liveness import Owner, identity
from sweeps.study.records import TrialClaim, now
from sweeps.study.recovery import Recovery
from sweeps.study.stopping import Stopping
from sweeps.study.warm_start import read_older_trials
from sweeps.trial_folder import TrialFolder


def is_waiting(trial: FrozenTrial, has_stopped: bool) -> bool:
    """Returns whether a trial waits to be claimed: a sweep that has stopped by its rule still extends trials."""
    return trial.state == TrialState.WAITING and (not has_stopped or extended_number(trial) is not None)


class TrialQueue:
    """Hands out trials: those that wait, then new ones, up to the total.

    A claim takes three steps: `take` and `write`, both under the study lock, and `suggest` in between, with or without
    it. `confirm` ends the claim.

    Args:
        handle: The open study.
        spec: The spec.
        recovery: Requeues what interrupted claims left behind.
        stopping: Knows whether the sweep has stopped by its rule; then only extensions are handed out.
    """

    def __init__(self, handle: StudyHandle, spec: SweepSpec, recovery: Recovery, stopping: Stopping) -> None:
        self._handle = handle
        self._spec = spec
        self._recovery = recovery
        self._stopping = stopping
        self._owner: Owner = {}  # as written by the last claim of this process
        self._claimed: int | None = None  # trial id of that claim; None while it is not complete

    def enqueue_runs(self) -> None:
        """Queues the configurations that the spec names in `runs`."""
        space = self._spec.space
        for run, keys in self._spec.runs.items():
            swept = [(parameter, value) for key, value in keys.items() if (parameter := space.parameter_of(key))]
            values = {parameter.name: parameter.stored(value) for parameter, value in swept}
            self._enqueue_repeats(values, {"run": run, "config_id": run}, range(self._spec.seeds))

    def _enqueue_repeats(self, values: Values, attrs: Values, seed_numbers: Iterable[int]) -> None:
        """Queues the missing repeats of a configuration; an earlier process may have died halfway through them."""
        if not seed_numbers:
            return
        repeats = [trial for trial in self._handle.trials() if config_id_of(trial) == attrs["config_id"]]
        existing = {trial.user_attrs.get("seed_number") for trial in repeats}
        for seed_number in seed_numbers:
            if seed_number not in existing:
                self._handle.study.enqueue_trial(values, user_attrs={**attrs, "seed_number": seed_number})

    def take(self, slot: int) -> TrialClaim | None:
        """Marks the next trial as RUNNING and owned by this process; its values are still missing in the claim.

        Returns:
            `None` when there is nothing to claim.
        """
        trials = self._recovery.requeue_incomplete_claims(self._owner, self._claimed)
        attrs = self._handle.study.user_attrs
        has_stopped = self._stopping.reason_in(attrs) is not None
        waiting = next((trial for trial in trials if is_waiting(trial, has_stopped)), None)
        is_complete = has_stopped or committed_trials(trials, self._spec.seeds) >= attrs["total"]
        if (waiting is None and is_complete) or too_many_failures(trials, attrs, self._spec.max_failures):
            return None
        self._handle.check_lock()
        self._owner, self._claimed = {**identity(), "slot": slot, "since": now()}, None
        trial_id = self._create() if waiting is None else self._start(waiting)
        return None if trial_id is None else self._claim_of(trial_id)

    def _create(self) -> int:
        trial = create_trial(state=TrialState.RUNNING, user_attrs=self._attempt_attrs(1))
        return self._handle.storage.create_new_trial(self._handle.study._study_id, trial)

    def _start(self, waiting: FrozenTrial) -> int | None:
        """Makes a WAITING trial ours; `None` when this process hung, lost the lock, and another took the trial."""
        storage, trial_id = self._handle.storage, waiting._trial_id
        try:
            if not storage.set_trial_state_values(trial_id, TrialState.RUNNING):
                return None
            for name, value in self._attempt_attrs(1 + waiting.user_attrs.get("attempt", 0)).items():
                storage.set_trial_user_attr(trial_id, name, value)
        except UpdateFinishedTrialError:
            return None
        return trial_id

    def _attempt_attrs(self, attempt: int) -> dict[str, Any]:
        """Returns the attributes of an attempt, in the order in which they are written: `owner` is last."""
        coordinator = self._handle.coordinator
        lease = {"lease": coordinator.lease()} if coordinator else {}
        return {"attempt": attempt, **lease, "owner": self._owner}

    def _claim_of(self, trial_id: int) -> TrialClaim:
        trial = self._handle.storage.get_trial(trial_id)
        return TrialClaim(
            trial.number,
            trial_id,
            trial.user_attrs["attempt"],
            values={},
            run=trial.user_attrs.get("run"),
            config_id=config_id_of(trial),
            seed_number=trial.user_attrs.get("seed_number", 0),
            extends=extended_number(trial),
            max_epochs=trial.user_attrs.get("max_epochs"),
        )

    @cached_property
    def _older_trials(self) -> list[FrozenTrial]:
        return read_older_trials(self._handle.study, self._spec.space) if self._spec.warm_start else []

    def suggest(self, claim: TrialClaim) -> DeferredSuggestion | None:
        """Samples the values of a trial; `None` when another process has finished the trial meanwhile."""
        try:
            return DeferredSuggestion(self._handle.study, claim, self._spec, self._older_trials)
        except UpdateFinishedTrialError:  # raised where the sampler stores attributes of its own in the trial
            return None

    def write(self, claim: TrialClaim, suggestion: DeferredSuggestion | None) -> TrialClaim | None:
        """Writes the sampled values and queues the repeats of a new configuration.

        Returns:
            The claim with its values; `None` when the trial was lost to another process, or fails here, because of
            values that cannot be used, or the function that suggests them: the worker is not at fault then.
        """
        if suggestion is None or not claim.is_current(self._handle.storage.get_trial(claim.trial_id)):
            return None
        self._handle.check_lock()
        if suggestion.refusal is not None:
            self._fail(claim, suggestion.refusal, suggestion.log)
            return None
        try:
            suggestion.write()
        except ValueError as error:
            self._fail(claim, f"its values do not go with those of other trials: {error}")
            return None
        if claim.config_id == str(claim.number):
            attrs = {"config_id": claim.config_id, **suggestion.attrs}
            self._enqueue_repeats(suggestion.params, attrs, range(1, self._spec.seeds))
        return replace(claim, values=suggestion.values)

    def _fail(self, claim: TrialClaim, reason: str, log: str = "") -> None:
        path = TrialFolder(self._handle.run_dir, claim.number).log
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(log or f"{reason}\n")
        row = {"outcome": "failed", "reason": reason, "attempt": claim.attempt, "finished": now()}
        self._handle.storage.set_trial_user_attr(claim.trial_id, "result", row)
        self._handle.storage.set_trial_state_values(claim.trial_id, TrialState.FAIL)

    def confirm(self, claim: TrialClaim) -> None:
        """Notes that a claim is complete, so that the next one does not requeue its trial."""
        self._claimed = claim.trial_id
