"""Builds Optuna's samplers and pruners by name, for a study that many processes share."""

from __future__ import annotations

import inspect
import warnings
from importlib.util import find_spec
from math import floor, prod
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    GPSampler,
    GridSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import TrialState

from lit_dl.errors import ConfigError, suggest, unknown_name
from lit_dl.seeds import derive
from sweeps.spec.space import Parameter, Space
from sweeps.spec.spec import Plugin, SweepSpec

_REQUIRED_PACKAGES = {"GPSampler": "scipy", "QMCSampler": "scipy", "CmaEsSampler": "cmaes", "WilcoxonPruner": "scipy"}
# These samplers derive the order of their points from the seed, so every process must use the same seed.
_SHARED_SEED = (GridSampler, BruteForceSampler, QMCSampler)


def build_sampler(spec: SweepSpec, trial_number: int) -> BaseSampler:
    """Builds the sampler for one trial, seeded by the study's seed and the trial's number.

    Two workers therefore never sample the same values, and a continued study samples what an uninterrupted one would.

    Raises:
        ConfigError: The name is unknown, an argument is refused, or the sampler cannot sample the space.
    """
    cls = _resolve_class("sampler", spec.sampler, optuna.samplers, BaseSampler)
    arguments = dict(spec.sampler.init_args)
    takes = inspect.signature(cls.__init__).parameters
    if "seed" in takes:
        seed = arguments.get("seed") or 0
        if not isinstance(seed, int):
            raise ConfigError("sampler.init_args.seed", f"must be a whole number; got {seed!r}")
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
                "sampler.init_args.search_space", "must be left out; GridSampler takes its grid from space"
            )
        arguments["search_space"] = grid(spec.space)
    return _instantiate("sampler", cls, arguments)  # type: ignore[no-any-return]


def requires_serial_sampling(spec: SweepSpec) -> bool:
    """Returns whether trials must be sampled one after another, as the sampler would give two at once the same point.

    That holds for samplers that enumerate points, and for Optuna's Gaussian process: it maximizes its acquisition
    function, and avoids RUNNING trials only once their values are stored.
    """
    return issubclass(_resolve_class("sampler", spec.sampler, optuna.samplers, BaseSampler), (*_SHARED_SEED, GPSampler))


def build_pruner(spec: SweepSpec) -> BasePruner:
    """Builds the pruner; one that never prunes when the spec names none.

    Raises:
        ConfigError: The name is unknown, or an argument is refused.
    """
    if spec.pruner is None:
        return NopPruner()
    cls = _resolve_class("pruner", spec.pruner, optuna.pruners, BasePruner)
    arguments = dict(spec.pruner.init_args)
    if issubclass(cls, HyperbandPruner):
        # "auto" would prune nothing until one trial completes.
        arguments.setdefault("max_resource", spec.max_epochs)
    return _instantiate("pruner", cls, arguments)  # type: ignore[no-any-return]


def _resolve_class(key: str, plugin: Plugin, module: Any, base: type) -> type[Any]:
    name = plugin.class_path.removeprefix(f"{module.__name__}.")
    if "." in name:
        from lit_dl.config.classes import import_class

        return import_class(f"{key}.class_path", plugin.class_path, base)
    known = [n for n in module.__all__ if inspect.isclass(getattr(module, n)) and n != base.__name__]
    if name not in known:
        raise unknown_name(key, name, known)
    need = _REQUIRED_PACKAGES.get(name)
    if need and find_spec(need) is None:
        raise ConfigError(key, f"{name} needs the package {need}; pip install {need}")
    return getattr(module, name)  # type: ignore[no-any-return]


def _instantiate(key: str, cls: type, arguments: dict[str, Any]) -> Any:
    takes = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
    for name in arguments:
        if name not in takes:
            known = [known for known in takes if known != "self"]
            raise ConfigError(
                f"{key}.init_args", f"{cls.__name__} takes no {name!r}, but {', '.join(known)}{suggest(name, known)}"
            )
    try:
        with warnings.catch_warnings():
            # `group` is experimental; without it, conditional parameters are sampled independently.
            warnings.simplefilter("ignore", ExperimentalWarning)
            return cls(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}.init_args", f"{arguments!r} is refused by {cls.__name__}: {error}") from None


def dry_run_sampler(spec: SweepSpec) -> None:
    """Samples and prunes a few trials of a study in memory, because Optuna checks some arguments only in use.

    Raises:
        ConfigError: The sampler or the pruner cannot work.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler, pruner = build_sampler(spec, 0), build_pruner(spec)
    _dry_run_sampler(spec, sampler)
    if spec.pruner is not None:
        _dry_run_pruner(spec, spec.pruner, pruner)


def _dry_run_sampler(spec: SweepSpec, sampler: BaseSampler) -> None:
    directions: Any = [objective.direction for objective in spec.objectives]
    try:
        study = optuna.create_study(directions=directions, sampler=sampler)
        for _ in range(3):
            trial = study.ask()
            spec.space.sample(lambda parameter, trial=trial: suggest_one(trial, parameter))  # type: ignore[misc]
            tell(study, trial.number, [0.5] * len(directions))
    except Exception as error:
        raise ConfigError("sampler.init_args", _refusal(spec.sampler, error)) from None


def _dry_run_pruner(spec: SweepSpec, plugin: Plugin, pruner: BasePruner) -> None:
    directions: Any = [objective.direction for objective in spec.objectives]
    try:
        study = optuna.create_study(directions=directions, pruner=pruner)
        for step in range(1, 3):
            trial = study.ask()
            for epoch in range(1, 3):
                trial.report(0.5 / step, epoch)
                trial.should_prune()
            tell(study, trial.number, [0.5])
    except Exception as error:
        raise ConfigError("pruner.init_args", _refusal(plugin, error)) from None


def _refusal(plugin: Plugin, error: Exception) -> str:
    return f"{plugin.init_args!r} is refused by {plugin.class_path}: {type(error).__name__}: {error}".replace("\n", " ")


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


def grid(space: Space) -> dict[str, list[Any]]:
    """Returns all values of every parameter.

    Raises:
        ConfigError: The space has a range of floats without a step, or a condition.
    """
    for parameter in space:
        if parameter.when:
            raise ConfigError(
                f"space.{parameter.name}.when", "does not go with GridSampler; BruteForceSampler takes conditions"
            )
    return {parameter.name: _values_of(parameter) for parameter in space}


def _values_of(parameter: Parameter) -> list[Any]:
    if not parameter.is_range:
        return parameter.options()
    step = parameter.step or (1 if parameter.type == "int" and not parameter.log else None)
    if step is None:
        raise ConfigError(
            f"space.{parameter.name}", "must have a step or be a list of choices, to be gone through one by one"
        )
    assert parameter.low is not None
    assert parameter.high is not None
    count = floor((parameter.high - parameter.low) / step + 1e-9) + 1
    kind = int if parameter.type == "int" else float
    return [kind(parameter.low + number * step) for number in range(count)]


def grid_size(spec: SweepSpec) -> int | None:
    """Returns the number of configurations that the sampler enumerates; `None` for a sampler without an end.

    Raises:
        ConfigError: The space cannot be enumerated.
    """
    cls = _resolve_class("sampler", spec.sampler, optuna.samplers, BaseSampler)
    if issubclass(cls, GridSampler):
        return prod(len(values) for values in grid(spec.space).values())
    return _count_combinations(list(spec.space), {}) if issubclass(cls, BruteForceSampler) else None


def _count_combinations(rest: list[Parameter], chosen: dict[str, Any]) -> int:
    if not rest:
        return 1
    first, *others = rest
    if not all(chosen.get(name) in options for name, options in first.when.items()):
        return _count_combinations(others, chosen)
    return sum(_count_combinations(others, {**chosen, first.name: value}) for value in _values_of(first))
