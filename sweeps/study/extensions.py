"""Extensions: trials that go on from a completed trial for more epochs, and then stand in its place.

A finished trial of Optuna cannot change. So an extension is a trial of its own, queued with the values of the trial
that it extends; its user attributes are those of that trial and

- `extends`: number of the trial from whose last epoch it goes on, which may be an extension itself;
- `max_epochs`: the new `trainer.max_epochs`;
- `extension`: number of the plan that it belongs to.

A launch writes its whole plan into the study, in one write, and queues the trials after that. Whichever launch comes
next queues those that are missing. A plan is over when a launch has seen all its trials end.

An extension is not a new configuration: the total of the study does not count it, a stop rule does not hold it back,
and no pruner stops it, because it was asked for by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from sweeps.study.configurations import OVERLAY, config_id_of, extended_number
from sweeps.study.handle import StudyHandle
from sweeps.study.retry import retry_on_outage

_PLAN = "extension"


@dataclass(frozen=True)
class ExtensionPlan:
    """Which trials a launch extends.

    Args:
        number: Number of the plan in its study, from 1.
        request: What the launch asked for. The same request again goes on with a plan that is not over.
        max_epochs: The new number of epochs by number of the trial that is extended.
        is_over: Whether all its trials have ended.
    """

    number: int
    request: Mapping[str, Any]
    max_epochs: Mapping[int, int]
    is_over: bool = False


class Extensions:
    """The extensions of a study.

    Args:
        handle: The open study.
    """

    def __init__(self, handle: StudyHandle) -> None:
        self._handle = handle

    @retry_on_outage
    def plan(self) -> ExtensionPlan | None:
        """Returns the last plan; `None` where nothing was ever extended."""
        stored = self._handle.study.user_attrs.get(_PLAN)
        if stored is None:
            return None
        return ExtensionPlan(**{**stored, "max_epochs": {int(n): epochs for n, epochs in stored["max_epochs"].items()}})

    def _write(self, plan: ExtensionPlan) -> None:
        by_number = {str(number): epochs for number, epochs in plan.max_epochs.items()}
        self._handle.study.set_user_attr(
            _PLAN, {**asdict(plan), "request": dict(plan.request), "max_epochs": by_number}
        )

    @retry_on_outage
    def start(self, plan: ExtensionPlan | None) -> None:
        """Stores a plan, if there is one, and queues its trials."""
        with self._handle.lock():
            if plan is not None:
                self._write(plan)
            self.enqueue_missing()

    def enqueue_missing(self) -> None:
        """Queues the trials of the plan that are not in the study yet. The caller holds the study lock."""
        plan = self.plan()
        if plan is None or plan.is_over:
            return
        trials = self._handle.trials()
        there = {extended_number(trial) for trial in self._of(plan, trials)}
        for number in sorted(plan.max_epochs.keys() - there):
            self._enqueue(plan, trials[number])

    def _enqueue(self, plan: ExtensionPlan, trial: FrozenTrial) -> None:
        attrs = {name: value for name, value in trial.user_attrs.items() if name in ("run", "seed_number", OVERLAY)}
        attrs |= {"config_id": config_id_of(trial), "extends": trial.number}
        attrs |= {"max_epochs": plan.max_epochs[trial.number], "extension": plan.number}
        self._handle.study.enqueue_trial(trial.params, user_attrs=attrs)

    def unfinished(self, plan: ExtensionPlan) -> list[int]:
        """Returns the numbers of the trials that a plan extends and whose extensions have not ended."""
        ended = {extended_number(t) for t in self._of(plan, self._handle.trials()) if t.state.is_finished()}
        return sorted(plan.max_epochs.keys() - ended)

    @staticmethod
    def _of(plan: ExtensionPlan, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        return [trial for trial in trials if trial.user_attrs.get("extension") == plan.number]

    @retry_on_outage
    def end(self) -> None:
        """Notes that the plan is over, if all its trials have ended."""
        plan = self.plan()
        if plan is not None and not plan.is_over and not self.unfinished(plan):
            self._write(replace(plan, is_over=True))


def has_extensions(study: Study) -> bool:
    """Returns whether any trial was ever extended."""
    return _PLAN in study.user_attrs


def newest_as_one(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Returns the trials as a sampler is to see them: a trial and its extensions as one, with the newest value.

    What samplers keep in a trial (the point of a grid, a generation) is that of the trial itself.
    """
    newest = {trial.number: trial for trial in trials}
    for trial in reversed(trials):  # an extension comes after the trial that it extends
        extends = extended_number(trial)
        if extends is not None and trial.state == TrialState.COMPLETE:
            newest[extends] = newest[trial.number]
    return [
        trial if newest[trial.number] is trial else _with_values(trial, newest[trial.number].values)
        for trial in trials
        if extended_number(trial) is None
    ]


def _with_values(trial: FrozenTrial, values: Sequence[float]) -> FrozenTrial:
    changed = copy(trial)  # the storage's own object must not change
    changed.values = values
    return changed
