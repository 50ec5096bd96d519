"""The sweep spec: what is asked of a sweep, read from YAML, checked as far as that goes without torch, and dumped."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from lit_dl.config import Config, dump_yaml, leaves, load_yaml, merge, normal, normal_key, overlay
from lit_dl.errors import ConfigError, suggest, unknown_name
from sweeps.space import Parameter, Space, Values, parse_space

DIRECTIONS = ("minimize", "maximize")
CHECKS = ("parse", "build", "step")
EVALUATIONS = ("best", "all", "none")
MAY_CHANGE = (
    "n_trials",
    "workers",
    "sampler",
    "pruner",
    "tracking",
    "timeout",
    "max_failures",
    "check",
    "evaluate_test",
)


@dataclass(frozen=True)
class Objective:
    """A metric that the runs log, and which way is better.

    Args:
        metric: Such as `val/acc`.
        direction: minimize or maximize.
    """

    metric: str
    direction: str

    @property
    def mode(self) -> str:
        return "max" if self.direction == "maximize" else "min"


@dataclass(frozen=True)
class Plugin:
    """A sampler or pruner by name, with its arguments."""

    class_path: str
    init_args: Values = field(default_factory=dict)


@dataclass(frozen=True)
class SweepSpec:
    """A sweep, with everything that is not said filled in.

    Args:
        name: Name of the study; of the run folder too, unless that is given.
        base: The run config that every trial starts from, in normal form.
        objectives: What is optimized; the first is what checkpoints and early stopping watch.
        n_trials: Runs in total, over all interruptions.
        space: What is sampled.
        runs: Named configurations to run before sampling, each as dotted keys and values.
        seeds: How often each configuration is repeated, with seeds counted up from the base's.
        sampler: Which Optuna sampler.
        pruner: Which Optuna pruner; `None`: nothing is pruned.
        evaluate_test: Whose metrics on the test set are taken: the best trial's, all, or none.
        check: How far trials are checked before the first: parse, build, or step.
        workers: Processes; `None`: one a GPU or one a CPU core.
        timeout: Seconds after which no trial goes on; `None`: no limit.
        max_failures: Failed trials in a row that end the sweep.
        tracking: Laid on `tracking` of the base.
    """

    name: str
    base: Config
    objectives: list[Objective]
    n_trials: int
    space: Space
    runs: dict[str, Values] = field(default_factory=dict)
    seeds: int = 1
    sampler: Plugin = Plugin("TPESampler")
    pruner: Plugin | None = None
    evaluate_test: str = "best"
    check: str = "step"
    workers: int | None = None
    timeout: float | None = None
    max_failures: int = 5
    tracking: Values = field(default_factory=dict)

    @property
    def max_epochs(self) -> int:
        """Epochs a trial may last, as far as the base says: what Hyperband divides by."""
        return int((self.base.get("trainer") or {}).get("max_epochs") or 20)

    def configuration(self, values: Values, run: str | None, seed_number: int) -> Config:
        """The run config of a trial, before defaults are filled in.

        Args:
            values: Sampled values by name of the parameter.
            run: Name of a configuration of `runs`.
            seed_number: From 0; counted up from the base's seed.
        """
        keys = {**self.space.keys(values), **(self._run_keys(run) if run else {})}
        config = merge(overlay(self.base, keys), {"tracking": self.tracking} if self.tracking else {})
        seed = config.get("seed_everything", 0)
        config["seed_everything"] = (0 if isinstance(seed, bool) else int(seed)) + seed_number
        first = self.objectives[0]
        for group in ("early_stopping", "checkpoint"):
            values_of = dict(config.get(group) or {})
            if not values_of.get("monitor"):
                config[group] = {**values_of, "monitor": first.metric, "mode": first.mode}
        return config

    def _run_keys(self, run: str) -> Values:
        keys: Values = {}
        for name, value in self.runs[run].items():
            parameter = self.space.parameters.get(name)
            keys.update(parameter.keys(parameter.stored(value)) if parameter else {name: value})
        return keys

    def dump(self) -> str:
        """The resolved spec as YAML, which `load_spec` takes again."""
        values: Config = {
            "name": self.name,
            "base": self.base,
            "objective": [{"metric": o.metric, "direction": o.direction} for o in self.objectives],
            "n_trials": self.n_trials,
            "space": self.space.dump(),
            "runs": self.runs,
            "seeds": self.seeds,
            "sampler": _plugin_values(self.sampler),
            "pruner": _plugin_values(self.pruner),
        }
        rest = {f.name: getattr(self, f.name) for f in fields(self) if f.name in MAY_CHANGE and f.name not in values}
        return dump_yaml({**values, **rest})


def _plugin_values(plugin: Plugin | None) -> Values | None:
    return None if plugin is None else {"class_path": plugin.class_path, "init_args": plugin.init_args}


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
        workers=None if given.get("workers") in (None, "auto") else _whole(given["workers"], "workers", 1),
        timeout=None if given.get("timeout") is None else parse_duration(given["timeout"], "timeout"),
        max_failures=_whole(given.get("max_failures", 5), "max_failures", 1),
        tracking=_mapping(_or_empty(given.get("tracking")), "tracking"),
    )
    if spec.pruner is not None and len(spec.objectives) > 1:
        raise ConfigError(
            "pruner", f"does not go with {len(spec.objectives)} objectives (Optuna prunes by one); leave it out"
        )
    return spec


def _base(given: object, folder: Path) -> Config:
    if isinstance(given, str):
        return normal(load_yaml(folder / given))
    if given is None:
        raise ConfigError(
            "base", "must be given: the file of the run config that all trials start from, or the config itself"
        )
    return normal(_mapping(given, "base"))


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
        values = {normal_key(k): v for k, v in leaves(normal(_mapping(entry or {}, f"runs.{name}")))}
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


def check_continues(old: SweepSpec, new: SweepSpec) -> None:
    """Refuses to continue a study as another one.

    Raises:
        ConfigError: The base, the space, the runs, the seeds or the objective differ.
    """
    for key in ("name", "objectives", "space", "runs", "seeds", "base"):
        before, after = (getattr(spec, key) for spec in (old, new))
        if key == "space":
            before, after = before.dump(), after.dump()
        if before != after:
            what = _difference(before, after) if isinstance(before, dict) else f"{after!r} is not {before!r}"
            raise ConfigError(
                key.rstrip("s") if key == "objectives" else key,
                f"must stay what this run folder began with ({what}); name another --run_dir, or set it back",
            )


def _difference(before: Values, after: Values) -> str:
    old, new = dict(leaves(before)), dict(leaves(after))
    key = next(k for k in {**old, **new} if old.get(k) != new.get(k) or (k in old) != (k in new))
    return f"{key}: {new.get(key)!r} is not {old.get(key)!r}"


def with_space(spec: SweepSpec, space: Space) -> SweepSpec:
    """The same spec over a space whose types are known."""
    return replace(spec, space=space)
