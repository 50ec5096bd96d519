"""Older trials that a sampler learns from. They are no trials of the study: only the sampler sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from optuna import Study
from optuna.trial import FrozenTrial, create_trial

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
