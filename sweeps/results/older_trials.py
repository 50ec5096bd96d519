"""The completed trials of older sweeps that fit a spec, for its sampler to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lit_dl.errors import ConfigError, LitError
from lit_dl.files import expand_path
from sweeps.results.files import read_results
from sweeps.results.trial_result import TrialResult
from sweeps.spec.constraint import constraint_values
from sweeps.spec.define_by_run import FunctionSpace
from sweeps.spec.parse_spec import load_spec
from sweeps.spec.space import Parameter
from sweeps.spec.spec import SweepSpec
from sweeps.study.warm_start import OlderTrial


@dataclass(frozen=True)
class OlderSweep:
    """What an older sweep gives to a new one.

    Args:
        folder: Its run folder.
        completed: Number of its completed trials.
        fitting: Those whose parameters are those of the new space, with values inside of it.
    """

    folder: str
    completed: int
    fitting: list[OlderTrial]

    def __str__(self) -> str:
        return (
            f"warm start: {len(self.fitting)} of {self.completed} completed trials in {self.folder} fit the space; "
            "the sampler learns from them, and nothing counts them"
        )


def read_older_sweeps(spec: SweepSpec, run_dir: Path) -> list[OlderSweep]:
    """Returns what the run folders in `warm_start` of a spec hold for it.

    Args:
        spec: The spec.
        run_dir: Its own run folder, whose trials the sampler sees anyway.

    Raises:
        ConfigError: One is no run folder of an older sweep, or its sweep has other objectives.
    """
    for number, folder in enumerate(spec.warm_start):
        if Path(expand_path(folder)).resolve() == run_dir.resolve():
            raise ConfigError(f"warm_start[{number}]", f"must be the run folder of another sweep; got {folder}")
    return [_older_sweep(spec, f"warm_start[{number}]", folder) for number, folder in enumerate(spec.warm_start)]


def _older_sweep(spec: SweepSpec, key: str, folder: str) -> OlderSweep:
    path = Path(expand_path(folder))
    try:
        results, older = read_results(path), load_spec(path / "spec.yaml")
    except LitError as error:
        raise ConfigError(key, f"must be the run folder of a sweep ({error})") from None
    if older.objectives != spec.objectives:
        then, now = (", ".join(f"{o.direction} {o.metric}" for o in s.objectives) for s in (older, spec))
        raise ConfigError(key, f"must have the objective of this sweep, {now}; {folder} has {then}; leave it out")
    completed = [result for result in results if result.is_completed]
    fitting = [
        OlderTrial(result.params, _values(spec, result), constraint_values(spec.constraints, _row(result)))
        for result in completed
        if _fits(spec, result)
    ]
    return OlderSweep(folder, len(completed), fitting)


def _values(spec: SweepSpec, result: TrialResult) -> list[float]:
    assert result.value is not None, "a completed trial has a value"
    return [result.value, *(result.best[objective.metric] for objective in spec.objectives[1:])]


def _row(result: TrialResult) -> dict[str, Any]:
    """Returns the figures of a trial that constraints may be about, as a worker stores them."""
    metrics = {f"metrics.{name}": value for name, value in result.best.items()}
    return {**vars(result), **{f"{name}_s": value for name, value in result.seconds.items()}, **metrics}


def _fits(spec: SweepSpec, result: TrialResult) -> bool:
    """Returns whether a trial could have been sampled from the space of now, with the parameters that it has."""
    if any(objective.metric not in result.best for objective in spec.objectives[1:]):
        return False
    if isinstance(spec.space, FunctionSpace):  # which alone knows what goes together
        known = spec.space.parameters
        return all(name in known and _contains(known[name], value) for name, value in result.params.items())
    missing = object()
    sample = spec.space.sample(lambda parameter: result.params.get(parameter.name, missing))
    return sample.keys() == result.params.keys() and all(
        _contains(spec.space.parameters[name], value) for name, value in sample.items()
    )


def _contains(parameter: Parameter, value: Any) -> bool:
    distribution = parameter.distribution()
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (TypeError, ValueError):
        return False
