"""How objects are made from a parsed config: paths as a shell reads them, exceptions as errors about a key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

from jsonargparse import Namespace

from lit_dl.errors import ConfigError, LitError, key_prefix
from lit_dl.files import expand_path


def instantiator(group: str) -> Callable[..., Any]:
    """Returns a function that calls a class, for `instantiators` of jsonargparse.

    Args:
        group: `model` or `data`. Exceptions of the class become a ConfigError with this key.
    """

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


@contextmanager
def trainer_errors() -> Iterator[None]:
    """Turns exceptions of the Trainer into a ConfigError with the key `trainer`."""
    try:
        yield
    except LitError:
        raise
    except Exception as error:
        raise ConfigError("trainer", f"refused by Lightning ({type(error).__name__}: {error})") from error


def expand_paths(config: Any) -> Any:
    """Returns a copy of a parsed config in which paths are what a shell makes of them.

    The config that a run saves keeps what was written, so that it can be used by another person, or on another machine.
    """
    if isinstance(config, Namespace):
        copied = Namespace()
        vars(copied).update({name: expand_paths(value) for name, value in vars(config).items()})
        return copied
    if isinstance(config, dict):
        return {name: expand_paths(value) for name, value in config.items()}
    if type(config) in (list, tuple):
        return type(config)(expand_paths(value) for value in config)
    if isinstance(config, str):
        return expand_path(config)
    return type(config)(expand_path(str(config))) if isinstance(config, PurePath) else config
