"""The command `lit-dl fit | validate | test | predict`."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from copy import deepcopy
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from lit_dl.cli.lit_cli import LitCLI
from lit_dl.config.keys import Config, normal_key, normalize, split_classes, unknown_key
from lit_dl.config.overlay import CHOICES, merge, overlay
from lit_dl.config.yaml_io import dump_yaml, load_yaml
from lit_dl.errors import ConfigError, LitError
from lit_dl.files import expand_path


def _read_configs(argv: list[str]) -> tuple[Config, list[str]]:
    """Returns the config files of a command line merged in order, and the other arguments with keys in normal form.

    The files are read here, and not by jsonargparse, because the classes that they name decide which parser is made.
    """
    config: Config = {}
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        option, equals, value = word.partition("=")
        if option in ("-c", "--config"):
            path = value if equals else next(words, "")
            if not path:
                raise ConfigError("--config", "must be followed by a file")
            config = merge(config, normalize(load_yaml(Path(expand_path(path)))))
        elif option in ("--model", "--data", "--model.class_path", "--data.class_path"):
            group = option[2:].split(".")[0]
            config = merge(config, {group: {"class_path": value if equals else next(words, "")}})
        else:
            rest.append("--" + normal_key(option[2:]) + equals + value if option.startswith("--") else word)
    return config, rest


def _choices_in(words: list[str]) -> Config:
    """Returns the options that other keys depend on, such as `--model.optimizer.name adam`."""
    chosen = {}
    for word, after in zip(words, [*words[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        if option.removeprefix("--") in CHOICES:
            chosen[option[2:]] = value if equals else after
    return chosen


def command(argv: list[str]) -> None:
    """Runs `lit-dl ARGV`.

    Raises:
        LitError: Bad input.
    """
    config, rest = _read_configs(argv)
    paths, config = split_classes(config)
    if rest and rest[0] in LitCLI.subcommands() and config:
        # Parsed alone first, for errors that name the key. The parser changes lists of classes in place.
        complete = LitCLI(paths, deepcopy(config), build=False, partial=True).complete()
        if chosen := _choices_in(rest):
            config = overlay(split_classes(complete)[1], chosen)
        rest = [rest[0], "--config", dump_yaml(config), *rest[1:]]
    try:
        LitCLI(paths, rest)
    except ConfigError as error:
        raise _unrecognized(error, paths) from None


def _unrecognized(error: ConfigError, paths: tuple[str, str | None]) -> ConfigError:
    """Returns an error that offers the nearest key if argparse did not recognize an argument; else the error itself."""
    if "nrecognized arguments: " not in error.problem:
        return error
    word = error.problem.split("nrecognized arguments: ")[1].split()[0].split("=")[0]
    if not word.startswith("--"):
        return ConfigError(word, "no such argument; options start with --, config files follow --config")
    return unknown_key(word[2:], LitCLI(paths, None).parser.keys)


_IGNORED_WARNINGS = (
    r".*treespec, LeafSpec.*",  # lightning 2.6 against torch 2.15
    r".*callbacks used to create the checkpoint need to be provided.*",  # a test of a checkpoint needs no callbacks
    r".*Couldn't infer the batch indices.*",  # our batches are in file order
    r"The number of training batches .* is smaller than the logging interval.*",  # a small set is no mistake
)


def silence_lightning(with_profilers: bool = False) -> None:
    """Hides the greetings of Lightning, and warnings that a user cannot act on.

    Args:
        with_profilers: Whether the reports of profilers are hidden too.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.WARNING if with_profilers else logging.INFO)
    for message in _IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message=message)


def ignore_slurm() -> None:
    """Hides the Slurm job from Lightning, which would take its tasks for the ranks of one distributed training."""
    for name in ("SLURM_NTASKS", "SLURM_PROCID"):
        os.environ.pop(name, None)
    # Lightning read the rank when it was imported; only rank 0 tracks a run.
    rank_zero_only.rank = 0  # type: ignore[attr-defined]


def main() -> None:
    """Runs the command line. Exit status: 0 done, 2 bad input, 130 interrupted."""
    silence_lightning()
    sys.path.insert(0, "")  # as `python -m` does, so that modules in the current folder can be named
    try:
        command(sys.argv[1:])
    except LitError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
