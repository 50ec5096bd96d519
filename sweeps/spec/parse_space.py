"""A search space from YAML, with every error that shows without the classes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from lit_dl.config.keys import flatten, normal_key
from lit_dl.errors import ConfigError, suggest
from sweeps.spec.space import FIELDS, Parameter, Space, Values


def parse_space(given: object) -> Space:
    """A space from its YAML.

    Raises:
        ConfigError: An entry that cannot be sampled, an unknown condition, or conditions in a circle.
    """
    if not isinstance(given, Mapping):
        raise ConfigError("space", f"must be a mapping of keys to ranges, choices or presets; got {given!r}")
    parameters = {name: _parse_parameter(str(name), entry) for name, entry in given.items()}
    for parameter in parameters.values():
        for parent, options in parameter.when.items():
            _check_condition(parameter.name, parent, options, parameters)
    space = Space(parameters)
    _check_overlaps(space)
    return space


def _parse_parameter(name: str, entry: object) -> Parameter:
    key = f"space.{name}"
    if not isinstance(entry, Mapping):
        raise ConfigError(key, f"must be a mapping with low and high, choices, or presets; got {entry!r}")
    kinds = [
        kind
        for kind, sign in (("range", {"low", "high"}), ("choices", {"choices"}), ("presets", {"presets"}))
        if sign & set(entry)
    ]
    if len(kinds) != 1:
        raise ConfigError(
            key,
            f"must have exactly one of low and high, choices, presets; got {', '.join(map(str, entry)) or 'nothing'}",
        )
    for field_name in entry:
        if field_name not in FIELDS[kinds[0]]:
            known = FIELDS[kinds[0]]
            raise ConfigError(
                f"{key}.{field_name}",
                f"no such key for {kinds[0]}, which has {', '.join(known)}{suggest(str(field_name), known)}",
            )
    values = dict(entry)
    when = values.pop("when", {})
    if not isinstance(when, Mapping):
        raise ConfigError(f"{key}.when", f"must be a mapping of keys of the space to lists of values; got {when!r}")
    conditions = {str(k): list(v) if isinstance(v, list) else [v] for k, v in when.items()}
    for parent, options in conditions.items():
        if not options:
            raise ConfigError(f"{key}.when.{parent}", "must list at least one value; got []")
    {"range": _check_range, "choices": _check_choices, "presets": _check_presets}[kinds[0]](key, values)
    if kinds[0] == "presets":
        values["presets"] = {
            str(k): {normal_key(n): v for n, v in flatten(p or {})} for k, p in values["presets"].items()
        }
    return Parameter(name, when=conditions, **values)


def _check_range(key: str, values: Values) -> None:
    for bound in ("low", "high"):
        value = values.get(bound)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ConfigError(f"{key}.{bound}", f"must be a finite number; got {value!r}")
    low, high, log, step = values["low"], values["high"], values.get("log", False), values.get("step")
    if low > high:
        raise ConfigError(f"{key}.low", f"must be at most high={high!r}; got {low!r}")
    if not isinstance(log, bool):
        raise ConfigError(f"{key}.log", f"must be true or false; got {log!r}")
    if log and low <= 0:
        raise ConfigError(f"{key}.low", f"must be above 0 on a log scale; got {low!r}")
    if step is not None and (isinstance(step, bool) or not isinstance(step, int | float) or not 0 < step < math.inf):
        raise ConfigError(f"{key}.step", f"must be a finite number above 0; got {step!r}")
    if log and step is not None:
        raise ConfigError(f"{key}.step", f"does not go with log: true; got {step!r}; leave one of the two out")
    if values.get("type") not in (None, "int", "float"):
        raise ConfigError(f"{key}.type", f"must be int or float; got {values['type']!r}")


def _check_choices(key: str, values: Values) -> None:
    choices = values["choices"]
    if not isinstance(choices, list) or not choices:
        raise ConfigError(f"{key}.choices", f"must be a list of at least one value; got {choices!r}")
    texts = [json.dumps(choice, default=str) for choice in choices]
    for number, text in enumerate(texts):
        if text in texts[:number]:
            raise ConfigError(f"{key}.choices", f"must not hold a value twice; {choices[number]!r} does")


def _check_presets(key: str, values: Values) -> None:
    presets = values["presets"]
    if not isinstance(presets, Mapping) or not presets:
        raise ConfigError(f"{key}.presets", f"must be a mapping of at least one name to keys; got {presets!r}")
    for name, preset in presets.items():
        if preset is not None and not isinstance(preset, Mapping):
            raise ConfigError(f"{key}.presets.{name}", f"must be a mapping of dotted keys to values; got {preset!r}")


def _check_condition(name: str, parent: str, options: list[Any], parameters: Mapping[str, Parameter]) -> None:
    key = f"space.{name}.when"
    if parent not in parameters:
        raise ConfigError(f"{key}.{parent}", f"must be another key of the space{suggest(parent, parameters)}")
    if parameters[parent].is_range:
        raise ConfigError(f"{key}.{parent}", "must be a key with choices or presets; this one is a range")
    known = parameters[parent].options()
    for option in options:
        if option not in known:
            raise ConfigError(
                f"{key}.{parent}",
                f"{option!r} is not one of {', '.join(map(str, known))}{suggest(str(option), map(str, known))}",
            )


def _check_overlaps(space: Space) -> None:
    owners: dict[str, str] = {}
    for parameter in space:
        for target in parameter.targets():
            if target in owners:
                raise ConfigError(
                    f"space.{parameter.name}", f"sets {target}, and so does space.{owners[target]}; keep one"
                )
            owners[target] = parameter.name
