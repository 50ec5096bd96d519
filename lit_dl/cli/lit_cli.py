"""LightningCLI for the classes that a run config names: with a command line, or from a dict."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from uuid import uuid4

import torch
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from torch import nn

from lit_dl.callbacks.predictions import PredictionTable
from lit_dl.cli.config_parsing import argument_error, parse_run_config
from lit_dl.cli.console import print_row
from lit_dl.cli.instantiation import (
    class_at,
    expand_paths,
    instantiate_part,
    instantiator,
    part_errors,
    trainer_errors,
)
from lit_dl.cli.links import add_links, links_in, source_errors
from lit_dl.cli.output_folders import write_below
from lit_dl.cli.parser import RunParser
from lit_dl.cli.pinned_files import pin_backbone
from lit_dl.cli.run_commands import RunCommands
from lit_dl.cli.technique_help import TechniqueHelp
from lit_dl.cli.validation import check_checkpoint, check_seed
from lit_dl.config.keys import Config, split_classes, with_optimizer_name
from lit_dl.config.overlay import is_ours
from lit_dl.config.parser_errors import to_config_error
from lit_dl.errors import ConfigError
from lit_dl.files import expand_path
from lit_dl.run.epoch_rows import Row
from lit_dl.run.run import Run
from lit_dl.run.run_config import EarlyStoppingConfig
from lit_dl.run.run_result import RunLocation

_TRAINER_DEFAULTS = {
    "max_epochs": 20,
    "devices": 1,  # more devices need a process each, which does not pay for small networks: the user asks for them
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}
_PARSERS: dict[tuple[object, ...], RunParser] = {}


class LitCLI(RunCommands, LightningCLI):
    """LightningCLI with the keys of one module class, one data module class, and the groups of a run.

    The parser is made for these two classes, and not for any subclass: `--help` lists the keys of the module in use,
    and an error names the leaf at fault.

    Args:
        paths: Import paths of the LightningModule and of the LightningDataModule. No data module: the module has
            dataloaders itself.
        args: Command-line arguments; their subcommand is run. Or a run config in normal form without `class_path`.
            `None`: only the parser is made.
        link: `link` of the run config, beside command-line arguments.
        build: Whether module, data and Trainer are made from a run config.
        location: Where a run from a config writes its files. `None`: it writes none.
        callbacks: More callbacks of the Trainer.
        on_row: Called with the metrics of each epoch.

    Raises:
        ConfigError: The config cannot be used.
    """

    parser: RunParser

    def __init__(
        self,
        paths: tuple[str, str | None],
        args: list[str] | Config | None,
        *,
        link: Any = None,
        build: bool = True,
        location: RunLocation | None = None,
        callbacks: list[Callback] | None = None,
        on_row: Callable[[Row], None] | None = None,
    ) -> None:
        self.paths = paths
        self.links = links_in(args.get("link") if isinstance(args, dict) else link)
        self.build = build and args is not None
        self.location = location
        self.root = location.run_dir if location else Path(gettempdir(), f"lit-dl-{uuid4().hex}")
        """The folder of what the user's loggers, callbacks and profiler write, where the config does not name one."""
        self.more_callbacks = callbacks or []
        self.on_row = on_row
        if isinstance(args, list):
            self._keep_only_subcommand(args)
        module = class_at("model.class_path", paths[0], LightningModule)
        data = class_at("data.class_path", paths[1], LightningDataModule) if paths[1] else None
        options: dict[str, Any] = {"exit_on_error": False, "allow_abbrev": False, "formatter_class": TechniqueHelp}
        super().__init__(
            module,
            data,
            save_config_callback=None,
            seed_everything_default=0,
            trainer_defaults=_TRAINER_DEFAULTS,
            auto_configure_optimizers=module.configure_optimizers is LightningModule.configure_optimizers,
            load_from_checkpoint_support=False,
            parser_class=RunParser,
            parser_kwargs={**options, "prog": "lit-dl", **{name: dict(options) for name in self.subcommands()}},
            args=args,
            run=isinstance(args, list),
        )

    # The parser

    def _keep_only_subcommand(self, args: list[str]) -> None:
        """Leaves out the other subcommands if the arguments start with one: each needs a parser of about 200 keys."""
        only = {name: skipped for name, skipped in self.subcommands().items() if name in args[:1]}
        if only:
            self.subcommands = lambda: only  # type: ignore[method-assign]

    def setup_parser(
        self, add_subcommands: bool, main_kwargs: dict[str, Any], subparser_kwargs: dict[str, Any]
    ) -> None:
        """Makes the parser. For run configs it is made once per process and pair of classes."""
        key = (*self.paths, self._model_class, self.datamodule_class, *self.links.items())
        if not add_subcommands and key in _PARSERS:
            self.parser = _PARSERS[key]
            return
        super().setup_parser(add_subcommands, main_kwargs, subparser_kwargs)
        for parser in self._subcommand_parsers.values() if add_subcommands else [self.parser]:
            add_links(parser, self.links, self.datamodule_class)
        if not add_subcommands:
            self.parser.cache_defaults()
            _PARSERS[key] = self.parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the keys of a run to those of Trainer, module and data."""
        assert isinstance(parser, RunParser)
        parser.paths = self.paths
        for group, cls in (("model", self.model_class), ("data", self.datamodule_class)):
            if cls is not None:
                parser.add_more_arguments(group, cls)
        parser.add_run_arguments()

    def _parse_ckpt_path(self) -> None:
        """Takes the arguments of the model from a checkpoint, as LightningCLI does, after it has been checked.

        A checkpoint knows the arguments of a class, but not those of a function that made the model.
        """
        subcommand = self.config.get("subcommand")
        path = self.config[subcommand].get("ckpt_path") if subcommand else None
        if path is None or path in ("best", "last", "hpc", "registry"):
            return
        self.config[subcommand]["ckpt_path"] = path = expand_path(path)
        check_checkpoint(Path(path))
        if hasattr(self._model_class, "wrapped_function"):
            return
        try:
            super()._parse_ckpt_path()
        except argparse.ArgumentError as error:
            raise ConfigError("ckpt_path", f"{path} is of another model ({to_config_error(str(error))})") from None

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses command-line arguments or a run config; errors of the parser become ConfigErrors."""
        try:
            if args is None:
                self.config = Namespace(seed_everything=False)  # which LightningCLI looks up
            elif isinstance(args, dict):
                args = with_optimizer_name(args) if is_ours({"model": {"class_path": self.paths[0]}}) else args
                self.config = parse_run_config(self.parser, args, self.links)
            else:
                self.config = parser.parse_args(args)
        except argparse.ArgumentError as error:
            raise argument_error(str(error), {}) from None
        config = self.config.get(str(self.config.get("subcommand")), self.config)
        pin_backbone(config)
        check_seed(config.get("seed_everything"))
        if (stopping := config.get("early_stopping")) is not None:
            EarlyStoppingConfig(**vars(stopping)).check()

    def complete(self) -> Config:
        """Returns the config with all defaults that can be written, in the form that `lit-dl fit --config` takes."""
        parser = self._parser(self.subcommand)
        assert isinstance(parser, RunParser)
        return parser.complete(self.config.get(str(self.subcommand), self.config))

    # The objects

    def before_instantiate_classes(self) -> None:
        """Sets the number of CPU threads."""
        threads = self._get(self.config, "threads")
        if threads is not None and threads < 1:
            raise ConfigError("threads", f"must be 1 or more, or null; got {threads!r}")
        if threads is not None:
            torch.set_num_threads(threads)

    def instantiate_classes(self) -> None:
        """Makes module, data and Trainer."""
        if not self.build:
            return
        # As in LightningCLI, which calls jsonargparse by an old name. Our instantiators name the group in errors.
        instantiators: list[tuple[Callable[..., Any], type, bool]] = [
            (instantiator("model", LightningModule), LightningModule, True),
            (instantiator("data", LightningDataModule), LightningDataModule, True),
            (instantiate_part, nn.Module, True),
            (instantiate_part, Callback, True),
        ]
        config = expand_paths(self.config)
        if self.subcommand is None:
            config.trainer = write_below(self.root, config.trainer, confined=self.location is None)
        with source_errors(self.links), part_errors(self.complete):
            self.config_init = self.parser.instantiate(config, instantiators=instantiators)
        self.datamodule = self._get(self.config_init, "data")
        self.model = self._get(self.config_init, "model")
        self._add_configure_optimizers_method_to_model(self.subcommand)
        self.trainer = self.instantiate_trainer()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Makes the `Run`, and returns its Trainer."""
        callbacks = list(self.more_callbacks)
        if self.subcommand is not None:
            folder = self._get(self.config_init, "run_dir")
            stamp = f"{datetime.now():%Y%m%d-%H%M%S}"
            run_dir = Path(folder) if folder else Path("runs") / self.subcommand / stamp
            if self.subcommand == "fit":
                self.location, self.on_row = RunLocation(run_dir, run_dir.name), print_row
            if self.subcommand == "predict":
                self.predictions = run_dir / "predictions.csv"
                callbacks.append(PredictionTable(self.predictions))
            self.root = run_dir
        arguments = {**vars(self._get(self.config_init, "trainer")), **kwargs}
        arguments["default_root_dir"] = arguments["default_root_dir"] or self.root
        # Our default is no bar; one among the callbacks is asked for, and Lightning would refuse it.
        arguments["enable_progress_bar"] |= any(isinstance(c, ProgressBar) for c in arguments["callbacks"] or [])
        options: dict[str, Any] = {"callbacks": callbacks, "on_row": self.on_row}
        if self.subcommand is None and self.location is None:
            options["scratch"] = self.root
        config = self.complete()
        with trainer_errors():
            self.run = Run(self.model, self.datamodule, arguments, config, self.location, **options)
        return self.run.trainer


def parser_for(config: Config) -> RunParser:
    """Returns the parser for the classes that a config names.

    Raises:
        ConfigError: A class cannot be used.
    """
    return LitCLI(split_classes(config)[0], None, link=config.get("link")).parser


def check_config(config: Config) -> None:
    """Checks the keys and types of a config. Makes no object of its classes.

    Raises:
        ConfigError: A key or value cannot be used.
    """
    LitCLI(*split_classes(config), build=False)


def parse_config(config: Config) -> Config:
    """Returns the config with all defaults, checked for keys and types. Makes no object of its classes.

    Raises:
        ConfigError: A key or value cannot be used.
    """
    return LitCLI(*split_classes(config), build=False).complete()


def build_run(
    config: Config,
    location: RunLocation | None = None,
    callbacks: list[Callback] | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> Run:
    """Returns a run from a config, ready to open and fit.

    Args:
        config: In normal form or in that of LightningCLI.
        location: Where the run writes its files. `None`: it writes none.
        callbacks: More callbacks of the Trainer.
        on_row: Called with the metrics of each epoch.

    Raises:
        ConfigError: A key or value cannot be used.
    """
    return LitCLI(*split_classes(config), location=location, callbacks=callbacks, on_row=on_row).run
