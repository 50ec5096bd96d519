"""A sweep spec from YAML, with every error that shows without torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from lit_dl.config.keys import Config, flatten, load_yaml, normal_key, normalize
from lit_dl.config.overlay import overlay
from lit_dl.errors import ConfigError, suggest, unknown_name
from sweeps.spec.objective import DIRECTIONS, Objective
from sweeps.spec.parse_published import check_readable, parse_claims, parse_published
from sweeps.spec.parse_space import parse_space
from sweeps.spec.space import Parameter, Space, Values
from sweeps.spec.spec import CHECKS, EVALUATIONS, Plugin, SlotSize, SweepSpec


def load_spec(path: Path, settings: Mapping[str, Any] | None = None, **overrides: Any) -> SweepSpec:
    """The spec in a YAML file.

    Args:
        path: The file; a relative `base` is looked up beside it.
        settings: Dotted keys to set in the base, in the place of what it says.
        overrides: Keys of the spec that replace those in the file, where not `None`.

    Raises:
        ConfigError: Anything in it that can be seen to be wrong without loading the classes it names.
    """
    given = {**load_yaml(path), **{key: value for key, value in overrides.items() if value is not None}}
    return parse_spec(given, path.parent, default_name=path.stem, settings=settings or {})


def parse_spec(
    given: Mapping[str, Any], folder: Path, default_name: str, settings: Mapping[str, Any] | None = None
) -> SweepSpec:
    """The spec in a mapping; see `load_spec`."""
    known = (
        "name",
        "base",
        "objective",
        "space",
        *(f.name for f in fields(SweepSpec) if f.name not in ("objectives", "base")),
    )
    for key in given:
        if key not in known:
            raise ConfigError(str(key), f"no such key of a sweep{suggest(str(key), known)}")
    base = overlay(_base(given.get("base"), folder), {normal_key(k): v for k, v in (settings or {}).items()})
    space = parse_space(_or_empty(given.get("space")))
    runs = _runs(_or_empty(given.get("runs")), space)
    seeds = _whole(given.get("seeds", 1), "seeds", 1)
    _check_base_seed(base.get("seed_everything", 0), seeds)
    spec = SweepSpec(
        name=_name(given.get("name") or default_name),
        base=base,
        objectives=_objectives(given.get("objective")),
        n_trials=_n_trials(given.get("n_trials"), len(runs), seeds, space),
        space=space,
        runs=runs,
        seeds=seeds,
        sampler=_plugin("sampler", given.get("sampler")) or Plugin("TPESampler"),
        pruner=_plugin("pruner", given.get("pruner")),
        evaluate_test=_one_of(given.get("evaluate_test", "best"), "evaluate_test", EVALUATIONS),
        check=_one_of(given.get("check", "step"), "check", CHECKS),
        workers=None if given.get("workers") in (None, "auto") else _whole(given["workers"], "workers", 0),
        timeout=_duration(given, "timeout"),
        max_failures=_whole(given.get("max_failures", 5), "max_failures", 1),
        slot=_slot(given.get("slot")),
        trial_timeout_s=_duration(given, "trial_timeout_s"),
        keep=_keep(given.get("keep", "all")),
        retry_out_of_memory=_yes_or_no(given.get("retry_out_of_memory", False), "retry_out_of_memory"),
        tracking=_mapping(_or_empty(given.get("tracking")), "tracking"),
        published=parse_published(given.get("published"), runs),
        claims=parse_claims(given.get("claims"), runs),
    )
    if spec.pruner is not None and len(spec.objectives) > 1:
        raise ConfigError(
            "pruner", f"does not go with {len(spec.objectives)} objectives (Optuna prunes by one); leave it out"
        )
    check_readable(spec)
    return spec


def _base(given: object, folder: Path) -> Config:
    if isinstance(given, str):
        return normalize(load_yaml(folder / given))
    if given is None:
        raise ConfigError(
            "base", "must be given: the file of the run config that all trials start from, or the config itself"
        )
    return normalize(_mapping(given, "base"))


def _or_empty(value: object) -> object:
    return {} if value is None else value


def _check_base_seed(seed: object, seeds: int) -> None:
    most = 2**32 - seeds
    if not isinstance(seed, bool) and not (isinstance(seed, int) and 0 <= seed <= most):
        raise ConfigError("seed_everything", f"must be a whole number (int) from 0 to {most}; got {seed!r}")


def _mapping(value: object, key: str) -> Config:
    if not isinstance(value, Mapping):
        raise ConfigError(key, f"must be a mapping of keys to values; got {value!r}")
    return dict(value)


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
        values = _mapping(entry, "objective")
        for key in values:
            if key not in ("metric", "direction"):
                raise ConfigError(f"objective.{key}", f"no such key{suggest(str(key), ('metric', 'direction'))}")
        if not isinstance(values.get("metric"), str):
            raise ConfigError("objective.metric", f"must be the name of a logged metric; got {values.get('metric')!r}")
        if any(values["metric"] == objective.metric for objective in objectives):
            raise ConfigError("objective.metric", f"must not stand twice; {values['metric']!r} does")
        objectives.append(
            Objective(values["metric"], _one_of(values.get("direction"), "objective.direction", DIRECTIONS))
        )
    return objectives


def _one_of(value: object, key: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise unknown_name(key, value, known)
    return str(value)


def _whole(value: object, key: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(key, f"must be a whole number, {least} or more; got {value!r}")
    return value


def _n_trials(value: object, runs: int, seeds: int, space: Space) -> int:
    listed = runs * seeds
    if value is None and listed:
        return listed
    if value is None:
        raise ConfigError("n_trials", "must be given: how many runs in total")
    number = _whole(value, "n_trials", 1)
    if number % seeds:
        more = number + seeds - number % seeds
        raise ConfigError(
            "n_trials", f"must be a multiple of seeds={seeds}, as it counts runs; got {number}; try {more}"
        )
    if number < listed:
        raise ConfigError(
            "n_trials", f"must be at least {listed}, the configurations of runs times seeds; got {number}"
        )
    if not len(space) and number > max(listed, seeds):
        raise ConfigError("space", f"must vary something for n_trials={number}; got none")
    return number


def _runs(given: object, space: Space) -> dict[str, Values]:
    runs = {}
    for name, entry in _mapping(given, "runs").items():
        if str(name).isdigit():
            raise ConfigError(f"runs.{name}", f"must not be a number, by which sampled ones go; try run_{name}")
        values = {normal_key(k): v for k, v in flatten(normalize(_mapping(entry or {}, f"runs.{name}")))}
        for key, value in values.items():
            if key in space:
                _check_run_value(f"runs.{name}.{key}", value, space.parameters[key])
        runs[str(name)] = values
    return runs


def _check_run_value(key: str, value: object, parameter: Parameter) -> None:
    """A value of a named run that is a parameter too must be one that a sampler could have drawn."""
    if not parameter.is_range:
        options = [str(option) for option in parameter.options()]
        if parameter.stored(value) not in parameter.options():
            hint = suggest(str(value), options)
            raise ConfigError(key, f"{value!r} is not one of {', '.join(options)} in space{hint}")
    elif isinstance(value, int | float) and not parameter.low <= value <= parameter.high:  # type: ignore[operator]
        raise ConfigError(key, f"must be from {parameter.low!r} to {parameter.high!r}, as in space; got {value!r}")


def _plugin(key: str, given: object) -> Plugin | None:
    if given is None:
        return None
    if isinstance(given, str):
        return Plugin(given)
    values = _mapping(given, key)
    for name in values:
        if name not in ("class_path", "init_args"):
            raise ConfigError(f"{key}.{name}", f"no such key{suggest(str(name), ('class_path', 'init_args'))}")
    if not isinstance(values.get("class_path"), str):
        raise ConfigError(f"{key}.class_path", f"must be the name of a class; got {values.get('class_path')!r}")
    return Plugin(values["class_path"], _mapping(values.get("init_args") or {}, f"{key}.init_args"))


def _slot(given: object) -> SlotSize:
    values = _mapping(_or_empty(given), "slot")
    for key in values:
        if key not in ("gpus", "cpus"):
            raise ConfigError(f"slot.{key}", f"no such key{suggest(str(key), ('gpus', 'cpus'))}")
    gpus, cpus = values.get("gpus"), values.get("cpus")
    if gpus is not None:
        is_number = isinstance(gpus, int | float) and not isinstance(gpus, bool)
        if not is_number or not (0 < gpus < 1 or (gpus >= 1 and gpus == int(gpus))):
            raise ConfigError("slot.gpus", f"must be a share of a GPU, in (0, 1), or a whole number; got {gpus!r}")
    return SlotSize(gpus, None if cpus is None else _whole(cpus, "slot.cpus", 1))


def _keep(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"all|none|best_[1-9]\d*", value):
        raise ConfigError("keep", f"must be all, none, or best_K such as best_5; got {value!r}")
    return value


def _yes_or_no(value: object, key: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(key, f"must be true or false; got {value!r}")
    return value


def _duration(given: Mapping[str, Any], key: str) -> float | None:
    return None if given.get(key) is None else parse_duration(given[key], key)


def parse_duration(value: object, key: str) -> float:
    """Seconds, from a number or a text such as 90s, 30m or 2h.

    Raises:
        ConfigError: Neither, or not above 0.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(value))
    seconds = float(match.group(1)) * {"": 1, "s": 1, "m": 60, "h": 3600}[match.group(2)] if match else math.nan
    if not seconds > 0:
        raise ConfigError(key, f"must be above 0: seconds, or a text such as 90s, 30m or 2h; got {value!r}")
    return seconds
