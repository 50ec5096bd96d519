"""Parses the YAML of a sweep spec, and finds every error that shows without the classes of the run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from lit_dl.config.keys import Config, flatten, normal_key, normalize
from lit_dl.config.overlay import overlay
from lit_dl.config.yaml_io import load_yaml
from lit_dl.errors import ConfigError, suggest
from lit_dl.files import expand_path
from sweeps.spec.constraint import parse_constraints
from sweeps.spec.define_by_run import FunctionSpace
from sweeps.spec.objective import DIRECTIONS, Objective
from sweeps.spec.other_programs import objective_hint, spec_key_hint
from sweeps.spec.parse_published import check_readable, parse_claims, parse_published
from sweeps.spec.parse_space import parse_space
from sweeps.spec.space import Parameter, Space, Values
from sweeps.spec.spec import CHECKS, DIVERGENCES, EVALUATIONS, Plugin, SlotSize, StopRule, SweepSpec, spec_key
from sweeps.spec.value_checks import (
    boolean,
    check_names,
    duration,
    finite_number,
    is_number,
    mapping,
    mapping_or_null,
    one_of,
    text,
    whole_number,
)


def load_spec(path: Path, settings: Mapping[str, Any] | None = None, **overrides: Any) -> SweepSpec:
    """Returns the spec in a YAML file.

    Args:
        path: The file. A relative `base` is relative to its folder.
        settings: Dotted keys to set in the base.
        overrides: Keys of the spec that replace those in the file. `None` keeps what the file has.

    Raises:
        ConfigError: The spec is wrong in a way that shows without the classes that it names.
    """
    given = {**load_yaml(path), **{key: value for key, value in overrides.items() if value is not None}}
    return parse_spec(given, path.parent, default_name=path.stem, settings=settings or {})


def parse_spec(
    given: Mapping[str, Any], folder: Path, default_name: str, settings: Mapping[str, Any] | None = None
) -> SweepSpec:
    """Returns the spec in a mapping. For `settings` and errors see `load_spec`.

    Args:
        given: The keys of the spec.
        folder: Folder that a relative `base` is relative to.
        default_name: Name of a spec without `name`.
        settings: Dotted keys to set in the base.
    """
    _check_spec_keys(given)
    base = overlay(_base(given.get("base"), folder), {normal_key(k): v for k, v in (settings or {}).items()})
    space = parse_space({} if given.get("space") is None else given["space"])
    runs = _runs(mapping_or_null(given.get("runs"), "runs"), space)
    seeds = whole_number(given.get("seeds", SweepSpec.seeds), "seeds", 1)
    _check_base_seed(base.get("seed_everything", 0), seeds)
    spec = SweepSpec(
        name=_name(given.get("name") or default_name),
        base=base,
        objectives=_objectives(given.get("objective")),
        n_trials=_n_trials(given.get("n_trials"), len(runs), seeds, space),
        space=space,
        runs=runs,
        seeds=seeds,
        **{key: parse(given[key]) for key, parse in _OPTIONAL.items() if key in given},
        published=parse_published(given.get("published"), runs),
        claims=parse_claims(given.get("claims"), runs),
    )
    for key, verb in (("pruner", "prunes"), ("stop", "stops")):
        if getattr(spec, key) is not None and len(spec.objectives) > 1:
            raise ConfigError(
                key, f"does not go with {len(spec.objectives)} objectives (Optuna {verb} by one); leave it out"
            )
    check_readable(spec)
    return spec


def _check_spec_keys(given: Mapping[str, Any]) -> None:
    known = [spec_key(f.name) for f in fields(SweepSpec)]
    for key, value in given.items():
        if key not in known:
            hint = spec_key_hint(str(key), value) or suggest(str(key), known)
            raise ConfigError(str(key), f"no such key of a sweep{hint}")


# The base


def _base(given: object, folder: Path) -> Config:
    if isinstance(given, str):
        return normalize(load_yaml(folder / expand_path(given)))
    if given is None:
        raise ConfigError(
            "base", "must be given: the file of the run config that all trials start from, or the config itself"
        )
    return normalize(mapping(given, "base"))


def _check_base_seed(seed: object, seeds: int) -> None:
    """Refuses a seed of the base from which the seeds of all repeats cannot be counted up."""
    most = 2**32 - seeds
    if not isinstance(seed, bool) and not (isinstance(seed, int) and 0 <= seed <= most):
        raise ConfigError("seed_everything", f"must be a whole number (int) from 0 to {most}; got {seed!r}")


# Name, objectives, number of trials


def _name(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[\w][\w .-]{0,99}", value):
        raise ConfigError("name", f"must be at most 100 letters, digits, spaces, . _ or -; got {value!r}")
    return value


def _objectives(given: object) -> list[Objective]:
    entries = given if isinstance(given, list) else [given]
    if given is None or not entries:
        raise ConfigError("objective", "must be given, as {metric: val/acc, direction: maximize}")
    objectives: list[Objective] = []
    for entry in entries:
        objective = _objective(mapping(entry, "objective"))
        if objective.metric in [other.metric for other in objectives]:
            raise ConfigError("objective.metric", f"must not stand twice; {objective.metric!r} does")
        objectives.append(objective)
    return objectives


def _objective(values: Values) -> Objective:
    if hint := objective_hint(values):
        raise ConfigError("objective", f"must be a metric and a direction; got {', '.join(map(str, values))}{hint}")
    check_names(values, "objective", ("metric", "direction"))
    metric = values.get("metric")
    if not isinstance(metric, str):
        raise ConfigError("objective.metric", f"must be the name of a logged metric; got {metric!r}")
    return Objective(metric, one_of(values.get("direction"), "objective.direction", DIRECTIONS))


def _n_trials(value: object, runs: int, seeds: int, space: Space) -> int:
    """Returns the number of trials.

    Args:
        value: `n_trials` of the spec; `None`: as many as the named runs need.
        runs: Number of named runs.
        seeds: Repeats of each configuration.
        space: The search space.
    """
    listed = runs * seeds
    if value is None and listed:
        return listed
    if value is None:
        raise ConfigError("n_trials", "must be given: how many runs in total")
    number = whole_number(value, "n_trials", 1)
    if number % seeds:
        more = number + seeds - number % seeds
        raise ConfigError(
            "n_trials", f"must be a multiple of seeds={seeds}, as it counts runs; got {number}; try {more}"
        )
    if number < listed:
        raise ConfigError(
            "n_trials", f"must be at least {listed}, the configurations of runs times seeds; got {number}"
        )
    if not len(space) and not isinstance(space, FunctionSpace) and number > max(listed, seeds):
        raise ConfigError("space", f"must vary something for n_trials={number}; got none")
    return number


# Named runs


def _runs(given: Values, space: Space) -> dict[str, Values]:
    runs = {}
    for name, entry in given.items():
        if str(name).isdigit():
            raise ConfigError(f"runs.{name}", f"must not be a number, by which sampled ones go; try run_{name}")
        keys = flatten(normalize(mapping(entry or {}, f"runs.{name}")))
        values = {space.name_of(normal_key(key)): value for key, value in keys}
        for key, value in values.items():
            if (parameter := space.parameter_of(key)) is not None:
                _check_run_value(f"runs.{name}.{key}", value, parameter)
        runs[str(name)] = values
    return runs


def _check_run_value(key: str, value: object, parameter: Parameter) -> None:
    """Refuses a value of a named run that the sampler could not have sampled for the parameter of this key."""
    if not parameter.is_range:
        options = [str(option) for option in parameter.options()]
        if parameter.stored(value) not in parameter.options():
            hint = suggest(str(value), options)
            raise ConfigError(key, f"{value!r} is not one of {', '.join(options)} in space{hint}")
    elif isinstance(value, int | float) and not parameter.low <= value <= parameter.high:  # type: ignore[operator]
        raise ConfigError(key, f"must be from {parameter.low!r} to {parameter.high!r}, as in space; got {value!r}")


# Optional keys


def parse_plugin(given: object, key: str) -> Plugin:
    """Returns a class with its arguments, from a mapping or from the name of the class alone.

    Raises:
        ConfigError: It is neither.
    """
    if isinstance(given, str):
        return Plugin(given)
    values = mapping(given, key)
    check_names(values, key, ("class_path", "init_args"))
    if not isinstance(values.get("class_path"), str):
        raise ConfigError(f"{key}.class_path", f"must be the name of a class; got {values.get('class_path')!r}")
    return Plugin(values["class_path"], mapping(values.get("init_args") or {}, f"{key}.init_args"))


def _warm_start(given: object) -> list[str]:
    folders = [given] if isinstance(given, str) else given or []
    if not isinstance(folders, list):
        raise ConfigError("warm_start", f"must be a list of run folders; got {given!r}")
    return [text(folder, f"warm_start[{number}]") for number, folder in enumerate(folders)]


def _stop(given: object) -> StopRule | None:
    values = mapping_or_null(given, "stop")
    check_names(values, "stop", ("value", "terminator"))
    value, terminator = values.get("value"), values.get("terminator")
    if given is not None and value is None and terminator is None:
        raise ConfigError("stop", "must have a value, such as {value: 0.99}, or a terminator of Optuna; got neither")
    if given is None:
        return None
    return StopRule(
        None if value is None else finite_number(value, "stop.value"),
        None if terminator is None else parse_plugin(terminator, "stop.terminator"),
    )


def _workers(value: object) -> int | None:
    return None if value in (None, "auto") else whole_number(value, "workers", 0)


def _slot(given: object) -> SlotSize:
    values = mapping_or_null(given, "slot")
    check_names(values, "slot", ("gpus", "cpus"))
    gpus, cpus = values.get("gpus"), values.get("cpus")
    if gpus is not None and not (is_number(gpus) and (0 < gpus < 1 or (gpus >= 1 and gpus == int(gpus)))):
        raise ConfigError("slot.gpus", f"must be a share of a GPU, in (0, 1), or a whole number; got {gpus!r}")
    return SlotSize(gpus, None if cpus is None else whole_number(cpus, "slot.cpus", 1))


def _keep(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"all|none|best_[1-9]\d*", value):
        raise ConfigError("keep", f"must be all, none, or best_K such as best_5; got {value!r}")
    return value


def _limit(value: object, key: str) -> float | None:
    return None if value is None else duration(value, key)


# How each optional key is parsed. A key that is not given has the default of `SweepSpec`.
_OPTIONAL: dict[str, Callable[[Any], Any]] = {
    "constraints": parse_constraints,
    "sampler": lambda value: SweepSpec.sampler if value is None else parse_plugin(value, "sampler"),
    "pruner": lambda value: None if value is None else parse_plugin(value, "pruner"),
    "warm_start": _warm_start,
    "stop": _stop,
    "evaluate_test": lambda value: one_of(value, "evaluate_test", EVALUATIONS),
    "divergence": lambda value: None if value is None else one_of(value, "divergence", DIVERGENCES),
    "check": lambda value: one_of(value, "check", CHECKS),
    "workers": _workers,
    "timeout": lambda value: _limit(value, "timeout"),
    "max_failures": lambda value: whole_number(value, "max_failures", 1),
    "slot": _slot,
    "trial_timeout_s": lambda value: _limit(value, "trial_timeout_s"),
    "keep": _keep,
    "retry_out_of_memory": lambda value: boolean(value, "retry_out_of_memory"),
    "tracking": lambda value: mapping_or_null(value, "tracking"),
}
