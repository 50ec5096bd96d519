"""Checks of single values in the YAML of a spec. Each returns the value, or refuses it with an error about its key."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from lit_dl.errors import ConfigError, suggest, unknown_name


def mapping(value: object, key: str) -> dict[str, Any]:
    """Returns a copy of a mapping.

    Raises:
        ConfigError: The value is not a mapping.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(key, f"must be a mapping of keys to values; got {value!r}")
    return dict(value)


def mapping_or_null(value: object, key: str) -> dict[str, Any]:
    """Returns a copy of a mapping; an empty one for null."""
    return {} if value is None else mapping(value, key)


def check_names(values: Mapping[str, Any], key: str, known: Collection[str]) -> None:
    """Refuses names of a mapping that are not known.

    Raises:
        ConfigError: A name is unknown, with the nearest known name.
    """
    for name in values:
        if name not in known:
            raise ConfigError(f"{key}.{name}", f"no such key{suggest(str(name), known)}")


def one_of(value: object, key: str, known: Collection[str]) -> str:
    """Returns a name.

    Raises:
        ConfigError: The name is not known, with the nearest known name.
    """
    if value not in known:
        raise unknown_name(key, value, known)
    return str(value)


def text(value: object, key: str) -> str:
    """Returns a text.

    Raises:
        ConfigError: The value is not a text.
    """
    if not isinstance(value, str):
        raise ConfigError(key, f"must be a text; got {value!r}")
    return value


def boolean(value: object, key: str) -> bool:
    """Returns true or false.

    Raises:
        ConfigError: The value is neither.
    """
    if not isinstance(value, bool):
        raise ConfigError(key, f"must be true or false; got {value!r}")
    return value


def whole_number(value: object, key: str, least: int) -> int:
    """Returns a whole number.

    Raises:
        ConfigError: The value is not a whole number, or is below `least`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(key, f"must be a whole number, {least} or more; got {value!r}")
    return value


def is_number(value: object) -> bool:
    """Whether a value is an int or a float, and finite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def finite_number(value: object, key: str) -> float:
    """Returns a number.

    Raises:
        ConfigError: The value is not a number, or is not finite.
    """
    if not is_number(value):
        raise ConfigError(key, f"must be a finite number; got {value!r}")
    return float(value)  # type: ignore[arg-type]


def not_negative(value: object, key: str) -> float:
    """Returns a number that is 0 or more.

    Raises:
        ConfigError: The value is not a number, not finite, or negative.
    """
    number = finite_number(value, key)
    if number < 0:
        raise ConfigError(key, f"must be 0 or more; got {value!r}")
    return number


def duration(value: object, key: str) -> float:
    """Returns seconds, from a number or from a text such as 90s, 30m or 2h.

    Raises:
        ConfigError: The value is neither, or is not above 0.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(value))
    seconds = float(match.group(1)) * {"": 1, "s": 1, "m": 60, "h": 3600}[match.group(2)] if match else math.nan
    if not seconds > 0:
        raise ConfigError(key, f"must be above 0: seconds, or a text such as 90s, 30m or 2h; got {value!r}")
    return seconds
