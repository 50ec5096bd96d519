"""Options of techniques: default values, valid ranges, and the one check of the values that a config gives.

Activations, losses, normalizations, optimizers and schedules are tables: a row for each name. Every row lists its
options. A config gives `None` for an option that it leaves to the row. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lit_dl.errors import ConfigError, unknown_name


@dataclass(frozen=True)
class Range:
    """The valid values of a number.

    Args:
        text: The range in words; completes the sentence "must be ...".
        contains: Whether a value is valid. Must be false for NaN.
    """

    text: str
    contains: Callable[[float], bool]

    def check(self, key: str, value: float) -> None:
        """Refuses a value outside the range.

        Raises:
            ConfigError: The value is outside.
        """
        if not self.contains(value):
            raise ConfigError(key, f"must be {self.text}; got {value!r}")


POSITIVE = Range("above 0 and finite", lambda value: 0 < value < math.inf)
NON_NEGATIVE = Range("0 or more and finite", lambda value: 0 <= value < math.inf)
FRACTION = Range("in [0, 1)", lambda value: 0 <= value < 1)


def at_least(minimum: int) -> Range:
    """Returns the range of all numbers from `minimum` upwards."""
    return Range(f"{minimum} or more", lambda value: value >= minimum)


@dataclass(frozen=True)
class Option:
    """An option of a technique.

    Args:
        default: The value when the config gives none: that of PyTorch or of the paper.
        range: The valid values.
        keras: The default of Keras. `None`: the same.
    """

    default: float
    range: Range
    keras: float | None = None


class Technique(Protocol):
    """A row of a table of techniques."""

    @property
    def source(self) -> str:
        """What the technique computes, and where it was published. Shown by `--help`."""

    @property
    def options(self) -> Mapping[str, Option]:
        """The options of the technique by config key."""


def option_names(table: Mapping[str, Technique]) -> list[str]:
    """Returns the names of all options of a table, each once."""
    return list(dict.fromkeys(name for row in table.values() for name in row.options))


def given_options(table: Mapping[str, Technique], config: object) -> dict[str, Any]:
    """Returns the options of a table as the attributes of a config give them; `None` for those left out."""
    return {name: getattr(config, name) for name in option_names(table)}


def resolve_options(
    table: Mapping[str, Technique], key: str, name: str, given: Mapping[str, float | None], keras: bool = False
) -> dict[str, float]:
    """Returns the options of the named technique: the given values, and defaults for the others.

    Args:
        table: The techniques by name.
        key: The config key of the name, such as `activation`. Error messages contain it.
        name: The technique.
        given: Values by option. `None`: not given.
        keras: Use the defaults of Keras.

    Raises:
        ConfigError: An unknown name, an option that the technique does not have, or a value out of range.
    """
    if name not in table:
        raise unknown_name(key, name, table)
    options = table[name].options
    chosen = {option: value for option, value in given.items() if value is not None}
    for option, value in chosen.items():
        if option not in options:
            takers = ", ".join(other for other, row in table.items() if option in row.options)
            raise ConfigError(option, f"{value!r} does not apply to {key}={name!r}, but to {takers}; set it to null")
        options[option].range.check(option, value)
    return {option: chosen.get(option, _default(row, keras)) for option, row in options.items()}


def _default(option: Option, keras: bool) -> float:
    return option.keras if keras and option.keras is not None else option.default
