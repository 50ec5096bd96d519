"""A spec that is written in Python: its values as YAML would hold them, its classes as import paths."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from enum import Enum
from numbers import Integral, Real
from typing import Any

from lit_dl.errors import ConfigError
from sweeps.definitions.import_paths import ImportPaths


def plain_spec(given: Mapping[str, Any], paths: ImportPaths) -> dict[str, Any]:
    """Returns a spec as mappings, lists, texts and numbers.

    Classes and functions become their import paths; tuples become lists, paths texts, members of enums their names,
    numbers of NumPy those of Python.

    Args:
        given: The keys of the spec.
        paths: Finds the import paths.

    Raises:
        ConfigError: A value has no text, or a class cannot be imported elsewhere.
    """
    return {name: _plain(value, str(name), paths) for name, value in given.items()}


def _plain(value: Any, key: str, paths: ImportPaths) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(part, f"{key}.{name}", paths) for name, part in value.items()}
    if isinstance(value, list | tuple | range):
        return [_plain(part, f"{key}.{number}", paths) for number, part in enumerate(value)]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, str):
        return paths.resolve(key, str(value))
    for kind, plain in _SCALARS.items():
        if isinstance(value, kind):
            return plain(value)
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return paths.of(key, value)
    raise ConfigError(key, f"must be a value that YAML can hold, a class or a function; got {value!r}")


_SCALARS: dict[Any, Callable[[Any], Any]] = {Integral: int, Real: float, os.PathLike: os.fspath}
