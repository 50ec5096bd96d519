"""Optuna's samplers and pruners by name, set up for a study that many processes share."""

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

_NEEDS = {"GPSampler": "scipy", "QMCSampler": "scipy", "CmaEsSampler": "cmaes", "WilcoxonPruner": "scipy"}
# These order all their points by the seed, so every process must have the same.
_ONE_SEED = (GridSampler, BruteForceSampler, QMCSampler)


def build_sampler(spec: SweepSpec, trial_number: int) -> BaseSampler:
    """The sampler for one trial: its random numbers are those of the study's seed and the trial's number.

    So two workers never draw the same, and a continued study draws what an uninterrupted one would have drawn.

    Raises:
        ConfigError: An unknown name, an argument that it refuses, a space that it cannot sample.
    """
    cls = _find("sampler", spec.sampler, optuna.samplers, BaseSampler)
    arguments = dict(spec.sampler.init_args)
    takes = inspect.signature(cls.__init__).parameters
    if "seed" in takes:
        seed = arguments.get("seed") or 0
        if not isinstance(seed, int):
            raise ConfigError("sampler.init_args.seed", f"must be a whole number; got {seed!r}")
        fixed = issubclass(cls, _ONE_SEED)
        arguments["seed"] = seed if fixed else derive(seed, "sampler", trial_number) % 2**32
    if issubclass(cls, QMCSampler):  # its own would draw the same for all trials
        own = RandomSampler(seed=derive(seed, "sampler", trial_number) % 2**32)
        arguments.setdefault("independent_sampler", own)
    if issubclass(cls, TPESampler) and spec.space.is_conditional:
        arguments = {"multivariate": True, "group": True, **arguments}
    if issubclass(cls, GridSampler):
        if "search_space" in arguments:
            raise ConfigError(
                "sampler.init_args.search_space", "must be left out; GridSampler takes its grid from space"
            )
        arguments["search_space"] = grid(spec.space)
    return _build("sampler", cls, arguments)  # type: ignore[no-any-return]


def requires_serial_sampling(spec: SweepSpec) -> bool:
    """Whether no two trials may be drawn at once: the sampler would give both the same point.

    Those that go through all points do, and Optuna's Gaussian process, which has one maximum and keeps away from
    trials that run by their values.
    """
    return issubclass(_find("sampler", spec.sampler, optuna.samplers, BaseSampler), (*_ONE_SEED, GPSampler))


def build_pruner(spec: SweepSpec) -> BasePruner:
    """The pruner; one that never prunes when the spec names none.

    Raises:
        ConfigError: An unknown name or an argument that it refuses.
    """
    if spec.pruner is None:
        return NopPruner()
    cls = _find("pruner", spec.pruner, optuna.pruners, BasePruner)
    arguments = dict(spec.pruner.init_args)
    if issubclass(cls, HyperbandPruner):
        # "auto" would prune nothing until one trial completes.
        arguments.setdefault("max_resource", spec.max_epochs)
    return _build("pruner", cls, arguments)  # type: ignore[no-any-return]


def _find(key: str, plugin: Plugin, module: Any, base: type) -> type[Any]:
    name = plugin.class_path.removeprefix(f"{module.__name__}.")
    if "." in name:
        from lit_dl.config.classes import import_class

        return import_class(f"{key}.class_path", plugin.class_path, base)
    known = [n for n in module.__all__ if inspect.isclass(getattr(module, n)) and n != base.__name__]
    if name not in known:
        raise unknown_name(key, name, known)
    need = _NEEDS.get(name)
    if need and find_spec(need) is None:
        raise ConfigError(key, f"{name} needs the package {need}; pip install {need}")
    return getattr(module, name)  # type: ignore[no-any-return]


def _build(key: str, cls: type, arguments: dict[str, Any]) -> Any:
    takes = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
    for name in arguments:
        if name not in takes:
            known = [known for known in takes if known != "self"]
            raise ConfigError(
                f"{key}.init_args", f"{cls.__name__} takes no {name!r}, but {', '.join(known)}{suggest(name, known)}"
            )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ExperimentalWarning
            )  # `group`, without which conditions are sampled blindly
            return cls(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}.init_args", f"{arguments!r} is refused by {cls.__name__}: {error}") from None


def dry_run_sampler(spec: SweepSpec) -> None:
    """Draws and judges a few trials of a study in memory: some arguments are only looked at then.

    Raises:
        ConfigError: The sampler or the pruner cannot work.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directions: Any = [objective.direction for objective in spec.objectives]
    sampler, pruner = build_sampler(spec, 0), build_pruner(spec)
    try:
        study = optuna.create_study(directions=directions, sampler=sampler)
        for _ in range(3):
            trial = study.ask()
            spec.space.sample(lambda parameter, trial=trial: suggest_one(trial, parameter))  # type: ignore[misc]
            tell(study, trial.number, [0.5] * len(directions))
    except Exception as error:  # Optuna checks some arguments by using them
        raise ConfigError("sampler.init_args", _refusal(spec.sampler, error)) from None
    try:
        study = optuna.create_study(directions=directions, pruner=pruner)
        for step in range(1, 3) if spec.pruner else ():
            trial = study.ask()
            for epoch in range(1, 3):
                trial.report(0.5 / step, epoch)
                trial.should_prune()
            tell(study, trial.number, [0.5])
    except Exception as error:
        assert spec.pruner is not None
        raise ConfigError("pruner.init_args", _refusal(spec.pruner, error)) from None


def _refusal(plugin: Plugin, error: Exception) -> str:
    return f"{plugin.init_args!r} is refused by {plugin.class_path}: {type(error).__name__}: {error}".replace("\n", " ")


def tell(study: optuna.Study, number: int, values: list[float] | None, state: TrialState | None = None) -> None:
    """Tells a study how a trial ended, whatever its sampler then says."""
    try:
        study.tell(number, values, state=state)
    except (RuntimeError, KeyError) as error:
        # How samplers say that they have tried everything; and how Optuna's grid fails after its last point but one,
        # where a trial that was queued is none of its points. By then the study has been told.
        if "Study.stop" not in str(error) and str(error) != "'grid_id'":
            raise


def suggest_one(trial: optuna.Trial, parameter: Parameter) -> Any:
    """A value for one parameter, from the trial's sampler; one that it has, from a claim that broke off, stays."""
    distribution = parameter.distribution()
    if parameter.name in trial.distributions and parameter.name not in trial.relative_params:
        # Drawn all the same, so that what follows is what it would have been.
        trial.study.sampler.sample_independent(trial.study, trial._get_latest_trial(), parameter.name, distribution)
    if not parameter.is_range:
        return trial.suggest_categorical(parameter.name, parameter.options())
    bounds = {"step": distribution.step, "log": distribution.log}
    suggest_number = trial.suggest_int if parameter.type == "int" else trial.suggest_float
    return suggest_number(parameter.name, distribution.low, distribution.high, **bounds)


def grid(space: Space) -> dict[str, list[Any]]:
    """Every value of every parameter.

    Raises:
        ConfigError: A range of floats without a step, or a condition.
    """
    for parameter in space:
        if parameter.when:
            raise ConfigError(
                f"space.{parameter.name}.when", "does not go with GridSampler; BruteForceSampler takes conditions"
            )
    return {parameter.name: _values(parameter) for parameter in space}


def _values(parameter: Parameter) -> list[Any]:
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
    """Configurations after which the sampler has tried all; `None` when it never ends.

    Raises:
        ConfigError: A space that cannot be gone through.
    """
    cls = _find("sampler", spec.sampler, optuna.samplers, BaseSampler)
    if issubclass(cls, GridSampler):
        return prod(len(values) for values in grid(spec.space).values())
    return _combinations(list(spec.space), {}) if issubclass(cls, BruteForceSampler) else None


def _combinations(rest: list[Parameter], chosen: dict[str, Any]) -> int:
    if not rest:
        return 1
    first, *others = rest
    if not all(chosen.get(name) in options for name, options in first.when.items()):
        return _combinations(others, chosen)
    return sum(_combinations(others, {**chosen, first.name: value}) for value in _values(first))
