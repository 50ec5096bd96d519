"""Reads and writes YAML.

PyYAML and jsonargparse disagree on numbers such as `1e-5`. These functions read them as jsonargparse does, and write
text so that both read it back as text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lit_dl.config.keys import Config
from lit_dl.errors import ConfigError

_FLOAT = (
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


class _Loader(yaml.SafeLoader):
    """Reads `1e-5` as a number; refuses duplicate keys, keys that are not scalars, and values inside themselves."""

    def construct_object(self, node: yaml.Node, deep: bool = True) -> Any:  # noqa: ARG002 - as PyYAML has it
        return super().construct_object(node, deep=True)  # which refuses a value inside itself

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # The node still has duplicate keys; the dict that is made from it later has not.
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a text", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} stands here twice", key.start_mark
                )
            seen.add(key.value)
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes text that `_Loader` would read as a number."""


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(*_FLOAT)


def parse_yaml(text: str, where: str) -> Any:
    """Returns the value of a YAML text.

    Args:
        text: The YAML.
        where: File or option that the text comes from, for error messages.

    Raises:
        ConfigError: The text is not YAML. The error names `where`, line and column.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = f"{where}, line {mark.line + 1}, column {mark.column + 1}" if mark else where
        raise ConfigError(position, f"must be YAML; {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        raise ConfigError(where, f"must be YAML; {error.reason} at character {error.position}") from None


def load_yaml(path: Path) -> Config:
    """Returns the mapping in a YAML file.

    Raises:
        ConfigError: The file is missing, unreadable, not YAML, or does not hold a mapping with text keys.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a path with a null byte
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(repr(str(path))[1:-1], f"must be a readable YAML file; {reason}") from None
    value = parse_yaml(text, str(path))
    if not isinstance(value, dict):
        got = "it holds nothing" if value is None else f"got a {type(value).__name__}"
        raise ConfigError(str(path), f"must be a mapping of keys to values; {got}")
    for key in value:
        if not isinstance(key, str):
            raise ConfigError(str(path), f"must have texts as keys; got {key!r}")
    return value


def dump_yaml(config: Mapping[str, Any]) -> str:
    """Returns a mapping as YAML, in its own order; `parse_yaml` reads back equal values."""
    return yaml.dump(dict(config), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def yaml_text(value: Any) -> str:
    """Returns a value as YAML in one line, which tells `{1: a}` and `{"1": a}` apart."""
    text = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, width=math.inf, default_flow_style=True, allow_unicode=True
    )
    return text.removesuffix("...\n").strip()
