"""Values that a user gives for a trial: checked against the space, and in the form in which a storage holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lit_dl.config.keys import normal_key
from lit_dl.errors import ConfigError, suggest
from sweeps.spec.space import Parameter, Space, Values
from sweeps.spec.value_checks import is_number


def given_params(given: Mapping[str, Any], space: Space) -> Values:
    """Returns values by name of the parameter, as a sampler would have chosen them.

    Args:
        given: Values by key of the space. Any of them may be left out.
        space: The space, whose ranges have types.

    Raises:
        ConfigError: The space has no such key, or not this value for it, or the parameter does not apply.
    """
    values: Values = {}
    for key, value in given.items():
        name = space.name_of(normal_key(str(key)))
        if name not in space:
            known = ", ".join(space.parameters)
            raise ConfigError(str(key), f"no such key in space, which has {known}{suggest(str(key), space.parameters)}")
        values[name] = _checked(name, value, space.parameters[name])
    for name in values:
        _check_applies(space.parameters[name], values)
    return values


def _checked(name: str, value: Any, parameter: Parameter) -> Any:
    if not parameter.is_range:
        options = parameter.options()
        chosen = [option for option in options if _is_same(option, parameter.stored(value))]
        if not chosen:
            texts = [str(option) for option in options]
            raise ConfigError(name, f"{value!r} is not one of {', '.join(texts)}{suggest(str(value), texts)}")
        return chosen[0]
    if not is_number(value) or (parameter.type == "int" and value != int(value)):
        kind = "a whole number" if parameter.type == "int" else "a number"
        raise ConfigError(name, f"must be {kind} from {parameter.low!r} to {parameter.high!r}; got {value!r}")
    number = int(value) if parameter.type == "int" else float(value)
    if not parameter.distribution()._contains(number):
        steps = f" in steps of {parameter.step!r}" if parameter.step is not None else ""
        raise ConfigError(
            name, f"must be from {parameter.low!r} to {parameter.high!r}{steps}, as in space; got {value!r}"
        )
    return number


def _is_same(option: Any, value: Any) -> bool:
    return bool(option == value) and isinstance(option, bool) == isinstance(value, bool)


def _check_applies(parameter: Parameter, values: Values) -> None:
    """Refuses a value for a parameter whose conditions do not hold, or may not hold once the others are sampled."""
    for parent, options in parameter.when.items():
        if values.get(parent, ...) not in options:
            got = f"got {values[parent]!r}" if parent in values else "give it as well"
            names = " or ".join(map(str, options))
            raise ConfigError(parameter.name, f"applies only where {parent} is {names}; {got}")
