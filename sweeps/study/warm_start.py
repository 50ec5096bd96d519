"""Older trials that a sampler learns from. They are no trials of the study: only the sampler sees them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, dataclass, field
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.spec.space import Space, Values

_ATTRIBUTE = "warm_start"


@dataclass(frozen=True)
class OlderTrial:
    """A completed trial of an older sweep.

    Args:
        params: Its values by parameter, as a storage holds them.
        values: Its values of the objectives.
        constraints: Its constraints, as Optuna has them.
    """

    params: Values
    values: list[float]
    constraints: dict[str, float] = field(default_factory=dict)


def store_older_trials(study: Study, older: Sequence[OlderTrial]) -> None:
    """Stores older trials in the study, for workers that do not see the older run folders."""
    stored = [asdict(trial) for trial in older]
    if stored != study._storage.get_study_system_attrs(study._study_id).get(_ATTRIBUTE, []):
        study._storage.set_study_system_attr(study._study_id, _ATTRIBUTE, stored)


def read_older_trials(study: Study, space: Space) -> list[FrozenTrial]:
    """Returns the older trials in the form of Optuna. Their numbers are below those of the study, from -1 down."""
    stored = study._storage.get_study_system_attrs(study._study_id).get(_ATTRIBUTE, [])
    trials = []
    for number, values in enumerate(stored, start=1):
        distributions = {name: space.parameters[name].distribution() for name in values["params"]}
        trial = create_trial(
            params=values["params"],
            distributions=distributions,
            values=values["values"],
            constraints=values.get("constraints"),
        )
        trial.number = trial._trial_id = -number
        trials.append(trial)
    return trials[::-1]


def with_older_trials(study: Study, older: list[FrozenTrial]) -> Study:
    """Returns the study as its sampler sees it: with older trials before its own."""
    if not older:
        return study
    seen = copy(study)
    seen._storage = _StorageWithOlderTrials(study._storage, older)  # type: ignore[assignment]
    return seen


class _StorageWithOlderTrials:
    """A storage in which older trials come first; everything else is that of the storage behind it."""

    def __init__(self, storage: Any, older: list[FrozenTrial]) -> None:
        self._storage = storage
        self._older = older

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Sequence[TrialState] | None = None
    ) -> list[FrozenTrial]:
        older = self._older if states is None or TrialState.COMPLETE in states else []
        return [*older, *self._storage.get_all_trials(study_id, deepcopy=deepcopy, states=states)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)
