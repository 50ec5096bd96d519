"""Imports classes, and functions that make objects of a class, by their import path."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Self, TypeVar, get_type_hints

from lit_dl.errors import ConfigError, LitError


def import_class(key: str, path: str, base: type) -> type[Any]:
    """Returns the class at an import path.

    Args:
        key: Dotted key of the path, for error messages.
        path: Such as `package.module.Class`.
        base: The class that it must be a subclass of.

    Raises:
        ConfigError: The class cannot be imported, or is not a subclass of `base`.
    """
    found = _import(key, path)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(key, f"must be a {base.__name__}; {path!r} is not")
    return found


def import_factory(key: str, path: str, base: type) -> tuple[Callable[..., Any], Any]:
    """Returns what makes an object, and its class: the class itself, or a function that is annotated with it.

    Args:
        key: Dotted key of the path, for error messages.
        path: Such as `package.module.Class`, `package.module.function`, or `package.module.Class.from_something`.
        base: The class that it must be a subclass of.

    Raises:
        ConfigError: There is no such object, or it does not make objects of `base`.
    """
    found = _import(key, path)
    made = found if isinstance(found, type) or not callable(found) else _returned_class(found)
    if not (isinstance(made, type) and issubclass(made, base)):
        must = f"must be a {base.__name__}, or a function whose return annotation is one"
        raise ConfigError(key, f"{must}; {path!r} is not")
    return found, made


def parameters_of(cls: type[Any]) -> Mapping[str, inspect.Parameter]:
    """Returns the parameters of a class, or of the function that it was made from by `class_from_function`."""
    return inspect.signature(getattr(cls, "wrapped_function", cls.__init__)).parameters


def import_function(key: str, path: str) -> Callable[..., Any]:
    """Returns the function at an import path.

    Args:
        key: Dotted key of the path, for error messages.
        path: Such as `package.module.function`.

    Raises:
        ConfigError: It cannot be imported, or cannot be called.
    """
    found = _import(key, path)
    if not callable(found):
        raise ConfigError(key, f"must be a function; {path!r} is {found!r}")
    return found  # type: ignore[no-any-return]


def _returned_class(function: Callable[..., Any]) -> Any:
    """Returns the annotation of what a function returns. A class method without one is taken to return its class."""
    owner = getattr(function, "__self__", None)
    try:
        returned = get_type_hints(function).get("return", Self)
    except Exception:  # another annotation names what only a type checker imports
        returned = inspect.signature(function).return_annotation
    return owner if returned is Self or isinstance(returned, TypeVar) else returned


def _import(key: str, path: str) -> Any:
    """Returns the object at an import path: an attribute of a module, or of a class in it."""
    if not isinstance(path, str) or not path.rpartition(".")[0].strip("."):
        raise ConfigError(key, f"must be an import path, package.module.name; got {path!r}")
    parent, _, name = path.rpartition(".")
    try:
        try:
            owner = import_module(parent)
        except ModuleNotFoundError as error:
            module, _, outer = parent.rpartition(".")
            if error.name != parent or not module:
                raise
            owner = getattr(import_module(module), outer)
        return getattr(owner, name)
    except LitError as error:  # such as that of a script that launches a sweep when it is imported
        raise ConfigError(key, f"{path!r} cannot be imported; {error}") from None
    except Exception as error:  # a foreign module can raise anything when it is imported
        if parent.split(".")[0] == "__main__":  # as LightningCLI saves it in a script
            must = "must name a module; in place of __main__ write the name of the file that defines it, without .py"
            raise ConfigError(key, f"{must}; got {path!r}") from None
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        raise ConfigError(key, f"{path!r} cannot be imported ({reason}); is its folder in PYTHONPATH?") from None


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
