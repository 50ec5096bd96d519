"""`lit-dl fit | validate | test | predict`: the command line."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from lit_dl.cli.lit_cli import LitCLI
from lit_dl.config.keys import Config, as_json, load_yaml, normal_key, normalize, split_classes, unknown_key
from lit_dl.config.overlay import CHOICES, merge, overlay
from lit_dl.errors import ConfigError, LitError


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
            config = merge(config, normalize(load_yaml(Path(path))))
        elif option in ("--model", "--data", "--model.class_path", "--data.class_path"):
            group = option[2:].split(".")[0]
            config = merge(config, {group: {"class_path": value if equals else next(words, "")}})
        else:
            rest.append("--" + normal_key(option[2:]) + equals + value if option.startswith("--") else word)
    return config, rest


def _choices(words: list[str]) -> Config:
    """The options that say which keys of the config files still apply: `--model.optimizer.name adam` and its like."""
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
    config, rest = _take_configs(argv)
    paths, config = split_classes(config)
    subcommands = LitCLI.subcommands()
    if rest and rest[0] in subcommands and config:
        complete = LitCLI(paths, config, build=False).complete()  # here, for errors that name the key and not the file
        if chosen := _choices(rest):
            config = overlay(split_classes(complete)[1], chosen)
        rest = [rest[0], "--config", as_json(config), *rest[1:]]
    try:
        LitCLI(paths, rest)
    except ConfigError as error:
        if "nrecognized arguments: " not in error.problem:
            raise
        word = error.problem.split("nrecognized arguments: ")[1].split()[0].split("=")[0]
        if not word.startswith("--"):
            raise ConfigError(word, "no such argument; options start with --, config files follow --config") from None
        raise unknown_key(word[2:], LitCLI(paths, {}, build=False, parse=False).cached.keys) from None


_NOT_THE_USERS_TO_MEND = (
    r".*treespec, LeafSpec.*",  # lightning 2.6 against torch 2.15
    r".*callbacks used to create the checkpoint need to be provided.*",  # testing a checkpoint needs none of them
    r".*Couldn't infer the batch indices.*",  # our batches are in file order
    r"The number of training batches .* is smaller than the logging interval.*",  # a small set is no mistake
)


def silence_lightning() -> None:
    """Keeps Lightning's greetings and the warnings that a user can do nothing about out of what a run prints."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _NOT_THE_USERS_TO_MEND:
        warnings.filterwarnings("ignore", message=message)


def ignore_slurm() -> None:
    """Makes this process a training of its own to Lightning, which takes the tasks of a Slurm job for those of one."""
    for name in ("SLURM_NTASKS", "SLURM_PROCID"):
        os.environ.pop(name, None)
    rank_zero_only.rank = 0  # type: ignore[attr-defined]  # read when it was imported; all others track nothing


def main() -> None:
    """`lit-dl fit|validate|test|predict`: exits with 2 for bad input."""
    silence_lightning()
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
