"""Imports classes by their import path."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from lit_dl.errors import ConfigError


def import_class(key: str, path: str, base: type) -> type[Any]:
    """Returns the class at an import path.

    Args:
        key: Dotted key of the path, for error messages.
        path: Such as `package.module.Class`.
        base: The class that it must be a subclass of.

    Raises:
        ConfigError: The class cannot be imported, or is not a subclass of `base`.
    """
    if not isinstance(path, str) or not path.rpartition(".")[0].strip("."):
        raise ConfigError(key, f"must be an import path, package.module.Class; got {path!r}")
    module, _, name = path.rpartition(".")
    try:
        cls = getattr(import_module(module), name)
    except Exception as error:  # a foreign module can raise anything when it is imported
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        raise ConfigError(key, f"{path!r} cannot be imported ({reason}); is its folder in PYTHONPATH?") from None
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise ConfigError(key, f"must be a {base.__name__}; {path!r} is not")
    return cls


def is_same_class(one: object, other: object) -> bool:
    """Whether two names of classes mean one class: by short name (`Adam`), or by the import path of another module."""
    if not isinstance(one, str) or not isinstance(other, str) or one.split(".")[-1] != other.split(".")[-1]:
        return False
    if one == other or "." not in one or "." not in other:
        return True
    try:
        return import_class("", one, object) is import_class("", other, object)
    except ConfigError:
        return False
