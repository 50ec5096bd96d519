"""Says which name of a class in a config is wrong, and what the nearest name is. jsonargparse names neither."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from jsonargparse._typehints import get_all_subclass_paths, get_subclass_types

from lit_dl.config.classes import import_class
from lit_dl.config.keys import Config, get_key, is_class
from lit_dl.errors import ConfigError, suggest


def wrong_class_name(config: Config, types: Mapping[str, Any]) -> ConfigError | None:
    """Returns the error for the first class of a refused config that does not exist or is not of the type of its key.

    Args:
        config: In normal form.
        types: Annotations by dotted key.
    """
    for key, annotation in types.items():
        bases = get_subclass_types(annotation, also_containers=True, callable_return=True)
        value = get_key(config, key)
        if bases is None or (isinstance(value, str) and str in get_args(annotation)):  # which may be no class
            continue
        for place, name in _class_names(key, value):
            if problem := _problem(name, bases):
                return ConfigError(place, problem)
    return None


def _class_names(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yields the dotted key and the text of each class that the value of an argument names."""
    if isinstance(value, list):
        for number, element in enumerate(value):
            yield from _class_names(f"{key}.{number}", element)
    elif isinstance(value, str):
        yield key, value
    elif is_class(value) and isinstance(value["class_path"], str):
        yield f"{key}.class_path", value["class_path"]


def _problem(name: str, bases: tuple[type, ...]) -> str | None:
    """Returns why a text names no class of these; `None` if it does, or if it is a function."""
    paths = {path.rpartition(".")[2]: path for base in bases for path in get_all_subclass_paths(base)}
    kinds = " or ".join(dict.fromkeys(base.__name__ for base in bases))
    if "." not in name:
        return None if name in paths else f"{name!r} is not the name of a known {kinds}{suggest(name, paths)}"
    try:
        found = import_class("", name, object)
    except ConfigError as error:
        if "cannot be imported" not in error.problem:  # it is no class
            return None
        package = name.split(".")[0] + "."
        near = suggest(name, (path for path in paths.values() if path.startswith(package)))
        return error.problem.split("; is its folder")[0] + near if near else error.problem
    if inspect.isclass(found) and not issubclass(found, bases):
        return f"must be a subclass of {kinds}; {name!r} is not"
    return None
