"""The parser of run configs."""

from __future__ import annotations

import json
from argparse import SUPPRESS
from collections.abc import Mapping
from enum import Enum
from functools import cached_property
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from lit_dl.config.keys import Config
from lit_dl.run.run_config import CheckpointConfig, EarlyStoppingConfig, TrackingConfig

# Arguments of a command that are no keys of a run config: `config.yaml` does not hold them.
_COMMAND_ARGUMENTS = ("config", "run_dir", "ckpt_path", "weights_only", "return_predictions", "verbose")
_PLAIN_TYPES = (str, int, float, bool, type(None))


class RunParser(LightningArgumentParser):
    """A parser that computes its defaults, keys and types once.

    jsonargparse computes the defaults of all arguments at every parse, which takes a fifth of the time of a parse.
    """

    _cached_defaults: Namespace | None = None

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

    def cache_defaults(self) -> None:
        """Computes the defaults for all later parses. Arguments must not be added after this call."""
        self._cached_defaults = super().get_defaults()

    def get_defaults(self, *args: Any, **kwargs: Any) -> Namespace:
        """Returns the defaults of all arguments."""
        cached = self._cached_defaults
        return super().get_defaults(*args, **kwargs) if cached is None else cached.clone()

    @cached_property
    def keys(self) -> list[str]:
        """Dotted keys of all arguments of a run config, in normal form. Below them are keys of the values alone."""
        arguments = [action.dest for action in self._actions if action.default != SUPPRESS]
        return [key for key in arguments if key in self.types and key not in _COMMAND_ARGUMENTS]

    @cached_property
    def types(self) -> dict[str, Any]:
        """The annotation of each key that has one."""
        types = {action.dest: getattr(action, "_typehint", None) for action in self._actions}
        return {key: kind for key, kind in types.items() if kind is not None}

    def plain(self, config: Namespace) -> Config:
        """Returns a parsed config as data that YAML holds, without the arguments of the command."""
        try:
            values: Config = _plain(config)
        except TypeError:  # an object of another type: jsonargparse has serializers for many
            options: dict[str, Any] = {"skip_unset": False, "skip_validation": True}
            values = json.loads(self.dump(_without_enums(config), format="json", **options))
        return {key: value for key, value in values.items() if key not in _COMMAND_ARGUMENTS}


def _plain(value: Any) -> Any:
    """Returns a parsed value as mappings, lists and scalars.

    Raises:
        TypeError: The value is, or holds, an object of another type.
    """
    if type(value) in _PLAIN_TYPES:
        return value
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, Namespace):
        return {name: _plain(part) for name, part in vars(value).items()}
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    raise TypeError(f"{type(value).__name__} is no plain data")


def _without_enums(value: Any) -> Any:
    """Returns a copy of a parsed config with the value of each enum in its place; jsonargparse would write its name."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Namespace):
        return Namespace(**{name: _without_enums(part) for name, part in vars(value).items()})
    if isinstance(value, dict):
        return {name: _without_enums(part) for name, part in value.items()}
    return [_without_enums(part) for part in value] if isinstance(value, list) else value
