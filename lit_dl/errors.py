"""The exception tree. Imports no torch, so that a command can report bad input before it loads anything.

LitError
├── ConfigError      a key, its value, and what must hold; nothing was started
├── DataError        a data file that is missing or damaged
└── StorageError     a study, its storage or its run folder that cannot be used
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class LitError(Exception):
    """Base of all errors that the user can fix. Commands print it without a traceback and exit with status 2."""


class ConfigError(LitError, ValueError):
    """A configuration that cannot run. The text starts with the dotted key at fault.

    Args:
        key: Dotted key, such as `model.network.depth`, or the place in a file.
        problem: The rule, the given value, and what to do about it.
    """

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}" if key else problem)
        self.key = key
        self.problem = problem

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str, str]]:
        return type(self), (self.key, self.problem)  # it is pickled by the process that checks a spec


class DataError(LitError):
    """A data file that is missing, damaged or incomplete. The text starts with the file's path."""


class StorageError(LitError):
    """A run folder, study or storage that cannot be opened, or is in use."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Returns `; did you mean 'relu'?` with the nearest known name; an empty text when none is near."""
    near = get_close_matches(name, list(known), n=3, cutoff=0.6)
    swapped = [word for word in near if sorted(word) == sorted(name)]  # `adma` is `adam` rather than `adamax`
    return f"; did you mean {[*swapped, *near][0]!r}?" if near else ""


def unknown_name(key: str, name: object, known: Iterable[str]) -> ConfigError:
    """Returns the error for an unknown name. It lists the known names and suggests the nearest.

    >>> str(unknown_name("model.network.activation", "rleu", ["relu", "tanh"]))
    "model.network.activation: 'rleu' is not one of relu, tanh; did you mean 'relu'?"
    """
    names = list(known)
    return ConfigError(key, f"{name!r} is not one of {', '.join(names)}{suggest(str(name), names)}")


def never_logged(key: str, metric: str, logged: Iterable[str]) -> ConfigError:
    """Returns the error for a metric to monitor that no epoch has. It lists the metrics that are logged."""
    names = list(logged)
    return ConfigError(
        key, f"{metric!r} is never logged; logged are {', '.join(names) or 'none'}{suggest(metric, names)}"
    )


@contextmanager
def key_prefix(prefix: str) -> Iterator[None]:
    """Context manager: puts `prefix.` before the key of a ConfigError that is raised inside."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{prefix}.{error.key}" if error.key else prefix, error.problem) from None
