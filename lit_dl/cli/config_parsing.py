"""Parses a run config, and says by its key what is wrong in it, also below an argument that is a class."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from lit_dl.cli.class_names import wrong_class_name
from lit_dl.cli.links import Links, check_sources, refuse_linked
from lit_dl.cli.parser import RunParser
from lit_dl.cli.validation import refuse_null
from lit_dl.config.classes import import_class, is_same_class
from lit_dl.config.keys import CLASS_KEYS, Config, check_keys, get_key, is_class, unknown_key
from lit_dl.config.parser_errors import MISSING, to_config_error
from lit_dl.errors import ConfigError

_PARSER_KEY = re.compile(r'Parser key "([^"]+)":')
_UNKNOWN = re.compile(r"Option '([^']+)' is not accepted")
_MISSING = re.compile(r"the following arguments are required: ([^ ,.]+)")


def parse_run_config(parser: RunParser, config: Config, links: Links) -> Namespace:
    """Returns a config with all defaults, checked for keys and types.

    Args:
        parser: The parser of its classes.
        config: In normal form without `class_path` of model and data.
        links: The links of the parser.

    Raises:
        ConfigError: A key or value cannot be used.
    """
    check_keys(config, parser.keys)
    refuse_linked(config, links)
    refuse_null(config, parser.types)
    try:
        parsed: Namespace = parser.parse_object(config, _without_other_defaults(parser, config))
    except argparse.ArgumentError as error:
        raise wrong_class_name(config, parser.types) or argument_error(str(error), config) from None
    check_sources(parser, parsed, links)
    return parsed


def _without_other_defaults(parser: RunParser, config: Config) -> Namespace:
    """Returns null for each argument that a config gives another class than its default.

    jsonargparse would give the class of the config what it can take of the default: AdamW the weight decay of SGD.
    """
    defaults = parser.get_defaults()
    return Namespace({key: None for key in parser.keys if _is_other(get_key(config, key), defaults.get(key))})


def _is_other(given: Any, default: Any) -> bool:
    path = given.get("class_path") if is_class(given) else given
    is_default = isinstance(default, Namespace) and "class_path" in default
    return is_default and isinstance(path, str) and not is_same_class(path, default["class_path"])


def argument_error(message: str, config: Config) -> ConfigError:
    """Returns the error for a message of jsonargparse about a config.

    Args:
        message: The message. For what is below an argument that is a class it names that argument alone.
        config: In normal form.
    """
    text = re.sub(r"\s+", " ", message)
    key, *inner = _PARSER_KEY.findall(text) or [None]
    if key is None:
        return to_config_error(message)
    below = _PARSER_KEY.split(text, maxsplit=1)[-1]
    if unknown := _UNKNOWN.search(below):
        return _unknown_argument(_place(config, key, unknown.group(1)), config, _arguments_in(below, unknown.start()))
    if missing := _MISSING.search(below):
        return ConfigError(_place(config, key, ".init_args.".join([*inner, missing.group(1)])), MISSING)
    if not inner:
        return to_config_error(message)
    rest = re.sub(r"\. Got value: Namespace\(.*$", "", below[below.index(f'Parser key "{inner[0]}"') :])
    if "Union subtypes" not in rest:  # what follows is about other types of the whole argument
        rest = rest.split(" - ")[0]
    error = argument_error(rest, {})
    return ConfigError(_place(config, key, error.key), error.problem)


def _unknown_argument(key: str, config: Config, known: list[str]) -> ConfigError:
    """Returns the error for an argument that a class does not take."""
    group, _, name = key.rpartition(".")
    beside = [other for other in get_key(config, group) or {} if other not in CLASS_KEYS]
    if name == "class_path" and beside:
        return ConfigError(f"{group}.{beside[0]}", "must stand below init_args, as it is beside class_path")
    return unknown_key(key, {f"{group}.{argument}" for argument in known})


def _place(config: Config, key: str, name: str) -> str:
    """Returns the dotted key of an argument below `key`: where the config sets it, else where it would stand."""
    value = get_key(config, key)
    found = next((f"{key}.{place}" for place in _places(value) if f".{place}".endswith(f".{name}")), None)
    return found or f"{key}.init_args.{name}"


def _places(value: Any) -> Iterator[str]:
    """Yields the dotted key of everything in a value."""
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, part in pairs:
        yield str(name)
        yield from (f"{name}.{place}" for place in _places(part))


def _arguments_in(text: str, position: int) -> list[str]:
    """Returns the arguments of the class that a message names next to a position."""
    paths = [(abs(m.start() - position), m.group(1)) for m in re.finditer(r"class_path[ =]'([^']+)'", text)]
    if not paths:
        return []
    cls = import_class("", min(paths)[1], object)
    names: list[str] = ArgumentParser(exit_on_error=False).add_class_arguments(cls, fail_untyped=False)
    return names[1:] if "expects a function or a callable" in text else names  # the caller gives the first
