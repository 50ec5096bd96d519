"""The command `lit-dl fit | validate | test | predict`."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from lit_dl.cli.lit_cli import LitCLI, parse_config
from lit_dl.config.keys import (
    Config,
    full_key,
    get_key,
    is_class,
    normal_key,
    normalize,
    short_key,
    split_classes,
    unknown_key,
)
from lit_dl.config.overlay import CHOICES, is_ours, merge, overlay
from lit_dl.config.parser_errors import MISSING
from lit_dl.config.yaml_io import dump_yaml, load_yaml, parse_yaml
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
        elif option == "--link" or option.startswith("--link."):  # links decide, too, which parser is made
            link = parse_yaml(value if equals else next(words, ""), option)
            config = overlay(config, {option[2:]: link})
        else:
            rest.append("--" + normal_key(option[2:]) + equals + value if option.startswith("--") else word)
    return config, rest


def _with_defaults(config: Config, words: list[str]) -> Config:
    """Returns a config in normal form with all defaults, and with arguments without default from the command line.

    Args:
        config: In normal form.
        words: The command line after the subcommand. If it asks for help, arguments may be missing.

    Raises:
        ConfigError: A key or value cannot be used. The error names the key, which one of jsonargparse may not.
    """
    try:
        return normalize(parse_config(config))
    except ConfigError as error:
        given = {short_key(key): value for key, value, _ in _options(words)}
        key = short_key(error.key)
        if error.problem == MISSING and given.get(key):
            return _with_defaults(overlay(config, {key: parse_yaml(given[key], f"--{key}")}), words)
        if error.problem == MISSING and any(word.endswith(("-h", "help")) for word in words):
            return config
        raise


def _with_options(config: Config, words: list[str]) -> tuple[Config, list[str]]:
    """Returns a config with the options that jsonargparse cannot set as an overlay does, and the other words.

    These are options that others depend on, such as `--model.optimizer.name adam` or a class, elements of lists, and
    those that switch early stopping off.

    Args:
        config: In normal form.
        words: The command line after the subcommand.
    """
    values: Config = {}
    others: list[str] = []
    for key, value, option in _options(words):
        if is_class(get_key(config, key)) and re.fullmatch(r"(?!null$|true$|false$)[A-Za-z_][\w.]*", value):
            values[f"{key}.class_path"] = value
        elif key.endswith(".class_path") or (key in CHOICES and is_ours(config)) or _is_in_list(config, key):
            values[key] = parse_yaml(value, f"--{key}")
        elif key in ("early_stopping", "early_stopping.monitor") and value in ("null", "false"):
            values[key] = None
        else:
            others += option
    return (_with_defaults(overlay(config, values), words) if values else config), others


def _options(words: list[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Yields the key, the value and the words of each option; a word that is no option has neither key nor value."""
    left = deque(words)
    while left:
        word = left.popleft()
        option, equals, value = word.partition("=")
        if not word.startswith("--"):
            yield "", "", [word]
        elif equals or not left or left[0].startswith("--"):
            yield option[2:], value, [word]
        else:
            yield option[2:], left[0], [word, left.popleft()]


def _is_in_list(config: Config, key: str) -> bool:
    try:
        return bool(re.search(r"\.\d+\b", full_key(config, key)))
    except ConfigError:
        return False


def command(argv: list[str]) -> None:
    """Runs `lit-dl ARGV`.

    Raises:
        LitError: Bad input.
    """
    config, rest = _read_configs(argv)
    link = config.get("link")
    if rest and rest[0] in LitCLI.subcommands():
        config, options = _with_options(_with_defaults(config, rest[1:]), rest[1:])
        rest = [rest[0], "--config", dump_yaml(split_classes(config)[1]), *options]
    paths, _ = split_classes(config)
    try:
        LitCLI(paths, rest, link=link)
    except ConfigError as error:
        error = ConfigError(error.key.removeprefix(f"{rest[0]}."), error.problem) if rest else error
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
