"""Turns exceptions of the classes that a config names, and of the Trainer, into errors about a key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden

from lit_dl.errors import ConfigError, LitError, key_prefix


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
