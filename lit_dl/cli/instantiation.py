"""How objects are made from a parsed config: functions as classes, paths as a shell reads them, errors about a key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import PurePath
from typing import Any

from jsonargparse import Namespace
from jsonargparse.typing import class_from_function
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden

from lit_dl.config.classes import import_factory, parameters_of
from lit_dl.config.keys import Config
from lit_dl.errors import ConfigError, LitError, key_prefix
from lit_dl.files import expand_path


def class_at(key: str, path: str, base: type) -> type[Any]:
    """Returns the class at an import path; for a function, a class that is made by calling the function.

    Raises:
        ConfigError: There is none, or it is not a subclass of `base`.
    """
    factory, made = import_factory(key, path, base)
    return factory if isinstance(factory, type) else _class_from(factory, made)


@cache  # a parser is made once for each class
def _class_from(function: Callable[..., Any], made: Any) -> type[Any]:
    return class_from_function(function, made, name=f"made_by_{id(function)}")  # jsonargparse wants a unique name


def instantiator(group: str, base: type) -> Callable[..., Any]:
    """Returns a function that calls a class, for `instantiators` of jsonargparse.

    Each `OptimizerCallable` refers to it, and Lightning drops hyperparameters that cannot be pickled, without which a
    module that asks its `hparams` for its optimizer does not train. So it can be pickled.

    Args:
        group: `model` or `data`. Exceptions of the class become a ConfigError with this key.
        base: The class that the object must be of.
    """
    return partial(_instantiate, group, base)


def _instantiate(group: str, base: type, cls: type, /, *args: Any, **kwargs: Any) -> Any:
    more = {} if "dict_kwargs" in parameters_of(cls) else kwargs.pop("dict_kwargs", None) or {}
    name = getattr(getattr(cls, "wrapped_function", cls), "__name__", cls.__name__)
    with key_prefix(group):
        try:
            made = cls(*args, **{**kwargs, **more})
        except LitError:
            raise
        except (Exception, SystemExit) as error:
            raise ConfigError("", f"{name} refuses its arguments ({type(error).__name__}: {error})") from error
        if not isinstance(made, base):
            raise ConfigError("class_path", f"must make a {base.__name__}; {name} made a {type(made).__name__}")
    return made


def instantiate_part(cls: type, /, *args: Any, **kwargs: Any) -> Any:
    """Calls a class that is an argument of another, for `instantiators` of jsonargparse.

    Raises:
        ConfigError: The class raised an exception. Its key is the name of the class; see `part_errors`.
    """
    try:
        return cls(*args, **kwargs)
    except Exception as error:
        raise ConfigError(cls.__name__, f"refuses its arguments ({type(error).__name__}: {error})") from error


@contextmanager
def part_errors(config: Callable[[], Config]) -> Iterator[None]:
    """Gives the errors of `instantiate_part` the dotted key of the class in a config.

    jsonargparse tries an argument of a union as each of its types. Then the error is the cause of another one.
    """
    try:
        yield
    except ValueError as error:
        found: BaseException | None = error
        while found is not None and not isinstance(found, ConfigError):
            found = found.__cause__
        if found is None:
            raise
        key = next((key for key, name in _classes_in(config()) if name == found.key), None)
        if key is None:
            raise found from None
        raise ConfigError(key, f"{found.key} {found.problem}") from found.__cause__


def _classes_in(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields the dotted key and the name of every class in a config."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in pairs:
        key = f"{prefix}{name}"
        if name == "class_path":
            yield prefix.removesuffix("."), str(part).rpartition(".")[2]
        yield from _classes_in(part, f"{key}.")


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


@contextmanager
def prediction_errors(module: LightningModule) -> Iterator[None]:
    """Turns exceptions of Lightning's own `predict_step`, which a module without one has, into a ConfigError."""
    try:
        yield
    except Exception as error:
        if is_overridden("predict_step", module):
            raise
        raise ConfigError(
            "model",
            "must have a predict_step for these batches; Lightning's gives the whole batch to forward, which fails "
            f"({type(error).__name__}: {error})",
        ) from error
