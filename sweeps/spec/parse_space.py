"""Parses the YAML of a search space, and finds every error that shows without the classes of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lit_dl.config.keys import flatten, normal_key, short_key
from lit_dl.config.yaml_io import yaml_text
from lit_dl.errors import ConfigError, suggest
from sweeps.spec.define_by_run import FunctionSpace, SuggestedParameter
from sweeps.spec.other_programs import refuse_parameter
from sweeps.spec.space import FIELDS, Parameter, Space, Values
from sweeps.spec.value_checks import boolean, finite_number, is_number, mapping_or_null, whole_number


def parse_space(given: object) -> Space:
    """Returns the search space in a mapping.

    Raises:
        ConfigError: An entry cannot be sampled, or a condition names an unknown parameter or value.
    """
    if not isinstance(given, Mapping):
        raise ConfigError("space", f"must be a mapping of keys to ranges, choices or presets; got {given!r}")
    if isinstance(given.get("function"), str):
        return _parse_function(given)
    parsed = {name: _parse_parameter(str(name), entry) for name, entry in given.items()}
    parameters = {
        name: replace(parameter, when=_stored_conditions(parameter, parsed)) for name, parameter in parsed.items()
    }
    for parameter in parameters.values():
        for parent, options in parameter.when.items():
            _check_condition(parameter.name, parent, options, parameters)
    space = Space(parameters)
    _check_overlaps(space)
    return space


def _parse_function(given: Mapping[str, Any]) -> FunctionSpace:
    """Returns a space whose values a function suggests. What its function was seen to suggest is in resolved specs."""
    for key in given:
        if key not in ("function", "parameters", "points"):
            raise ConfigError(
                f"space.{key}", f"does not go with space.function, which returns all keys; return {key} there"
            )
    entries = mapping_or_null(given.get("parameters"), "space.parameters")
    parameters = {name: SuggestedParameter(**vars(_parse_parameter(name, entry))) for name, entry in entries.items()}
    points = given.get("points")
    return FunctionSpace(
        given["function"], parameters, None if points is None else whole_number(points, "space.points", 1)
    )


def _parse_parameter(name: str, entry: object) -> Parameter:
    key = f"space.{name}"
    refuse_parameter(key, entry)
    if not isinstance(entry, Mapping):
        raise ConfigError(key, f"must be a mapping with low and high, choices, or presets; got {entry!r}")
    kind = _kind_of(entry, key)
    for field_name in entry:
        if field_name not in FIELDS[kind]:
            known = FIELDS[kind]
            raise ConfigError(
                f"{key}.{field_name}",
                f"no such key for {kind}, which has {', '.join(known)}{suggest(str(field_name), known)}",
            )
    values = dict(entry)
    when = _conditions(values.pop("when", {}), key)
    {"range": _check_range, "choices": _check_choices, "presets": _check_presets}[kind](key, values)
    if kind == "presets":
        values["presets"] = {
            str(preset): {normal_key(k): v for k, v in flatten(keys or {})}
            for preset, keys in values["presets"].items()
        }
    return Parameter(name, when=when, **values)


def _kind_of(entry: Mapping[str, Any], key: str) -> str:
    """Returns whether an entry is a `range`, `choices`, or `presets`."""
    kinds = ["range"] if {"low", "high"} & set(entry) else []
    kinds += [kind for kind in ("choices", "presets") if kind in entry]
    if len(kinds) != 1:
        raise ConfigError(
            key,
            f"must have exactly one of low and high, choices, presets; got {', '.join(map(str, entry)) or 'nothing'}",
        )
    return kinds[0]


def _conditions(when: object, key: str) -> dict[str, list[Any]]:
    if not isinstance(when, Mapping):
        raise ConfigError(f"{key}.when", f"must be a mapping of keys of the space to lists of values; got {when!r}")
    conditions = {str(k): v if isinstance(v, list) else [v] for k, v in when.items()}
    for parent, options in conditions.items():
        if not options:
            raise ConfigError(f"{key}.when.{parent}", "must list at least one value; got []")
    return conditions


def _stored_conditions(parameter: Parameter, parameters: Mapping[str, Parameter]) -> dict[str, list[Any]]:
    """Returns the conditions of a parameter with their options as the storage holds them."""
    return {
        parent: [parameters[parent].stored(option) for option in options] if parent in parameters else options
        for parent, options in parameter.when.items()
    }


def _check_range(key: str, values: Values) -> None:
    for bound in ("low", "high"):
        finite_number(values.get(bound), f"{key}.{bound}")
    low, high, log = values["low"], values["high"], values.get("log", False)
    if low > high:
        raise ConfigError(f"{key}.low", f"must be at most high={high!r}; got {low!r}")
    if boolean(log, f"{key}.log") and low <= 0:
        raise ConfigError(f"{key}.low", f"must be above 0 on a log scale; got {low!r}")
    _check_step(key, values.get("step"), log)
    if values.get("type") not in (None, "int", "float"):
        raise ConfigError(f"{key}.type", f"must be int or float; got {values['type']!r}")


def _check_step(key: str, step: Any, log: bool) -> None:
    if step is not None and not (is_number(step) and step > 0):
        raise ConfigError(f"{key}.step", f"must be a finite number above 0; got {step!r}")
    if log and step is not None:
        raise ConfigError(f"{key}.step", f"does not go with log: true; got {step!r}; leave one of the two out")


def _check_choices(key: str, values: Values) -> None:
    choices = values["choices"]
    if not isinstance(choices, list) or not choices:
        raise ConfigError(f"{key}.choices", f"must be a list of at least one value; got {choices!r}")
    texts = [yaml_text(choice) for choice in choices]  # which tells 1, 1.0 and true apart
    for number, text in enumerate(texts):
        if text in texts[:number]:
            raise ConfigError(f"{key}.choices", f"must not hold a value twice; {choices[number]!r} does")


def check_distinct_options(space: Space) -> None:
    """Refuses choices that a sampler cannot tell apart. A sweep that has begun with such choices can go on.

    Raises:
        ConfigError: Two choices of a parameter are equal for Python, or have the same text in the storage.
    """
    for parameter in space:
        options, choices = parameter.options(), parameter.choices or []
        for number, option in enumerate(options):
            if option in options[:number]:
                one, other = choices[options.index(option)], choices[number]
                raise ConfigError(
                    f"space.{parameter.name}.choices",
                    "must not hold two values that a sampler cannot tell apart, as they are equal in Python or in text;"
                    f" got {one!r} and {other!r}; give each a name in presets",
                )


def _check_presets(key: str, values: Values) -> None:
    presets = values["presets"]
    if not isinstance(presets, Mapping) or not presets:
        raise ConfigError(f"{key}.presets", f"must be a mapping of at least one name to keys; got {presets!r}")
    for name, preset in presets.items():
        if preset is not None and not isinstance(preset, Mapping):
            raise ConfigError(f"{key}.presets.{name}", f"must be a mapping of dotted keys to values; got {preset!r}")


def _check_condition(name: str, parent: str, options: list[Any], parameters: Mapping[str, Parameter]) -> None:
    """Refuses a condition on a parameter that is unknown, is a range, or does not have one of the options.

    Args:
        name: The parameter that has the condition.
        parent: The parameter that the condition names.
        options: Values of the parent for which the condition holds.
        parameters: All parameters of the space.
    """
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
    """Refuses two parameters that set the same dotted key."""
    owners: dict[str, str] = {}
    for parameter in space:
        for target in parameter.targets():
            owner = owners.setdefault(short_key(target), parameter.name)
            if owner != parameter.name:
                raise ConfigError(f"space.{parameter.name}", f"sets {target}, and so does space.{owner}; keep one")
