"""Builds Optuna's samplers and pruners by name, for a study that many processes share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    GPSampler,
    GridSampler,
    PartialFixedSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import TrialState

from lit_dl.errors import ConfigError, suggest
from lit_dl.seeds import derive
from sweeps.spec.space import Parameter, Space, Values
from sweeps.spec.spec import Plugin, SweepSpec
from sweeps.study.grid import count_configurations, grid
from sweeps.study.plugins import PluginClass, parameters_of

# These samplers derive the order of their points from the seed, so every process must use the same seed.
_SHARED_SEED = (GridSampler, BruteForceSampler, QMCSampler)
_ENUMERATING = (GridSampler, BruteForceSampler)


def sampler_class(spec: SweepSpec) -> PluginClass:
    """Returns the class of the sampler, and so of the samplers in it.

    Raises:
        ConfigError: A name is unknown, or a sampler that goes through all points is inside of another.
    """
    outer = PluginClass.of("sampler", spec.sampler, optuna.samplers, BaseSampler)
    for inner in outer:
        if inner is not outer and issubclass(inner.cls, _ENUMERATING):
            raise ConfigError(
                inner.key, f"must not be {inner.cls.__name__}, which goes through all points of the space by itself"
            )
    if spec.warm_start and issubclass(outer.cls, _ENUMERATING):
        raise ConfigError("warm_start", f"does not go with {outer.cls.__name__}, which goes through all points anyway")
    return outer


def pruner_class(spec: SweepSpec) -> PluginClass:
    """Returns the class of the pruner, and so of the pruners in it."""
    return PluginClass.of("pruner", spec.pruner or Plugin("NopPruner"), optuna.pruners, BasePruner)


def build_sampler(spec: SweepSpec, trial_number: int) -> BaseSampler:
    """Builds the sampler for one trial, seeded by the study's seed and the trial's number.

    Two workers therefore never sample the same values, and a continued study samples what an uninterrupted one would.

    Raises:
        ConfigError: The name is unknown, an argument is refused, or the sampler cannot sample the space.
    """
    return sampler_class(spec).build(  # type: ignore[no-any-return]
        lambda key, cls, arguments: _sampler_arguments(spec, trial_number, key, cls, arguments)
    )


def _sampler_arguments(spec: SweepSpec, trial_number: int, key: str, cls: type, arguments: Values) -> Values:
    """Returns the arguments of a sampler with those that the spec leaves to us: seed, grid, and grouping."""
    arguments = dict(arguments)
    if "seed" in parameters_of(cls):
        seed = arguments.get("seed") or 0
        if not isinstance(seed, int):
            raise ConfigError(f"{key}.init_args.seed", f"must be a whole number; got {seed!r}")
        fixed = issubclass(cls, _SHARED_SEED)
        arguments["seed"] = seed if fixed else derive(seed, "sampler", trial_number) % 2**32
    if issubclass(cls, QMCSampler):  # its default, with the shared seed, would sample the same for all trials
        independent = RandomSampler(seed=derive(seed, "sampler", trial_number) % 2**32)
        arguments.setdefault("independent_sampler", independent)
    if issubclass(cls, TPESampler) and spec.space.is_conditional:
        arguments = {"multivariate": True, "group": True, **arguments}
    if issubclass(cls, GridSampler):
        if "search_space" in arguments:
            raise ConfigError(
                f"{key}.init_args.search_space", "must be left out; GridSampler takes its grid from space"
            )
        arguments["search_space"] = grid(spec.space)
    if issubclass(cls, PartialFixedSampler) and isinstance(arguments.get("fixed_params"), Mapping):
        arguments["fixed_params"] = _fixed_values(
            f"{key}.init_args.fixed_params", arguments["fixed_params"], spec.space
        )
    return arguments


def _fixed_values(key: str, given: Mapping[str, Any], space: Space) -> Values:
    """Returns fixed values as the storage holds them.

    Raises:
        ConfigError: The space has no such parameter, or not this value for it.
    """
    for name, value in given.items():
        if name not in space:
            raise ConfigError(f"{key}.{name}", f"must be a key of the space{suggest(str(name), space.parameters)}")
        try:
            distribution = space.parameters[name].distribution()
            is_contained = distribution._contains(distribution.to_internal_repr(space.parameters[name].stored(value)))
        except (TypeError, ValueError):
            is_contained = False
        if not is_contained:
            raise ConfigError(f"{key}.{name}", f"must be one of its values in space; got {value!r}")
    return {name: space.parameters[name].stored(value) for name, value in given.items()}


def requires_serial_sampling(spec: SweepSpec) -> bool:
    """Returns whether trials must be sampled one after another, as the sampler would give two at once the same point.

    That holds for samplers that enumerate points, and for Optuna's Gaussian process: it maximizes its acquisition
    function, and avoids RUNNING trials only once their values are stored.
    """
    return any(issubclass(sampler.cls, (*_SHARED_SEED, GPSampler)) for sampler in sampler_class(spec))


def build_pruner(spec: SweepSpec) -> BasePruner:
    """Builds the pruner; one that never prunes when the spec names none.

    Raises:
        ConfigError: The name is unknown, or an argument is refused.
    """
    if spec.pruner is None:
        return NopPruner()

    def complete(_: str, cls: type, arguments: Values) -> Values:
        if issubclass(cls, HyperbandPruner):
            # "auto", which is what the first trial that completes comes to, would prune nothing until then.
            return {"max_resource": spec.last_step or "auto", **arguments}
        return arguments

    return pruner_class(spec).build(complete)  # type: ignore[no-any-return]


def tell(study: optuna.Study, number: int, values: list[float] | None, state: TrialState | None = None) -> None:
    """Calls `study.tell`, and ignores the errors by which samplers say that they have no points left.

    Those errors are raised after the study has stored the result.
    """
    try:
        study.tell(number, values, state=state)
    except (RuntimeError, KeyError) as error:
        # Samplers call `Study.stop` when they have tried everything, which Optuna refuses outside of `optimize`.
        # GridSampler raises KeyError 'grid_id' when a queued trial, which is none of its points, runs near the end.
        if "Study.stop" not in str(error) and str(error) != "'grid_id'":
            raise


def suggest_one(trial: optuna.Trial, parameter: Parameter) -> Any:
    """Suggests a value for one parameter; a value that an interrupted claim has stored stays."""
    distribution = parameter.distribution()
    if parameter.name in trial.distributions and parameter.name not in trial.relative_params:
        # Advances the sampler's random numbers, so that the next parameters get the values they would have got.
        trial.study.sampler.sample_independent(trial.study, trial._get_latest_trial(), parameter.name, distribution)
    if not parameter.is_range:
        return trial.suggest_categorical(parameter.name, parameter.options())
    bounds = {"step": distribution.step, "log": distribution.log}
    suggest_number = trial.suggest_int if parameter.type == "int" else trial.suggest_float
    return suggest_number(parameter.name, distribution.low, distribution.high, **bounds)


def grid_size(spec: SweepSpec) -> int | None:
    """Returns the number of configurations that the sampler enumerates; `None` for a sampler without an end.

    Raises:
        ConfigError: The space cannot be enumerated.
    """
    cls = sampler_class(spec).cls
    if issubclass(cls, GridSampler):
        grid(spec.space)  # which refuses a space that GridSampler cannot list
    return count_configurations(spec.space) if issubclass(cls, _ENUMERATING) else None
