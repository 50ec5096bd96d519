"""Configurations: the trials that repeat one over seeds, and what of them is still to come."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sweeps.spec.spec import SweepSpec

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def configuration(trial: FrozenTrial) -> str:
    """What the repeats of a configuration share: its name in `runs`, or the number of the trial that sampled it."""
    return str(trial.user_attrs.get("config_id", trial.number))


def committed_trials(trials: list[FrozenTrial], seeds: int) -> int:
    """Trials that there will be without a new configuration: those that are there, and repeats yet to be queued."""
    if seeds == 1:
        return len(trials)
    counts = Counter(configuration(trial) for trial in trials)
    begun = {configuration(trial) for trial in trials if not trial.state.is_finished()}
    return sum(max(count, seeds) if name in begun else count for name, count in counts.items())


def is_sampled(trial: FrozenTrial, trials: list[FrozenTrial], spec: SweepSpec) -> bool:
    """Whether a claim of it came to its end: its values are there, and its repeats queued."""
    run = trial.user_attrs.get("run")
    names = spec.space.parameters if run is None else spec.runs[run]
    if any(name in spec.space for name in names) and not trial.params:
        return False
    same = sum(configuration(other) == configuration(trial) for other in trials) if spec.seeds > 1 else 1
    return configuration(trial) != str(trial.number) or same >= spec.seeds
