"""Builds objects of Optuna from their class paths and arguments in a spec; an argument may be such an object, too."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from optuna.exceptions import ExperimentalWarning

from lit_dl.errors import ConfigError, suggest, unknown_name
from sweeps.spec.other_programs import argument_hint, plugin_hint
from sweeps.spec.parse_spec import parse_plugin
from sweeps.spec.space import Values
from sweeps.spec.spec import Plugin

_REQUIRED_PACKAGES = {"GPSampler": "scipy", "QMCSampler": "scipy", "CmaEsSampler": "cmaes", "WilcoxonPruner": "scipy"}

Complete = Callable[[str, type, Values], Values]
"""(key, class, arguments) -> arguments with those that the spec leaves to us, such as the seed."""


@cache
def parameters_of(cls: type) -> Mapping[str, inspect.Parameter]:
    """Returns what a class takes, by name. A sampler is built for each trial, and looking this up takes a while."""
    return inspect.signature(cls.__init__).parameters  # type: ignore[misc]


@dataclass(frozen=True)
class PluginClass:
    """A class that a spec names, with the arguments that it gives.

    Args:
        key: Key of the spec that names it: `sampler`, or `sampler.init_args.base_sampler`.
        cls: The class.
        arguments: The arguments, with nested objects as `Plugin`.
        module: The module of Optuna whose classes go by their bare names.
        inner_base: The class that those in it are subclasses of.
    """

    key: str
    cls: type
    arguments: Values
    module: ModuleType
    inner_base: type

    @classmethod
    def of(
        cls, key: str, plugin: Plugin, module: ModuleType, base: type, inner_base: type | None = None
    ) -> PluginClass:
        """Resolves the class of a plugin.

        Args:
            key: Key of the spec that names it.
            plugin: The class path and the arguments.
            module: The module of Optuna whose classes go by their bare names.
            base: The class that it must be a subclass of.
            inner_base: The class that those in it must be subclasses of; `None`: the same.

        Raises:
            ConfigError: There is no such class, or a package that it needs is missing.
        """
        found: type = _resolve_class(key, plugin.class_path, module, base)
        takes = parameters_of(found)
        arguments = {
            name: _nested(
                f"{key}.init_args.{name}", value, str(takes[name].annotation) if name in takes else "", module
            )
            for name, value in plugin.init_args.items()
        }
        return cls(key, found, arguments, module, inner_base or base)

    def argument(self, name: str) -> Any:
        """Returns an argument, or its default; `None` where the class does not take it."""
        parameter = parameters_of(self.cls).get(name)
        return self.arguments.get(name, None if parameter is None else parameter.default)

    def nested(self) -> dict[str, PluginClass]:
        """Returns the arguments that are such objects themselves, by name."""
        return {
            name: PluginClass.of(f"{self.key}.init_args.{name}", value, self.module, self.inner_base)
            for name, value in self.arguments.items()
            if isinstance(value, Plugin)
        }

    def __iter__(self) -> Iterator[PluginClass]:
        """Yields this class and all that are nested in it."""
        yield self
        for inner in self.nested().values():
            yield from inner

    def build(self, complete: Complete) -> Any:
        """Returns the object.

        Raises:
            ConfigError: An argument is refused.
        """
        arguments = {**self.arguments, **{name: inner.build(complete) for name, inner in self.nested().items()}}
        return self._instantiate(complete(self.key, self.cls, arguments))

    def _instantiate(self, arguments: Values) -> Any:
        takes, name = parameters_of(self.cls), self.cls.__name__
        for argument in arguments:
            if argument not in takes:
                known = [known for known in takes if known != "self"]
                hint = argument_hint(argument) or suggest(argument, known)
                raise ConfigError(
                    f"{self.key}.init_args", f"{name} takes no {argument!r}, but {', '.join(known)}{hint}"
                )
        try:
            with warnings.catch_warnings():
                # `group` is experimental; without it, conditional parameters are sampled independently. Optuna will
                # move its terminators to another package some day.
                warnings.simplefilter("ignore", ExperimentalWarning)
                warnings.simplefilter("ignore", FutureWarning)
                return self.cls(**arguments)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self.key}.init_args", f"{self.arguments!r} is refused by {name}: {error}") from None


def _nested(key: str, value: Any, annotation: str, module: ModuleType) -> Any:
    """Returns an argument as `Plugin` if it is the class path of an object, with or without arguments."""
    is_plugin = isinstance(value, Mapping) and "class_path" in value
    takes_object = any(base in module.__all__ for base in re.findall(r"Base\w+", annotation))
    if is_plugin or (isinstance(value, str) and takes_object):
        return parse_plugin(value, key)
    return value


def _resolve_class(key: str, class_path: str, module: ModuleType, base: type) -> type[Any]:
    name = class_path.removeprefix(f"{module.__name__}.")
    if "." in name and not plugin_hint(name):
        from lit_dl.config.classes import import_class

        return import_class(f"{key}.class_path", class_path, base)
    known = [n for n in module.__all__ if inspect.isclass(getattr(module, n)) and not n.startswith("Base")]
    if name not in known:
        error = unknown_name(key, name, known)
        raise ConfigError(key, error.problem + plugin_hint(name))
    need = _REQUIRED_PACKAGES.get(name)
    if need and find_spec(need) is None:
        raise ConfigError(key, f"{name} needs the package {need}; pip install {need}")
    return getattr(module, name)  # type: ignore[no-any-return]
