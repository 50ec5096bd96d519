"""The parser of run configs, and how it writes what it has parsed."""

from __future__ import annotations

import os
from argparse import SUPPRESS, Action
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from functools import cached_property
from inspect import isfunction
from typing import Any

from jsonargparse import Namespace
from jsonargparse._link_arguments import ActionLink
from jsonargparse._typehints import ActionTypeHint, subclasses_disabled_remove_class_path
from jsonargparse._util import object_path_serializer
from jsonargparse.typing import get_registered_type
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LightningArgumentParser

from lit_dl.cli.optimizer_types import as_callable
from lit_dl.config.classes import parameters_of
from lit_dl.config.keys import Config, flatten, lightning_form
from lit_dl.config.yaml_io import dump_yaml
from lit_dl.errors import ConfigError
from lit_dl.run.run_config import CheckpointConfig, EarlyStoppingConfig, TrackingConfig

# Arguments of a command that are no keys of a run config: `config.yaml` does not hold them.
_COMMAND_ARGUMENTS = ("config", "run_dir", "ckpt_path", "weights_only", "return_predictions", "verbose")
_PLAIN_TYPES = (str, int, float, bool, type(None))


class RunParser(LightningArgumentParser):
    """A parser that computes its defaults, keys and types once, and has no default that a config cannot hold.

    jsonargparse computes the defaults of all arguments at every parse, which takes a fifth of the time of a parse.

    It also makes a parser of this class for each class that a config names, such as a callback.
    """

    paths: tuple[str, str | None] | None = None
    """Import paths of the LightningModule and of the LightningDataModule. `None`: this is no parser of a run config."""

    _cached_defaults: Namespace | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        self._functions: dict[str, Any] = {}  # the defaults that are functions, by key
        super().__init__(*args, **options)

    def add_more_arguments(self, group: str, cls: Any) -> None:
        """Adds `dict_kwargs` of LightningCLI to a group of a class with `**kwargs`, for names that nobody can look up.

        jsonargparse finds most names that end in `**kwargs` in the source; what it finds has a key of its own.
        """
        # The `**kwargs` of a module that has no `__init__` take nothing.
        parameters = {} if cls.__init__ is LightningModule.__init__ else parameters_of(cls)
        if "dict_kwargs" not in parameters and any(p.kind == p.VAR_KEYWORD for p in parameters.values()):
            names = "More arguments for **kwargs of the class, as a mapping of names to values."
            self.add_argument(f"--{group}.dict_kwargs", type=dict[str, Any] | None, help=names)

    def add_run_arguments(self) -> None:
        """Adds the keys of a run config that belong neither to the Trainer, nor to the module or the data module."""
        self.add_argument("--threads", type=int | None, help="CPU threads of torch. null: as many as torch chooses.")
        layers = "Write diagnostics.csv: gradients and activations by layer. null: for our own models."
        self.add_argument("--diagnostics", type=bool | None, help=layers)
        links = "Keys that take the value of another key, or of a property of data: {source: target or [targets]}."
        self.add_argument("--link", type=dict[str, Any] | None, help=links)
        self.add_class_arguments(EarlyStoppingConfig, "early_stopping", instantiate=False)
        self.add_class_arguments(CheckpointConfig, "checkpoint", instantiate=False)
        self.add_class_arguments(TrackingConfig, "tracking", instantiate=False)
        self.add_argument(
            "--run_dir", type=str | None, help="Folder for config, metrics, checkpoints. null: runs/fit/DATE-TIME."
        )

    def _add_signature_parameter(
        self, container: Any, nested_key: str | None, param: Any, *args: Any, **options: Any
    ) -> None:
        """Adds the argument for a parameter of a class."""
        param = replace(param, annotation=as_callable(param.annotation))
        super()._add_signature_parameter(container, nested_key, param, *args, **options)
        if isfunction(param.default):
            self._functions[f"{nested_key}.{param.name}" if nested_key else param.name] = param.default

    def cache_defaults(self) -> None:
        """Computes the defaults for all later parses. Arguments must not be added after this call."""
        self._cached_defaults = self.get_defaults()

    def get_defaults(self, *args: Any, **kwargs: Any) -> Namespace:
        """Returns the defaults of all arguments, without those that a config cannot hold.

        The class itself applies a default that is missing here. A default of another type, such as an object, would
        reach the class as a text once the config has been written and read.
        """
        if self._cached_defaults is not None:
            return self._cached_defaults.clone()
        defaults = super().get_defaults(*args, **kwargs)
        for key in self._unwritable:
            # A dataclass has defaults of its own, which `group: Options = Options(loss=MSELoss())` overrides.
            if self.paths is None or key not in self._defaults:
                del defaults[key]
        return defaults

    @cached_property
    def _unwritable(self) -> dict[str, Any]:
        """The defaults that are not the same after they have been written and read, by key."""
        defaults = super().get_defaults()
        actions = [action for action in self._actions if isinstance(action, ActionTypeHint) and action.dest in defaults]
        return {a.dest: defaults[a.dest] for a in actions if not self._reads_back(a, defaults[a.dest])}

    def _reads_back(self, action: Action, value: Any) -> bool:
        if type(value) in _PLAIN_TYPES and action.dest not in self._functions:
            return True
        try:
            read = self._check_value_key(action, plain(value), action.dest, None)
            # jsonargparse has its import path in place of a function, which `str | Callable` reads as a text.
            return _is_same(read, self._functions.get(action.dest, value))
        except Exception:  # of a class of the user's, whose text can raise anything
            return False

    @cached_property
    def keys(self) -> list[str]:
        """Dotted keys of all arguments of a run config, in normal form. Below them are keys of the values alone."""
        arguments = [action.dest for action in self._actions if action.default != SUPPRESS]
        return [key for key in arguments if key in self.types and key not in _COMMAND_ARGUMENTS]

    @cached_property
    def types(self) -> dict[str, Any]:
        """The annotation of each key that has one."""
        return {action.dest: action._typehint for action in self._actions if isinstance(action, ActionTypeHint)}

    def complete(self, config: Namespace) -> Config:
        """Returns a parsed config in the form that `lit-dl fit --config` takes, without what its links set.

        Raises:
            ConfigError: A value that was set cannot be written.
        """
        assert self.paths is not None
        config = config.clone(with_meta=False)
        ActionLink.strip_link_target_keys(self, config)
        for key, default in self._unwritable.items():
            if _is_same(config.get(key), default):
                del config[key]
        values = {key: value for key, value in _plain_mapping(config).items() if key not in _COMMAND_ARGUMENTS}
        if link := values.pop("link", None):
            values["link"] = dict(flatten(link))
        for group, path in zip(("model", "data"), self.paths, strict=True):
            if path is None:
                values.pop(group, None)
            else:
                values[group] = {"class_path": path, **values.get(group, {})}
                if values[group].get("dict_kwargs", ...) in (None, {}):
                    del values[group]["dict_kwargs"]
        return lightning_form(values)

    def dump(self, namespace: Namespace, *args: Any, **options: Any) -> str:
        """Returns a parsed config as YAML; that of a run in the form that `--config` takes, for `--print_config`."""
        if self.paths is None:
            text: str = super().dump(namespace, *args, **options)
            return text
        # As jsonargparse does at the end of a parse.
        namespace = subclasses_disabled_remove_class_path(namespace.clone())
        if options.get("skip_default"):
            namespace = _changes(namespace, self.get_defaults())
        return dump_yaml(self.complete(namespace))


def _is_same(value: Any, other: Any) -> bool:
    """Whether two values are equal and of one type. False for values that cannot be compared, such as tensors."""
    try:
        return value is other or (type(value) is type(other) and bool(value == other))
    except Exception:
        return False


def _changes(values: Namespace, defaults: Namespace) -> Namespace:
    """Returns the arguments whose value is not the default. The arguments of a class stay together with its path."""
    changes = Namespace()
    for name, value in values.items(branches=True, nested=False):
        default = defaults.get(name, ...)
        if isinstance(value, Namespace) and isinstance(default, Namespace) and "class_path" not in value:
            if below := _changes(value, default):
                changes[name] = below
        elif not _is_same(value, default):
            changes[name] = value
    return changes


def _plain_mapping(values: Namespace, prefix: str = "") -> Config:
    """Returns groups of arguments as plain data; an error names the dotted key."""
    result = {}
    for name, value in values.items(branches=True, nested=False):
        if isinstance(value, Namespace):
            result[name] = _plain_mapping(value, f"{prefix}{name}.")
            continue
        try:
            result[name] = plain(value)
        except (TypeError, ValueError) as error:  # TypeError: a key of a mapping that YAML does not know
            raise ConfigError(f"{prefix}{name}", f"must be a value that YAML can hold ({error})") from None
    return result


def plain(value: Any) -> Any:
    """Returns a parsed value as mappings, lists and scalars, which the parser reads back as the type of the argument.

    Raises:
        ValueError: The value is, or holds, an object that has no text.
    """
    if type(value) in _PLAIN_TYPES:
        return value
    if isinstance(value, Enum):
        return value.name  # the parser reads names
    if isinstance(value, Namespace):
        return {name: plain(part) for name, part in value.items(branches=True, nested=False)}
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {plain(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple | deque):
        return [plain(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(map(plain, value), key=repr)  # in the same order in every process
    return _text(value)


def _text(value: Any) -> Any:
    """Returns an object as the parser reads it: the text of a registered type, a path, or an import path."""
    if registered := next(filter(None, map(get_registered_type, type(value).__mro__)), None):
        return registered.serializer(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    for base in (int, float, str):
        if isinstance(value, base):
            return base(value)
    return object_path_serializer(value)
