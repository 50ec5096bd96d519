"""Finds out whether each range of a search space is of integers or of floats."""

from __future__ import annotations

import math
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from lit_dl.config.keys import Config, get_key, normal_key, normalize
from lit_dl.config.overlay import overlay
from lit_dl.errors import ConfigError
from sweeps.spec.define_by_run import FunctionSpace
from sweeps.spec.space import Parameter, Space, Values
from sweeps.spec.spec import SweepSpec


def typed_space(spec: SweepSpec) -> Space:
    """Returns the space of a spec with a type for each of its ranges.

    A type that the spec gives is kept. Any other is the one that the argument is annotated with.

    Raises:
        ConfigError: A bound of an integer range is not an integer.
    """
    if isinstance(spec.space, FunctionSpace):
        return spec.space  # whose types Optuna's distributions give
    ranges = [parameter for parameter in spec.space if parameter.is_range]
    first = spec.space.with_types({parameter.name: _type_as_written(parameter) for parameter in ranges}).first()
    return spec.space.with_types({p.name: _type_of(spec, p, first) for p in ranges if p.type is None})


def _type_as_written(parameter: Parameter) -> str:
    bounds = (parameter.low, parameter.high, parameter.step)
    return "int" if all(isinstance(bound, int) for bound in bounds if bound is not None) else "float"


def _type_of(spec: SweepSpec, parameter: Parameter, first: Values) -> str:
    """Returns `int` or `float` as the argument is annotated, or as the bounds are written if it accepts both.

    Args:
        spec: The spec.
        parameter: A range.
        first: Values of the other parameters, which may decide which class has the argument.
    """
    from lit_dl.cli.lit_cli import parser_for

    assert parameter.low is not None
    key = normal_key(parameter.name)
    base = spec.configuration({name: v for name, v in first.items() if name != parameter.name}, None, 0)
    try:
        types = _number_types(parser_for(base).types.get(key))
    except ConfigError:
        return _type_as_written(parameter)  # the class cannot be imported; the branch check reports it
    # The parser has no annotation for arguments of a class that is itself an argument, and for keys of a dict.
    types = types or _types_by_trial(base, key, parameter.low)
    return types.pop() if len(types) == 1 else _type_as_written(parameter)


def _number_types(annotation: object) -> set[str]:
    """Returns which of `int` and `float` an annotation names; empty if it names none."""
    if isinstance(annotation, type):
        types = {"int"} if issubclass(annotation, int) and annotation is not bool else set()
        return types | ({"float"} if issubclass(annotation, float) else set())
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _number_types(arguments[0])
    return set().union(*map(_number_types, arguments)) if origin in (Union, UnionType) else set()


def _types_by_trial(base: Config, key: str, low: float) -> set[str]:
    """Returns which of `int` and `float` a key accepts, by parsing a whole and a half number; empty for neither."""
    try:
        whole = _parsed(base, key, math.ceil(low))
    except ConfigError:
        return set()  # the branch check reports what is wrong
    if isinstance(whole, float):
        return {"float"}
    try:
        _parsed(base, key, math.floor(low) + 0.5)
    except ConfigError:
        return {"int"}
    return {"int", "float"}


def _parsed(base: Config, key: str, value: float) -> Any:
    from lit_dl.cli.lit_cli import parse_config

    return get_key(normalize(parse_config(overlay(base, {key: value}))), key)
