"""Turns messages of jsonargparse into errors of ours.

jsonargparse has no structured errors, so these functions search its texts. `pyproject.toml` bounds its version for this
reason.
"""

from __future__ import annotations

import re

from lit_dl.config.keys import normal_key
from lit_dl.errors import ConfigError, unknown_name

MISSING = "must be given; it has no default"
"""The problem of an argument that is not there."""
_SUBCOMMAND = re.compile(r"^(fit|validate|test|predict)\.")


def to_config_error(message: str) -> ConfigError:
    """Returns the error for a message of jsonargparse: the key, what must hold, and the value that was given."""
    text = re.sub(r"\s+", " ", message).strip()
    key = _key_in(text)
    if "arguments are required: " in text or "is required" in text:
        return ConfigError(key, MISSING)
    loaded = re.search(r"Unable to load config ['\"](.*?)['\"]", text)
    if key and loaded:  # a scalar where a group of keys must stand: jsonargparse takes it for the name of a file
        hint = f"; did you mean {key}.name?" if key in ("model.optimizer", "model.schedule") else ""
        return ConfigError(key, f"must be a mapping of keys to values; got {loaded.group(1)}{hint}")
    given = re.search(r"Given value: (.*)$", text) or re.search(r"Got value: (.*)$", text)
    types = re.search(r"Subtypes: \[(.*?)\] Errors", text) or re.search(r"Expected an? (.*?)\. Got value", text)
    if key and given and types:
        return _wrong_type(key, given.group(1).strip(), types.group(1))
    return ConfigError(key, re.sub(r'^.*?(?:[Kk]ey "[^"]+":|argument --[\w.]+:) ', "", text))


def _key_in(text: str) -> str:
    """Returns the dotted key that a message is about, in normal form; empty where it names none."""
    patterns = (r"arguments are required: ([^ ,]+)", r'[Kk]ey "([^"]+)"', r"argument --([\w.]+)")
    found = next((match for pattern in patterns if (match := re.search(pattern, text))), None)
    return normal_key(_SUBCOMMAND.sub("", found.group(1))) if found else ""


def _wrong_type(key: str, value: str, types: str) -> ConfigError:
    """Returns the error for a value of a wrong type; for a closed list of names, the names and the nearest of them."""
    literals = re.findall(r"typing\.Literal\[(.*?)\]", types)
    names = ["true", "false"] if literals and "bool" in types else []
    names += [name.strip().strip("'") for group in literals for name in group.split(",")]
    if names and "NoneType" not in types:
        return unknown_name(key, value, names)
    return ConfigError(key, f"must be {readable_type(types)}; got {value}")


def readable_type(text: str) -> str:
    """Returns a type in words: `<class 'int'>, <class 'NoneType'>` is `int or null`."""
    text = re.sub(r"<class '([^']+)'>", r"\1", text)
    text = re.sub(r"typing\.Literal\[(.*?)\]", lambda match: "one of " + match.group(1).replace("'", ""), text)
    text = re.sub(r"\bNoneType\b|\bNone\b", "null", text.replace("typing.", "")).replace(" | ", " or ")
    return re.sub(r", (?=[^\]]*(?:\[|$))", " or ", text) if "one of" not in text else text
