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
from optuna.samplers import BaseSampler, BruteForceSampler, GridSampler, QMCSampler, TPESampler

from lit_dl.errors import ConfigError, unknown_name
from lit_dl.randomness import derive
from sweeps.space import Parameter, Space
from sweeps.spec import Plugin, SweepSpec

_NEEDS = {"GPSampler": "scipy", "CmaEsSampler": "cmaes"}
# These order all their points by the seed, so every process must have the same.
_ONE_SEED = (GridSampler, BruteForceSampler, QMCSampler)


def build_sampler(spec: SweepSpec, trial_number: int) -> BaseSampler:
    """The sampler for one trial: its random numbers are those of the study's seed and the trial's number.

    So two workers never draw the same, and a continued study draws what an uninterrupted one would have drawn.

    Raises:
        ConfigError: An unknown name, an argument that it refuses, a space that it cannot sample.
    """
    cls = _find("sampler", spec.sampler, optuna.samplers, BaseSampler)
    need = _NEEDS.get(cls.__name__)
    if need and find_spec(need) is None:
        raise ConfigError("sampler", f"{cls.__name__} needs the package {need}; pip install {need}")
    arguments = dict(spec.sampler.init_args)
    takes = inspect.signature(cls.__init__).parameters
    if "seed" in takes:
        seed = arguments.get("seed") or 0
        fixed = issubclass(cls, _ONE_SEED)
        arguments["seed"] = seed if fixed else derive(seed, "sampler", trial_number) % 2**32
    if issubclass(cls, TPESampler) and spec.space.is_conditional:
        arguments = {"multivariate": True, "group": True, **arguments}
    if issubclass(cls, GridSampler):
        arguments.setdefault("search_space", grid(spec.space))
    return _build("sampler", cls, arguments)  # type: ignore[no-any-return]


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
        from lit_dl.cli import import_class

        return import_class(f"{key}.class_path", plugin.class_path, base)
    known = [n for n in module.__all__ if inspect.isclass(getattr(module, n)) and n != base.__name__]
    if name not in known:
        raise unknown_name(key, name, known)
    return getattr(module, name)  # type: ignore[no-any-return]


def _build(key: str, cls: type, arguments: dict[str, Any]) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ExperimentalWarning
            )  # `group`, without which conditions are sampled blindly
            return cls(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}.init_args", f"refused by {cls.__name__}: {error}") from None


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


def exhausted_at(spec: SweepSpec) -> int | None:
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
