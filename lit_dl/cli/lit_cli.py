"""The config language: LightningCLI over the classes in use, for the command line and, without one, for a dict."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from jsonargparse._util import get_import_path
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from lit_dl.callbacks.predictions import PredictionTable
from lit_dl.cli.console import print_result, print_row
from lit_dl.cli.technique_help import TechniqueHelp
from lit_dl.config.classes import import_class, instantiator, trainer_errors
from lit_dl.config.keys import (
    Config,
    check_keys,
    lightning_form,
    split_classes,
    to_config_error,
)
from lit_dl.config.validation import check_checkpoint, check_seed, make_folder, refuse_null
from lit_dl.data.in_memory import InMemoryDataModule
from lit_dl.errors import ConfigError
from lit_dl.run.epoch_rows import Row
from lit_dl.run.run import Run
from lit_dl.run.run_config import CheckpointConfig, EarlyStoppingConfig, TrackingConfig
from lit_dl.run.run_result import RunLocation

_TRAINER_DEFAULTS = {
    "max_epochs": 20,
    "devices": 1,  # several are asked for: a process each is started for them, which small networks do not pay for
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}
_BESIDE_THE_CONFIG = ("config", "run_dir", "ckpt_path", "weights_only", "return_predictions", "verbose")


@dataclass(frozen=True)
class CachedParser:
    """A parser of run configs, and what it says of its keys: both take longer to make than a config takes to parse.

    Args:
        parser: For one pair of module class and data module class.
        keys: Dotted keys of all arguments of a run, in normal form.
        types: The annotation of each key that has one.
    """

    parser: LightningArgumentParser
    keys: list[str]
    types: dict[str, Any]


_PARSERS: dict[tuple[object, object], CachedParser] = {}


class LitCLI(LightningCLI):
    """LightningCLI whose keys are those of one module class and one data module class, and of the groups of a run.

    Args:
        paths: Import paths of the LightningModule and of the LightningDataModule; no data module: the module has
            loaders.
        args: Command-line arguments with a subcommand, which is run; or a run config in normal form without
            `class_path`.
        build: Whether to make the objects; without it a config is parsed and no more.
        parse: Whether to parse at all; without it there is only the parser.
        place: Where a run made from a config goes; `None`: it leaves no file.
        callbacks: More callbacks.
        on_row: Called with the metrics of each epoch.

    Raises:
        ConfigError: The config cannot be used.
    """

    def __init__(
        self,
        paths: tuple[str, str | None],
        args: list[str] | Config,
        *,
        build: bool = True,
        parse: bool = True,
        location: RunLocation | None = None,
        callbacks: list[Callback] | None = None,
        on_row: Callable[[Row], None] | None = None,
    ) -> None:
        self.paths, self.build, self.parse, self.location = paths, build, parse, location
        self.more_callbacks, self.on_row = callbacks or [], on_row
        module = import_class("model.class_path", paths[0], LightningModule)
        data = import_class("data.class_path", paths[1], LightningDataModule) if paths[1] else None
        options: dict[str, Any] = {
            "exit_on_error": False,
            "allow_abbrev": False,
            "formatter_class": TechniqueHelp,
        }
        super().__init__(
            module,
            data,
            save_config_callback=None,
            seed_everything_default=0,
            trainer_defaults=_TRAINER_DEFAULTS,
            auto_configure_optimizers=module.configure_optimizers is LightningModule.configure_optimizers,
            load_from_checkpoint_support=False,
            parser_kwargs={**options, "prog": "lit-dl", **dict.fromkeys(self.subcommands(), options)},
            args=args,
            run=isinstance(args, list),
        )

    # The parser

    def setup_parser(
        self, add_subcommands: bool, main_kwargs: dict[str, Any], subparser_kwargs: dict[str, Any]
    ) -> None:
        """Builds the parser. For configs it is built once per process and pair of classes."""
        key = (self._model_class, self.datamodule_class)
        if add_subcommands or key not in _PARSERS:
            super().setup_parser(add_subcommands, main_kwargs, subparser_kwargs)
        if not add_subcommands:
            if key not in _PARSERS:
                _PARSERS[key] = CachedParser(self.parser, _keys_of(self.parser), _types_of(self.parser))
            self.cached = _PARSERS[key]
            self.parser = self.cached.parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The keys of a run beside those of Trainer, module and data."""
        parser.add_argument("--threads", type=int | None, help="CPU threads of torch. null: as many as torch chooses.")
        layers = "Write diagnostics.csv: gradients and activations by layer. null: for our own models."
        parser.add_argument("--diagnostics", type=bool | None, help=layers)
        parser.add_class_arguments(EarlyStoppingConfig, "early_stopping", instantiate=False)
        parser.add_class_arguments(CheckpointConfig, "checkpoint", instantiate=False)
        parser.add_class_arguments(TrackingConfig, "tracking", instantiate=False)
        parser.add_argument(
            "--run_dir", type=str | None, help="Folder for config, metrics, checkpoints. null: runs/fit/DATE-TIME."
        )

    def _parse_ckpt_path(self) -> None:
        """Takes the model's arguments from a checkpoint, as LightningCLI does, once it is known to be one."""
        subcommand = self.config.get("subcommand")
        path = self.config[subcommand].get("ckpt_path") if subcommand else None
        if path is None or path in ("best", "last", "hpc", "registry"):
            return
        check_checkpoint(Path(path))
        try:
            super()._parse_ckpt_path()
        except argparse.ArgumentError as error:
            raise ConfigError("ckpt_path", f"{path} is of another model ({to_config_error(str(error))})") from None

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses, with errors of our own form."""
        try:
            if not self.parse:
                self.config = Namespace(seed_everything=0)
            elif isinstance(args, dict):
                check_keys(args, self.cached.keys)
                refuse_null(args, self.cached.types)
                self.config = parser.parse_object(args)
            else:
                self.config = parser.parse_args(args)
        except argparse.ArgumentError as error:
            raise to_config_error(str(error)) from None
        check_seed(self.config.get(str(self.config.get("subcommand")), self.config).get("seed_everything"))

    def complete(self) -> Config:
        """The whole config with every default filled in, as `lit-dl fit --config` takes it again."""
        config = self.config.get(str(self.subcommand), self.config)
        values = {key: _plain(value) for key, value in vars(config).items() if key not in _BESIDE_THE_CONFIG}
        for group, path in zip(("model", "data"), self.paths, strict=True):
            if path is None:
                values.pop(group, None)
            else:
                values[group] = {"class_path": path, **values.get(group, {})}
        return lightning_form(values)

    # The objects

    def before_instantiate_classes(self) -> None:
        """Sets the number of threads."""
        threads = self._get(self.config, "threads")
        if threads is not None and threads < 1:
            raise ConfigError("threads", f"must be 1 or more, or null; got {threads!r}")
        if threads is not None:
            torch.set_num_threads(threads)

    def instantiate_classes(self) -> None:
        """Makes module, data and Trainer."""
        if not (self.build and self.parse):
            return
        # As LightningCLI does it, but by jsonargparse's present name and with errors that know their group.
        bases = {"model": LightningModule, "data": LightningDataModule}
        instantiators = [(instantiator(group), base, True) for group, base in bases.items()]
        self.config_init = self.parser.instantiate(self.config, instantiators=instantiators)
        self.datamodule = self._get(self.config_init, "data")
        self.model = self._get(self.config_init, "model")
        self._add_configure_optimizers_method_to_model(self.subcommand)
        self.trainer = self.instantiate_trainer()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The Trainer of a `Run`, which has everything else that belongs to one."""
        callbacks = list(self.more_callbacks)
        if self.subcommand is not None:
            folder = self._get(self.config, "run_dir")
            stamp = f"{datetime.now():%Y%m%d-%H%M%S}"
            run_dir = Path(folder) if folder else Path("runs") / self.subcommand / stamp
            if self.subcommand == "fit":
                self.location, self.on_row = RunLocation(run_dir, run_dir.name), print_row
            if self.subcommand == "predict":
                self.predictions = run_dir / "predictions.csv"
                callbacks.append(PredictionTable(self.predictions))
        arguments = {**vars(self._get(self.config_init, "trainer")), **kwargs}
        config = self.complete()
        with trainer_errors():
            self.run = Run(
                self.model,
                self.datamodule,
                arguments,
                config,
                self.location,
                callbacks=callbacks,
                on_row=self.on_row,
            )
        return self.run.trainer

    def before_fit(self) -> None:
        """Refuses a folder that holds a run already, then makes it; on several devices the first one does that."""
        assert self.location is not None
        if self.trainer.is_global_zero and (self.location.run_dir / "config.yaml").exists():
            raise ConfigError("run_dir", f"must not hold a run yet; {self.location.run_dir} does; name another")
        self.before_test()
        if self.trainer.is_global_zero:
            make_folder(self.location.run_dir)
            print(f"run folder {self.location.run_dir}")
        self.run.open()

    def before_test(self) -> None:
        """Finds what is wrong with the data before anything is written."""
        self.run.check()

    before_validate = before_test

    def before_predict(self) -> None:
        """As before a test; the predictions need a folder, and one device, which keeps them in order."""
        if self.trainer.world_size > 1:
            raise ConfigError("trainer.devices", f"must be 1 to predict; got {self.trainer.world_size}")
        self.before_test()
        make_folder(self.predictions.parent)

    def fit(self, **kwargs: Any) -> None:
        """Trains; a run that does not end by itself is closed all the same, so that W&B knows."""
        try:
            self.trainer.fit(**kwargs)
        except BaseException as error:
            self.run.close(failed=True)
            if isinstance(error, SystemExit):  # what Lightning makes of Ctrl-C
                raise KeyboardInterrupt from None
            raise

    def after_fit(self) -> None:
        """Restores the best epoch and says what came out."""
        print_result(self.run.close())
        is_ours = isinstance(self.datamodule, InMemoryDataModule) and self.trainer.is_global_zero
        if is_ours and (text := self.datamodule.describe(self.model)):
            print(text)


def _keys_of(parser: LightningArgumentParser) -> list[str]:
    return [key for key in parser.get_defaults().keys() if key not in _BESIDE_THE_CONFIG]  # noqa: SIM118 - no dict


def _types_of(parser: LightningArgumentParser) -> dict[str, Any]:
    types = {action.dest: getattr(action, "_typehint", None) for action in parser._actions}
    return {key: kind for key, kind in types.items() if kind is not None}


def _plain(value: Any) -> Any:
    """A parsed value as YAML holds it."""
    if value is None or (isinstance(value, str | bool | int | float) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Namespace):
        return {name: _plain(part) for name, part in vars(value).items()}
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(part) for part in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return get_import_path(value) if callable(value) else f"Unable to serialize instance {value}"


def known_types(config: Config) -> tuple[list[str], dict[str, Any]]:
    """Dotted keys that the classes of a config take, and the annotations of those that have one.

    Raises:
        ConfigError: A class that cannot be.
    """
    cached = LitCLI(split_classes(config)[0], {}, build=False, parse=False).cached
    return cached.keys, cached.types


def check_config(config: Config) -> None:
    """Checks the keys and types of a config; makes nothing.

    Raises:
        ConfigError: A key or value that cannot be.
    """
    paths, rest = split_classes(config)
    LitCLI(paths, rest, build=False)


def parse_config(config: Config) -> Config:
    """Returns the complete config, checked for keys and types; makes nothing.

    Raises:
        ConfigError: A key or value that cannot be.
    """
    paths, rest = split_classes(config)
    return LitCLI(paths, rest, build=False).complete()


def build_run(
    config: Config,
    location: RunLocation | None = None,
    callbacks: list[Callback] | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> Run:
    """A run from a config, ready to open and fit.

    Raises:
        ConfigError: A key or value that cannot be.
    """
    paths, rest = split_classes(config)
    return LitCLI(paths, rest, location=location, callbacks=callbacks, on_row=on_row).run
