"""The config language without the classes: reading YAML, the normal form of a run config, dotted keys, errors that
teach.

A run config is what LightningCLI takes: `trainer`, `model`, `data` and a few groups of ours. `model` and `data` are
given either by their arguments alone (our classes) or by `class_path` and `init_args` (anyone's). The normal form has
the arguments directly below `model`, with `class_path` beside them, so that one dotted key (`model.hidden`) names an
argument of any class.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from lit_dl.errors import ConfigError, suggest, unknown_name

Config = dict[str, Any]

CLASS_GROUPS = {"model": "lit_dl.Classifier", "data": "lit_dl.MNISTDataModule"}
OUR_MODELS = ("lit_dl.Classifier", "lit_dl.Regressor")
_FLOAT = (
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


class _Loader(yaml.SafeLoader):
    """YAML as jsonargparse reads it (1e-5 is a number), with texts as keys and no key twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
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
    """Quotes a text that `_Loader` would read as a number."""


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(*_FLOAT)


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text.

    Raises:
        ConfigError: It does not parse; the error names `where`, line and column.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}, line {mark.line + 1}, column {mark.column + 1}" if mark else where
        raise ConfigError(place, f"must be YAML; {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        raise ConfigError(where, f"must be YAML; {error.reason} at character {error.position}") from None


def load_yaml(path: Path) -> Config:
    """The mapping in a YAML file.

    Raises:
        ConfigError: The file is missing, unreadable, does not parse, or holds something else than a mapping.
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


def normalize(config: Mapping[str, Any]) -> Config:
    """A copy in normal form: the arguments of `model` and `data` directly below them."""
    result = deepcopy(dict(config))
    for group in CLASS_GROUPS:
        value = result.get(group)
        if isinstance(value, str):
            result[group] = {"class_path": value}
        elif isinstance(value, dict) and "init_args" in value:
            arguments = value.pop("init_args") or {}
            if not isinstance(arguments, dict):
                raise ConfigError(f"{group}.init_args", f"must be a mapping of keys to values; got {arguments!r}")
            result[group] = {**value, **arguments}
    optimizer = (result.get("model") or {}).get("optimizer") if isinstance(result.get("model"), dict) else None
    if isinstance(optimizer, dict) and "class_path" in optimizer:
        optimizer["name"] = optimizer.pop("class_path")
    return result


def lightning_form(config: Mapping[str, Any]) -> Config:
    """A copy as LightningCLI writes it: `class_path` and `init_args` for classes that are not ours."""
    result = deepcopy(dict(config))
    for group, ours in CLASS_GROUPS.items():
        value = result.get(group)
        if isinstance(value, dict) and "class_path" in value:
            path = value.pop("class_path")
            result[group] = value if path == ours else {"class_path": path, "init_args": value}
    return result


def normal_key(key: str) -> str:
    """The dotted key in normal form: `model.init_args.hidden` is `model.hidden`."""
    key = re.sub(r"^(model|data)\.init_args\.", r"\1.", key)
    return "model.optimizer.name" if key == "model.optimizer.class_path" else key


def class_paths(config: Mapping[str, Any]) -> tuple[str, str | None]:
    """Import paths of the module and of the data module that a config in normal form names.

    The data module is `None` for a module of the user's that comes with no `data`: such modules bring their loaders.
    """
    model = _group(config, "model").get("class_path", CLASS_GROUPS["model"])
    data = _group(config, "data").get("class_path", CLASS_GROUPS["data"])
    if "data" not in config and model != CLASS_GROUPS["model"]:
        data = None
    return model, data


def split_classes(config: Config) -> tuple[tuple[str, str | None], Config]:
    """The classes that a config names, and the config in normal form without their paths."""
    config = normalize(config)
    paths = class_paths(config)
    for group in ("model", "data"):
        if isinstance(config.get(group), dict) and "class_path" in config[group]:
            del config[group]["class_path"]
            if not config[group]:
                del config[group]  # a class may have no argument at all
    return paths, config


def _group(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = config.get(name) or {}
    if not isinstance(value, Mapping):
        raise ConfigError(name, f"must be a mapping of keys to values; got {value!r}")
    return value


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of everything below a mapping that is not a mapping itself."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def get_key(config: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key; `None` where there is none."""
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def check_keys(config: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuses keys that no class in use takes.

    Args:
        config: In normal form, without `class_path`.
        known: Dotted keys of all arguments.

    Raises:
        ConfigError: An unknown key, with the nearest known; or a value where a group of keys must stand.
    """
    names = set(known)
    groups = {name[: match.start()] for name in names for match in re.finditer(r"\.", name)}
    _check_level(config, "", names, groups)


def _check_level(config: Mapping[str, Any], prefix: str, names: set[str], groups: set[str]) -> None:
    for name, value in config.items():
        key = f"{prefix}{name}"
        if key in CLASS_GROUPS and key not in names | groups and isinstance(value, Mapping) and value:
            raise ConfigError(f"{key}.{next(iter(value))}", "no such key; the class takes no arguments")
        if key in groups and key not in names:
            if not isinstance(value, Mapping):
                hint = f"; did you mean {key}.name?" if f"{key}.name" in names else ""
                raise ConfigError(key, f"must be a mapping of keys to values; got {value!r}{hint}")
            _check_level(value, f"{key}.", names, groups)
        elif key not in names:
            raise unknown_key(key, names)


def unknown_key(key: str, known: Iterable[str]) -> ConfigError:
    """The error for a key that nothing takes: offers the nearest or the same word elsewhere, or lists neighbours."""
    names = set(known)
    parent, _, last = key.rpartition(".")
    below = sorted(name for name in names if name.startswith(f"{key}."))
    if below:
        return ConfigError(key, f"is a group of keys, and not one; below it are {', '.join(below)}")
    depth = key.count(".") + 1
    beside = {".".join(name.split(".")[:depth]) for name in names if name.startswith(f"{parent}." if parent else "")}
    near = get_close_matches(last, [name.rpartition(".")[2] for name in beside], n=1, cutoff=0.6)
    hint = f"; did you mean {f'{parent}.{near[0]}'.strip('.')!r}?" if near else ""
    same = sorted(name for name in names if name.rpartition(".")[2] == last)
    if not hint and same:
        hint = f"; did you mean {same[0]!r}?"
    if not hint and beside:
        hint = f"; known here: {', '.join(sorted(beside))}"
    return ConfigError(key, f"no such key{hint or suggest(key, names)}")


def to_config_error(message: str) -> ConfigError:
    """A jsonargparse error as one of ours: the key, what must hold, what was given."""
    text = re.sub(r"\s+", " ", message).strip()
    missing = re.search(r"arguments are required: ([^ ,]+)", text)
    found = missing or re.search(r'[Kk]ey "([^"]+)"', text) or re.search(r"argument --([\w.]+)", text)
    key = normal_key(found.group(1)) if found else ""
    if missing or "is required" in text:
        return ConfigError(key, "must be given; it has no default")
    loaded = re.search(r"Unable to load config ['\"](.*?)['\"]", text)
    if key and loaded:
        hint = f"; did you mean {key}.name?" if key in ("model.optimizer", "model.schedule") else ""
        return ConfigError(key, f"must be a mapping of keys to values; got {loaded.group(1)}{hint}")
    given = re.search(r"Given value: (.*)$", text) or re.search(r"Got value: (.*)$", text)
    types = re.search(r"Subtypes: \[(.*?)\] Errors", text) or re.search(r"Expected an? (.*?)\. Got value", text)
    if not (key and given and types):
        return ConfigError(key, re.sub(r'^.*?(?:[Kk]ey "[^"]+":|argument --[\w.]+:) ', "", text))
    literals = re.findall(r"typing\.Literal\[(.*?)\]", types.group(1))
    names = ["true", "false"] if literals and "bool" in types.group(1) else []
    names += [name.strip().strip("'") for group in literals for name in group.split(",")]
    value = given.group(1).strip()
    if names and "NoneType" not in types.group(1):
        return unknown_name(key, value, names)
    return ConfigError(key, f"must be {readable_type(types.group(1))}; got {value}")


def readable_type(text: str) -> str:
    """A type as one says it: `<class 'int'>, <class 'NoneType'>` is `int or null`."""
    text = re.sub(r"<class '([^']+)'>", r"\1", text)
    text = re.sub(r"typing\.Literal\[(.*?)\]", lambda match: "one of " + match.group(1).replace("'", ""), text)
    text = re.sub(r"\bNoneType\b|\bNone\b", "null", text.replace("typing.", "")).replace(" | ", " or ")
    return re.sub(r", (?=[^\]]*(?:\[|$))", " or ", text) if "one of" not in text else text


def dump_yaml(config: Mapping[str, Any]) -> str:
    """YAML in the order given, whose values read back the same."""
    return yaml.dump(dict(config), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def as_json(value: Any) -> str:
    """One line of JSON that any YAML reader takes too."""
    return json.dumps(value, sort_keys=False)
