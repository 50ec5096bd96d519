"""Sampling without the study lock: values are suggested first and written to the storage later, under the lock."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from optuna import Study, Trial
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from lit_dl.errors import ConfigError
from sweeps.spec.space import Space, Values
from sweeps.spec.spec import SweepSpec
from sweeps.study.records import TrialClaim
from sweeps.study.sampler_view import seen_by_sampler
from sweeps.study.sampling import build_sampler, suggest_one

_Param = tuple[str, float, BaseDistribution]


class DeferredSuggestion:
    """Suggests a trial's values as Optuna does, and buffers them until `write`.

    A sampler may take longer than everything else in a claim, so other processes must not wait for it.

    Args:
        study: The study; its sampler sees all trials that have finished by now.
        claim: The claim of the trial.
        spec: Names the sampler and the search space.
        older: Trials of older sweeps that the sampler sees as well.

    Attributes:
        values: The values by parameter.
        refusal: Why the trial cannot run, where it was enqueued with values that cannot be used; else `None`.
    """

    def __init__(self, study: Study, claim: TrialClaim, spec: SweepSpec, older: list[FrozenTrial]) -> None:
        study._thread_local.cached_all_trials = None  # `Study.ask` does the same
        self._storage = study._storage
        self._trial_id = claim.trial_id
        self._buffer: list[_Param] = []
        study.sampler = build_sampler(spec, claim.number)
        trial = Trial(seen_by_sampler(study, older), claim.trial_id)
        # Without a copy this is the object in the journal storage's memory, and a suggested value would be visible to
        # readers in this process before it is written.
        trial._cached_frozen_trial = deepcopy(trial._cached_frozen_trial)
        trial.storage = _BufferedStorage(self._storage, self._buffer)  # type: ignore[assignment]
        self.values: Values = {}
        self.refusal: str | None = None
        try:
            trial._fixed_params = _stored_values(trial._fixed_params, spec.space)
        except ConfigError as error:
            self.refusal = str(error)
        else:
            self.values = _suggest(trial, spec, claim.run)

    def write(self) -> None:
        """Writes the values to the storage."""
        for param in self._buffer:
            self._storage.set_trial_param(self._trial_id, *param)


def _suggest(trial: Trial, spec: SweepSpec, run: str | None) -> Values:
    if run is not None:
        swept = [name for name in spec.runs[run] if name in spec.space]
        return {name: suggest_one(trial, spec.space.parameters[name]) for name in swept}
    return spec.space.sample(lambda parameter: suggest_one(trial, parameter))


def _stored_values(enqueued: Mapping[str, Any], space: Space) -> Values:
    """Returns the values that a trial was enqueued with, as the storage holds them: any client may have written them.

    Raises:
        ConfigError: A parameter cannot have its value. Numbers out of their range are used, as Optuna does.
    """
    known = {name: space.parameters[name].stored(value) for name, value in enqueued.items() if name in space}
    for name, value in known.items():
        try:
            space.parameters[name].distribution().to_internal_repr(value)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"space.{name}", f"cannot have the value {value!r} that was enqueued: {error}") from None
    return known


class _BufferedStorage:
    """A storage that buffers parameters; everything else goes to the storage behind it."""

    def __init__(self, storage: Any, buffer: list[_Param]) -> None:
        self._storage = storage
        self._buffer = buffer

    def set_trial_param(self, _: int, *param: Any) -> None:
        self._buffer.append(param)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)
