"""Configurations: which trials repeat one configuration over seeds, and how many repeats are still to be queued."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sweeps.spec.define_by_run import FunctionSpace
from sweeps.spec.space import Values
from sweeps.spec.spec import SweepSpec

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


OVERLAY = "overlay"
"""The user attribute with the keys that a function returned for a trial. It is not called for the trial again."""


def sample_of(trial: FrozenTrial) -> Values:
    """Returns the sample that a trial was given: what a function returned, or its values by parameter."""
    sample: Values = trial.user_attrs.get(OVERLAY, trial.params)
    return sample


def config_id_of(trial: FrozenTrial) -> str:
    """Returns the id that all repeats of a configuration share.

    It is the name in `runs` of the spec, or the number of the trial for which the configuration was sampled.
    """
    return str(trial.user_attrs.get("config_id", trial.number))


def extended_number(trial: FrozenTrial) -> int | None:
    """Returns the number of the trial that this one extends; `None` for a trial that is no extension."""
    number: int | None = trial.user_attrs.get("extends")
    return number


def extended_by(trials: Iterable[FrozenTrial]) -> dict[int, FrozenTrial]:
    """Returns the extensions that stand in the place of a trial, by number of that trial: those that have completed."""
    completed = [trial for trial in trials if trial.state.name == "COMPLETE"]
    return {extends: trial for trial in completed if (extends := extended_number(trial)) is not None}


def newest_trials(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Returns the trials without those in whose place an extension stands."""
    trials = list(trials)
    replaced = extended_by(trials)
    return [trial for trial in trials if trial.number not in replaced]


def committed_trials(trials: Iterable[FrozenTrial], seeds: int) -> int:
    """Returns the number of trials that are already committed: existing ones plus seed repeats not queued yet.

    An extension is no trial of its own.
    """
    trials = [trial for trial in trials if extended_number(trial) is None]
    if seeds == 1:
        return len(trials)
    counts = Counter(config_id_of(trial) for trial in trials)
    unfinished = {config_id_of(trial) for trial in trials if not trial.state.is_finished()}
    return sum(max(count, seeds) if name in unfinished else count for name, count in counts.items())


def is_sampled(trial: FrozenTrial, trials: list[FrozenTrial], spec: SweepSpec) -> bool:
    """Returns whether a claim of the trial was completed: its parameters are stored and its repeats are queued."""
    run = trial.user_attrs.get("run")
    if run is None and isinstance(spec.space, FunctionSpace) and OVERLAY not in trial.user_attrs:
        return False
    names = spec.space.parameters if run is None else spec.runs[run]
    if any(spec.space.parameter_of(name) for name in names) and not trial.params:
        return False
    repeats = sum(config_id_of(other) == config_id_of(trial) for other in trials) if spec.seeds > 1 else 1
    return config_id_of(trial) != str(trial.number) or repeats >= spec.seeds
