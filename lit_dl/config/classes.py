"""Classes by import path, and what goes wrong while objects are made of them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from lit_dl.errors import ConfigError, LitError, key_prefix


def import_class(key: str, path: str, base: type) -> type[Any]:
    """The class at an import path.

    Raises:
        ConfigError: It cannot be imported, or is no subclass of `base`.
    """
    if not isinstance(path, str) or not path.rpartition(".")[0].strip("."):
        raise ConfigError(key, f"must be an import path, package.module.Class; got {path!r}")
    module, _, name = path.rpartition(".")
    try:
        cls = getattr(import_module(module), name)
    except Exception as error:  # a module of the user's: anything can happen in it
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        raise ConfigError(key, f"{path!r} cannot be imported ({reason}); is its folder in PYTHONPATH?") from None
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise ConfigError(key, f"must be a {base.__name__}; {path!r} is not")
    return cls


def instantiator(group: str) -> Callable[..., Any]:
    """Makes objects; what goes wrong becomes an error about `group` (model or data)."""

    def instantiate(cls: type, *args: Any, **kwargs: Any) -> Any:
        with key_prefix(group):
            try:
                return cls(*args, **kwargs)
            except LitError:
                raise
            except (Exception, SystemExit) as error:
                raise ConfigError(
                    "", f"{cls.__name__} refuses its arguments ({type(error).__name__}: {error})"
                ) from error

    return instantiate


class trainer_errors:
    """Turns what the Trainer refuses into errors about the group `trainer`."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, LitError):
            raise ConfigError("trainer", f"refused by Lightning ({type(error).__name__}: {error})") from error
