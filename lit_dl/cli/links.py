"""Links: keys of a run config that take the value of another key, as `link_arguments` of LightningCLI."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from inspect import isfunction
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from lit_dl.cli.parser import RunParser
from lit_dl.config.keys import Config, flatten, normal_key, short_key, unknown_key
from lit_dl.errors import ConfigError

Links = dict[str, str]
"""Target to source."""


def links_in(given: Any) -> Links:
    """Returns the links in the value of `link`: a mapping of each source to its target, or to a list of targets.

    Raises:
        ConfigError: The value is no such mapping, or a target has two sources.
    """
    if not isinstance(given, Mapping | None):
        raise ConfigError("link", f"must be a mapping of keys to the keys that take their value; got {given!r}")
    links: Links = {}
    for source, targets in flatten(given or {}):
        for target in targets if isinstance(targets, list) else [targets]:
            if not isinstance(target, str):
                raise ConfigError(f"link.{source}", f"must be a dotted key, or a list of them; got {target!r}")
            if normal_key(target) in links:
                raise ConfigError(f"link.{source}", f"must not set {target}, which {links[normal_key(target)]} sets")
            links[normal_key(target)] = normal_key(source)
    return links


def add_links(parser: LightningArgumentParser, links: Links, data: object) -> None:
    """Adds links to a parser.

    Args:
        parser: The parser, with all its arguments.
        links: The links.
        data: The class of the data module. A source may be an attribute or a property of it, such as
            `data.num_classes`, which is read once the data module is made.

    Raises:
        ConfigError: A key is unknown, or a source is itself the target of a link.
    """
    assert isinstance(parser, RunParser)
    known = parser.keys
    for target, source in links.items():
        key = f"link.{source}"
        is_argument = _argument(source, known) is not None
        if not is_argument and not (source.startswith("data.") and _has(data, source.removeprefix("data."))):
            raise ConfigError(key, unknown_key(source, known).problem)
        if not _argument(target, known):
            raise ConfigError(key, f"must name a key that can be set; {unknown_key(target, known)}")
        if source in links:
            raise ConfigError(key, f"must not be the target of another link; {links[source]} sets it")
        try:
            moment = "parse" if is_argument else "instantiate"
            parser.link_arguments(_with_init_args(source, known), _with_init_args(target, known), apply_on=moment)
        except ValueError as error:
            raise ConfigError(key, f"cannot be linked to {target} ({error})") from None


def _has(cls: object, name: str) -> bool:
    """Whether a class has an attribute, or its methods speak of one: of `num_classes` in `self.num_classes = 5`."""
    methods = [method for owner in getattr(cls, "__mro__", ()) for method in vars(owner).values() if isfunction(method)]
    return hasattr(cls, name) or any(name in method.__code__.co_names for method in methods)


@contextmanager
def source_errors(links: Links) -> Iterator[None]:
    """Turns the exception for a source that the data module does not have yet into a ConfigError."""
    try:
        yield
    except AttributeError as error:
        source = f"data.{error.name}"
        if source not in links.values():
            raise
        must = f"must be there once {type(error.obj).__name__} is made, that is, set by its __init__"
        raise ConfigError(f"link.{source}", f"{must}; {error}") from None


def refuse_linked(config: Config, links: Links) -> None:
    """Refuses a value for a key that a link sets.

    Raises:
        ConfigError: The config sets the target of a link.
    """
    for key, value in flatten(config):
        for target, source in links.items():
            if f"{short_key(key)}.".startswith(f"{short_key(target)}."):
                raise ConfigError(key, f"must be left out, because link sets it to {source}; got {value!r}")


def check_sources(parser: RunParser, config: Namespace, links: Links) -> None:
    """Refuses a link from a key that the class in use does not have; jsonargparse would leave it out.

    Raises:
        ConfigError: A parsed config does not have a source.
    """
    for target, source in links.items():
        if _argument(source, parser.keys) and _with_init_args(source, parser.keys) not in config:
            raise ConfigError(f"link.{source}", f"must be a key of this config, to set {target}; it is not there")


def _argument(key: str, known: Collection[str]) -> str | None:
    """Returns the argument that a key is, or is below."""
    return next((name for name in known if f"{key}.".startswith(f"{name}.")), None)


def _with_init_args(key: str, known: Collection[str]) -> str:
    """Returns a key with the `init_args` that it may leave out below an argument that is a class."""
    argument = _argument(key, known)
    return key if key == argument else re.sub(rf"^({argument})\.(?!init_args\.)", r"\1.init_args.", key)
