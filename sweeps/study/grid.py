"""The points of a space that a sampler goes through one by one: their values, and how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import floor, prod
from typing import Any

from lit_dl.errors import ConfigError
from sweeps.spec.define_by_run import FunctionSpace
from sweeps.spec.space import Parameter, Space

MOST_VALUES = 10**6
"""Optuna lists the points of a grid, and the values of a parameter that it goes through, for each trial."""


def grid(space: Space) -> dict[str, list[Any]]:
    """Returns all values of every parameter.

    Raises:
        ConfigError: The space has a range of floats without a step, or a condition, or too many points to list.
    """
    if isinstance(space, FunctionSpace):
        raise ConfigError(
            "sampler",
            "must not be GridSampler with space.function, as no grid is known before the function is called; take "
            "BruteForceSampler, which tries all that it suggests",
        )
    for parameter in space:
        if parameter.when:
            raise ConfigError(
                f"space.{parameter.name}.when", "does not go with GridSampler; BruteForceSampler takes conditions"
            )
    size = count_points(list(space))
    if size > MOST_VALUES:
        raise ConfigError(
            "sampler",
            f"must have at most {MOST_VALUES:,} points to list for GridSampler; got {size:,}; take BruteForceSampler, "
            "which lists none, or leave values out",
        )
    return {parameter.name: _values_of(parameter) for parameter in space}


def _values_of(parameter: Parameter) -> list[Any]:
    if not parameter.is_range:
        return parameter.options()
    assert parameter.low is not None
    kind, step = int if parameter.type == "int" else float, _step(parameter)
    return [kind(parameter.low + number * step) for number in range(_count_values(parameter))]


def _step(parameter: Parameter) -> float:
    step = parameter.step or (1 if parameter.type == "int" and not parameter.log else None)
    if step is None:
        raise ConfigError(
            f"space.{parameter.name}", "must have a step or be a list of choices, to be gone through one by one"
        )
    return step


def _count_values(parameter: Parameter) -> int:
    if not parameter.is_range:
        return len(parameter.options())
    assert parameter.low is not None
    assert parameter.high is not None
    count = floor((parameter.high - parameter.low) / _step(parameter) + 1e-9) + 1
    if count > MOST_VALUES:
        raise ConfigError(
            f"space.{parameter.name}",
            f"must have at most {MOST_VALUES:,} values, to be gone through one by one; got {count:,}; widen its step",
        )
    return count


def count_configurations(space: Space) -> int | None:
    """Returns the number of points of a space; `None` where a function suggests more than trials were asked for.

    Raises:
        ConfigError: A parameter cannot be enumerated.
    """
    if isinstance(space, FunctionSpace):
        for parameter in space:
            _count_values(parameter)
        return space.points
    return count_points(list(space))


def count_points(parameters: Sequence[Parameter]) -> int:
    """Returns the number of points. Where no condition joins parameters, it is the product of their numbers of values.

    Raises:
        ConfigError: A parameter cannot be enumerated.
    """
    parents = {name for parameter in parameters for name in parameter.when}
    parent = next((p for p in parameters if p.name in parents and not p.when), None)
    if parent is None:
        return prod(map(_count_values, parameters))
    joined = _joined(parent, parameters)
    others = [parameter for parameter in parameters if parameter.name not in joined]
    children = [parameter for parameter in parameters if parameter.name in joined and parameter is not parent]
    points = sum(count_points(_given(children, parent.name, value)) for value in parent.options())
    return points * count_points(others)


def _joined(parent: Parameter, parameters: Sequence[Parameter]) -> set[str]:
    """Returns the names of the parameters that conditions join to a parameter, directly or over others."""
    names, before = {parent.name}, 0
    while len(names) > before:
        before = len(names)
        names |= {p.name for p in parameters if names & set(p.when)} | {
            name for p in parameters if p.name in names for name in p.when
        }
    return names


def _given(parameters: Sequence[Parameter], name: str, value: Any) -> list[Parameter]:
    """Returns the parameters that may apply when one of their parents has a value, without conditions on it."""
    left: list[Parameter] = []
    gone: list[str] = []
    for parameter in parameters:
        if name in parameter.when and value not in parameter.when[name]:
            gone.append(parameter.name)
        else:
            left.append(replace(parameter, when={n: v for n, v in parameter.when.items() if n != name}))
    for other in gone:  # a parameter that does not apply has no value, which conditions read as null
        left = _given(left, other, None)
    return left
