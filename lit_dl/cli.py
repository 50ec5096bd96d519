"""The config language: LightningCLI over the classes in use, for the command line and, without one, for a dict."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any, get_args
from zipfile import is_zipfile

import torch
import yaml
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from lit_dl.callbacks.epoch_table import Row
from lit_dl.callbacks.predictions import PredictionTable
from lit_dl.config import (
    Config,
    as_json,
    check_keys,
    class_paths,
    leaves,
    lightning_form,
    load_yaml,
    merge,
    normal,
    normal_key,
    readable_type,
    shaped,
    unknown_key,
)
from lit_dl.errors import ConfigError, LitError, under
from lit_dl.run import CheckpointConfig, EarlyStoppingConfig, Place, Run, TrackingConfig

_TRAINER_DEFAULTS = {
    "max_epochs": 20,
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}
_BESIDE_THE_CONFIG = ("config", "run_dir", "ckpt_path", "weights_only", "return_predictions", "verbose")
_PARSERS: dict[tuple[object, object], LightningArgumentParser] = {}


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
        place: Place | None = None,
        callbacks: list[Callback] | None = None,
        on_row: Callable[[Row], None] | None = None,
    ) -> None:
        self.paths, self.build, self.parse, self.place = paths, build, parse, place
        self.more_callbacks, self.on_row = callbacks or [], on_row
        module = import_class("model.class_path", paths[0], LightningModule)
        data = import_class("data.class_path", paths[1], LightningDataModule) if paths[1] else None
        options: dict[str, Any] = {"exit_on_error": False, "allow_abbrev": False}
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
        """Builds the parser; for configs once a process and pair of classes, as that takes longer than the rest."""
        key = (self._model_class, self.datamodule_class)
        if add_subcommands or key not in _PARSERS:
            super().setup_parser(add_subcommands, main_kwargs, subparser_kwargs)
        if not add_subcommands:
            if key not in _PARSERS:
                _PARSERS[key] = self.parser
            self.parser = _PARSERS[key]

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The keys of a run beside those of Trainer, module and data."""
        parser.add_argument("--threads", type=int | None, help="CPU threads of torch. null: as many as torch chooses.")
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
        _check_checkpoint(Path(path))
        try:
            super()._parse_ckpt_path()
        except argparse.ArgumentError as error:
            raise ConfigError("ckpt_path", f"{path} is of another model ({shaped(str(error))})") from None

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses, with errors of our own form."""
        try:
            if not self.parse:
                self.config = parser.get_defaults()
            elif isinstance(args, dict):
                check_keys(args, self.known_keys())
                _refuse_null(args, parser)
                self.config = parser.parse_object(args)
            else:
                self.config = parser.parse_args(args)
        except argparse.ArgumentError as error:
            raise shaped(str(error)) from None
        check_seed(self.config.get(str(self.config.get("subcommand")), self.config).get("seed_everything"))

    def known_keys(self) -> list[str]:
        """Dotted keys of all arguments of a run, in normal form."""
        return [key for key in self.parser.get_defaults().keys() if key not in _BESIDE_THE_CONFIG]  # noqa: SIM118 - no dict

    def complete(self) -> Config:
        """The whole config with every default filled in, as `lit-dl fit --config` takes it again."""
        config = self.config.get(str(self.subcommand), self.config)
        text = self._parser(self.subcommand).dump(_without_enums(config), skip_unset=False, skip_validation=True)
        values = {key: value for key, value in yaml.safe_load(text).items() if key not in _BESIDE_THE_CONFIG}
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
        instantiators = [(_instantiator(group), base, True) for group, base in bases.items()]
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
                self.place, self.on_row = Place(run_dir, run_dir.name), print_row
            if self.subcommand == "predict":
                self.predictions = run_dir / "predictions.csv"
                callbacks.append(PredictionTable(self.predictions))
        arguments = {**vars(self._get(self.config_init, "trainer")), **kwargs}
        config = self.complete()
        with _trainer_errors():
            self.run = Run(
                self.model,
                self.datamodule,
                arguments,
                config,
                self.place,
                callbacks=callbacks,
                on_row=self.on_row,
            )
        return self.run.trainer

    def before_fit(self) -> None:
        """Refuses a folder that holds a run already, then makes it."""
        assert self.place is not None
        if (self.place.run_dir / "config.yaml").exists():
            raise ConfigError("run_dir", f"must not hold a run yet; {self.place.run_dir} does; name another")
        self.before_test()
        _make_folder(self.place.run_dir)
        self.run.open()
        print(f"run folder {self.place.run_dir}")

    def before_test(self) -> None:
        """Finds what is wrong with the data before anything is written."""
        self.run.check()

    before_validate = before_test

    def before_predict(self) -> None:
        """As before a test; the predictions need a folder."""
        self.before_test()
        _make_folder(self.predictions.parent)

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
        result = self.run.close()
        metrics = "  ".join(f"{name} {value:.4f}" for name, value in result.metrics.items())
        print(f"{result.stopped} after {result.epochs} epochs, {result.seconds['total']:.1f} s")
        print(f"best epoch {result.best_epoch}: {metrics}")
        if result.best_checkpoint:
            print(f"best checkpoint {result.best_checkpoint}")


def _without_enums(value: Any) -> Any:
    """A copy of a config whose enums, which no YAML writer knows, are their values."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Namespace):
        return Namespace(**{name: _without_enums(part) for name, part in vars(value).items()})
    if isinstance(value, dict):
        return {name: _without_enums(part) for name, part in value.items()}
    return [_without_enums(part) for part in value] if isinstance(value, list) else value


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


def _instantiator(group: str) -> Callable[..., Any]:
    def instantiate(cls: type, *args: Any, **kwargs: Any) -> Any:
        with under(group):
            try:
                return cls(*args, **kwargs)
            except LitError:
                raise
            except (Exception, SystemExit) as error:
                raise ConfigError(
                    "", f"{cls.__name__} refuses its arguments ({type(error).__name__}: {error})"
                ) from error

    return instantiate


class _trainer_errors:
    """Turns what the Trainer refuses into errors about the group `trainer`."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, LitError):
            raise ConfigError("trainer", f"refused by Lightning ({type(error).__name__}: {error})") from error


def print_row(row: Row) -> None:
    """One line an epoch."""
    metrics = "  ".join(f"{name} {value:.4f}" for name, value in row.items() if name not in ("epoch", "elapsed_s"))
    print(f"epoch {row['epoch']:3d}  {row['elapsed_s']:7.1f} s  {metrics}", flush=True)


def split_classes(config: Config) -> tuple[tuple[str, str | None], Config]:
    """The classes that a config names, and the config in normal form without their paths."""
    config = normal(config)
    paths = class_paths(config)
    for group in ("model", "data"):
        if isinstance(config.get(group), dict) and "class_path" in config[group]:
            del config[group]["class_path"]
            if not config[group]:
                del config[group]  # a class may have no argument at all
    return paths, config


def parse_config(config: Config) -> Config:
    """The complete config, checked for keys and types, nothing made.

    Raises:
        ConfigError: A key or value that cannot be.
    """
    paths, rest = split_classes(config)
    return LitCLI(paths, rest, build=False).complete()


def build_run(
    config: Config,
    place: Place | None = None,
    callbacks: list[Callback] | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> Run:
    """A run from a config, ready to open and fit.

    Raises:
        ConfigError: A key or value that cannot be.
    """
    paths, rest = split_classes(config)
    return LitCLI(paths, rest, place=place, callbacks=callbacks, on_row=on_row).run


def check_seed(seed: object) -> None:
    """Refuses a seed that generators do not take.

    Raises:
        ConfigError: Neither true (a random one), false, nor a whole number in [0, 2**32).
    """
    if not isinstance(seed, bool) and not (isinstance(seed, int) and 0 <= seed < 2**32):
        raise ConfigError("seed_everything", f"must be a whole number from 0 to {2**32 - 1}; got {seed!r}")


def _refuse_null(config: Config, parser: LightningArgumentParser) -> None:
    """jsonargparse takes null for any type."""
    types = {action.dest: getattr(action, "_typehint", None) for action in parser._actions}
    for key, value in leaves(config):
        kind = types.get(key)
        if value is None and kind is not None and not (kind is Any or type(None) in get_args(kind)):
            raise ConfigError(key, f"must be {readable_type(str(kind))}; got null")


def _check_checkpoint(path: Path) -> None:
    if not is_zipfile(path):
        what = "is not what torch.save writes" if path.exists() else "does not exist"
        raise ConfigError("ckpt_path", f"must be a checkpoint of Lightning's; {path} {what}")


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError("run_dir", f"must be a folder that can be written; {path}: {error.strerror}") from None


def _take_configs(argv: list[str]) -> tuple[Config, list[str]]:
    """The config files of a command line merged in order, and the other arguments with keys in normal form."""
    config: Config = {}
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        option, equals, value = word.partition("=")
        if option in ("-c", "--config"):
            path = value if equals else next(words, "")
            if not path:
                raise ConfigError("--config", "must be followed by a file")
            config = merge(config, normal(load_yaml(Path(path))))
        elif option in ("--model", "--data", "--model.class_path", "--data.class_path"):
            group = option[2:].split(".")[0]
            config = merge(config, {group: {"class_path": value if equals else next(words, "")}})
        else:
            rest.append("--" + normal_key(option[2:]) + equals + value if option.startswith("--") else word)
    return config, rest


def command(argv: list[str]) -> None:
    """Runs `lit-dl ARGV`.

    Raises:
        LitError: Bad input.
    """
    config, rest = _take_configs(argv)
    paths, config = split_classes(config)
    subcommands = LitCLI.subcommands()
    if rest and rest[0] in subcommands and config:
        LitCLI(paths, config, build=False)  # for errors that name the key and not the whole file
        rest = [rest[0], "--config", as_json(config), *rest[1:]]
    try:
        LitCLI(paths, rest)
    except ConfigError as error:
        if "nrecognized arguments: " not in error.problem:
            raise
        word = error.problem.split("nrecognized arguments: ")[1].split()[0].split("=")[0]
        if not word.startswith("--"):
            raise ConfigError(word, "no such argument; options start with --, config files follow --config") from None
        raise unknown_key(word[2:], LitCLI(paths, {}, build=False, parse=False).known_keys()) from None


_NOT_THE_USERS_TO_MEND = (
    r".*treespec, LeafSpec.*",  # lightning 2.6 against torch 2.15
    r".*callbacks used to create the checkpoint need to be provided.*",  # testing a checkpoint needs none of them
    r".*Couldn't infer the batch indices.*",  # our batches are in file order
    r"The number of training batches .* is smaller than the logging interval.*",  # a small set is no mistake
)


def quieten() -> None:
    """Keeps Lightning's greetings and the warnings that a user can do nothing about out of what a run prints."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _NOT_THE_USERS_TO_MEND:
        warnings.filterwarnings("ignore", message=message)


def main() -> None:
    """`lit-dl fit|validate|test|predict`: exits with 2 for bad input."""
    quieten()
    sys.path.insert(0, "")  # as `python -m` does: a module of the user's in the current folder
    try:
        command(sys.argv[1:])
    except LitError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
