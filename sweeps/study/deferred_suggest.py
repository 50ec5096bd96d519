"""Sampling without the study lock: values are suggested first and written to the storage later, under the lock."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from optuna import Study, Trial
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial

from lit_dl.errors import ConfigError
from sweeps.spec.define_by_run import FunctionSpace, SuggestedParameter
from sweeps.spec.space import Space, Values
from sweeps.spec.spec import SweepSpec
from sweeps.study.configurations import OVERLAY, config_id_of
from sweeps.study.records import TrialClaim
from sweeps.study.retry import transient_reason
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
        values: The sample: values by parameter, or what the function of the space returned.
        params: The values that were suggested, by name.
        attrs: User attributes of the trial and of its repeats: what the function returned, if there is one.
        refusal: Why the trial cannot run, where it was enqueued with values that cannot be used, or the function of the
            space failed; else `None`.
        log: The traceback of that failure.
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
        self.params: Values = {}
        self.attrs: Values = {}
        self.refusal: str | None = None
        self.log = ""
        try:
            self._suggest(trial, spec, claim)
        except ConfigError as error:
            self.refusal = str(error)

    def _suggest(self, trial: Trial, spec: SweepSpec, claim: TrialClaim) -> None:
        space = spec.space
        if isinstance(space, FunctionSpace) and claim.run is None:
            self.values = self._by_function(trial, space, claim)
            self.params, self.attrs = trial.params, {OVERLAY: self.values}
            return
        trial._fixed_params = _stored_values(trial._fixed_params, space)
        if claim.run is not None:
            swept = filter(None, map(space.parameter_of, spec.runs[claim.run]))
            self.values = {parameter.name: suggest_one(trial, parameter) for parameter in swept}
        else:
            self.values = space.sample(lambda parameter: suggest_one(trial, parameter))
        self.params = self.values

    def _by_function(self, trial: Trial, space: FunctionSpace, claim: TrialClaim) -> Values:
        """Returns what the function of the space returns for a trial, or what is recorded of an earlier call.

        A function may return something else when it is called again, so an attempt at a trial that has begun, and the
        repeats of a configuration, have what is recorded.

        Raises:
            ConfigError: The function fails.
        """
        if (recorded := trial.user_attrs.get(OVERLAY)) is not None:
            _suggest_as_before(trial, claim)
            return recorded  # type: ignore[no-any-return]
        try:
            return space.suggest(trial)
        except (Exception, SystemExit) as error:
            if isinstance(error, UpdateFinishedTrialError) or transient_reason(error) is not None:
                raise
            self.log = traceback.format_exc()
            raise space.failure(error, trial.params) from error

    def write(self) -> None:
        """Writes the values to the storage.

        Raises:
            ValueError: Other trials have other choices for a parameter, or values of another kind.
        """
        for param in self._buffer:
            self._storage.set_trial_param(self._trial_id, *param)
        for name, value in self.attrs.items():
            self._storage.set_trial_user_attr(self._trial_id, name, value)


def _suggest_as_before(trial: Trial, claim: TrialClaim) -> None:
    """Gives the repeat of a configuration the values of the trial that the configuration was suggested for."""
    for other in trial.study.get_trials(deepcopy=False):
        if config_id_of(other) == claim.config_id and str(other.number) == claim.config_id:
            for name, distribution in other.distributions.items():
                suggest_one(trial, SuggestedParameter.of(name, distribution))


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
