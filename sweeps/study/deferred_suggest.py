"""Values that are drawn for a trial before any of them is written: drawing takes long, and nobody need wait for it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from optuna import Study, Trial
from optuna.distributions import BaseDistribution

from sweeps.spec.space import Values
from sweeps.spec.spec import SweepSpec
from sweeps.study.records import TrialClaim
from sweeps.study.sampling import build_sampler, suggest_one


class DeferredSuggestion:
    """Draws a trial's values as Optuna does, and keeps them to itself until `write`.

    Args:
        study: As the sampler is to see it: with all trials that ended by now.
        claim: Whose trial it is.
        spec: Says which sampler draws, and from which space.
    """

    def __init__(self, study: Study, claim: TrialClaim, spec: SweepSpec) -> None:
        study._thread_local.cached_all_trials = None  # as `Study.ask` does
        self._storage = study._storage
        self._trial_id = claim.trial_id
        self._notes: list[tuple[str, float, BaseDistribution]] = []
        study.sampler = build_sampler(spec, claim.number)
        trial = Trial(study, claim.trial_id)
        # The journal's own object otherwise, in which a value that is drawn stands at once.
        trial._cached_frozen_trial = deepcopy(trial._cached_frozen_trial)
        trial.storage = _BufferedStorage(self._storage, self._notes)  # type: ignore[assignment]
        self.values = _suggest(trial, spec, claim.run)

    def write(self) -> None:
        """Writes the values to the storage."""
        for note in self._notes:
            self._storage.set_trial_param(self._trial_id, *note)


def _suggest(trial: Trial, spec: SweepSpec, run: str | None) -> Values:
    if run is not None:
        chosen = [name for name in spec.runs[run] if name in spec.space]
        return {name: suggest_one(trial, spec.space.parameters[name]) for name in chosen}
    return spec.space.sample(lambda parameter: suggest_one(trial, parameter))


class _BufferedStorage:
    """A storage whose parameters are noted instead of written."""

    def __init__(self, storage: Any, notes: list[tuple[str, float, BaseDistribution]]) -> None:
        self._storage, self._notes = storage, notes

    def set_trial_param(self, _: int, *note: Any) -> None:
        self._notes.append(note)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)
