"""The normal form of a run config, dotted keys, and the errors for unknown keys.

A run config is what LightningCLI takes: `trainer`, `model`, `data` and a few groups of ours. `model` and `data` are
either the arguments of our classes, or `class_path` and `init_args` for any class. The normal form puts the arguments
directly below `model`, beside `class_path`. One dotted key (`model.hidden`) then names an argument of any class.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from difflib import get_close_matches
from typing import Any

from lit_dl.errors import ConfigError, suggest

Config = dict[str, Any]

CLASS_GROUPS = {"model": "lit_dl.Classifier", "data": "lit_dl.ImageDataModule"}
"""The groups of keys that are the arguments of a class, and their default classes."""
OUR_MODELS = ("lit_dl.Classifier", "lit_dl.Regressor")
CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")
"""The keys of an argument that is a class."""


# The normal form


def normalize(config: Mapping[str, Any]) -> Config:
    """Returns a copy in normal form: the arguments of `model` and `data` directly below them."""
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
    if "early_stopping" in result:
        result["early_stopping"] = early_stopping_spelled_out(result["early_stopping"])
    return result


def early_stopping_spelled_out(group: Any) -> Any:
    """Returns the group `early_stopping` with `patience: null` where null, false or `monitor: null` switch it off.

    A complete config has `monitor: null` beside a patience; there it stands for the default monitor.
    """
    if group is None or group is False:
        return {"patience": None}
    is_off = isinstance(group, Mapping) and group.get("monitor", "") is None and "patience" not in group
    return {**group, "patience": None} if is_off else group


def lightning_form(config: Mapping[str, Any]) -> Config:
    """Returns a copy in the form of LightningCLI: `class_path` and `init_args` for classes that are not ours."""
    result = deepcopy(dict(config))
    for group, ours in CLASS_GROUPS.items():
        value = result.get(group)
        if isinstance(value, dict) and "class_path" in value:
            path = value.pop("class_path")
            more = {"dict_kwargs": value.pop("dict_kwargs")} if "dict_kwargs" in value else {}
            result[group] = value if path == ours else {"class_path": path, "init_args": value, **more}
    return result


def normal_key(key: str) -> str:
    """Returns a dotted key in normal form: `model.init_args.hidden` becomes `model.hidden`."""
    return re.sub(r"^(model|data)\.init_args\.", r"\1.", key)


def with_optimizer_name(config: Config) -> Config:
    """Returns a config of a model of ours with the `class_path` of its optimizer as the `name` of it.

    Raises:
        ConfigError: The optimizer has both.
    """
    optimizer = get_key(config, "model.optimizer")
    if not is_class(optimizer):
        return config
    if "name" in optimizer:
        raise ConfigError("model.optimizer.class_path", f"must stand in place of name; got both, {optimizer!r}")
    named = {"name" if key == "class_path" else key: value for key, value in optimizer.items()}
    return {**config, "model": {**config["model"], "optimizer": named}}


def class_paths(config: Mapping[str, Any]) -> tuple[str, str | None]:
    """Returns the import paths of the module and of the data module that a config in normal form names.

    The data module is `None` for a foreign module without `data`: such a module has dataloaders itself.
    """
    model = _group(config, "model").get("class_path", CLASS_GROUPS["model"])
    data = _group(config, "data").get("class_path", CLASS_GROUPS["data"])
    if "data" not in config and model != CLASS_GROUPS["model"]:
        data = None
    return model, data


def split_classes(config: Config) -> tuple[tuple[str, str | None], Config]:
    """Returns the class paths of a config, and the config in normal form without them."""
    config = normalize(config)
    paths = class_paths(config)
    for group in CLASS_GROUPS:
        if isinstance(config.get(group), dict) and "class_path" in config[group]:
            del config[group]["class_path"]
            if not config[group]:
                del config[group]  # the parser has no such group if the class takes no arguments
    return paths, config


def _group(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = config.get(name) or {}
    if not isinstance(value, Mapping):
        raise ConfigError(name, f"must be a mapping of keys to values; got {value!r}")
    return value


# Dotted keys


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the dotted key and the value of every leaf.

    An empty mapping is a leaf, and so is one with a key that is no text or has a dot, such as `{val.acc: 1}`.
    """
    for key, value in config.items():
        if isinstance(value, Mapping) and value and all(isinstance(k, str) and "." not in k for k in value):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def get_key(config: Mapping[str, Any], key: str) -> Any:
    """Returns the value at a dotted key, which may leave out what `full_key` adds; `None` if there is no such key."""
    try:
        parts = full_key(config, key).split(".")
    except ConfigError:
        return None
    value: Any = config
    for part in parts:
        value = _below(value, part)
    return value


def full_key(config: Mapping[str, Any], key: str) -> str:
    """Returns a dotted key with what it leaves out, as it stands in a config in normal form.

    `model.net.hidden` is `model.net.init_args.hidden` where `model.net` has a `class_path`. An element of a list goes
    by its number or by the name of its class: `trainer.callbacks.EarlyStopping.patience`.

    Raises:
        ConfigError: A list does not have the element.
    """
    parts: list[str] = []
    node: Any = config
    for part in key.split("."):
        if isinstance(node, str):  # a class without arguments
            node = {"class_path": node}
        if isinstance(node, list):
            part = _number_in(node, part, ".".join([*parts, part]))
        elif is_class(node) and part not in (*node, *CLASS_KEYS) and ".".join(parts) not in CLASS_GROUPS:
            parts.append("init_args")
            node = node.get("init_args")
        parts.append(part)
        node = _below(node, part)
    return ".".join(parts)


def short_key(key: str) -> str:
    """Returns a dotted key without `init_args`; two spellings of one key are then equal."""
    return key.replace(".init_args.", ".")


def is_class(value: object) -> bool:
    """Whether a value of a config names a class by `class_path`."""
    return isinstance(value, Mapping) and "class_path" in value


def _below(node: Any, part: str) -> Any:
    """Returns what a mapping or a list has at a part of a full key; `None` if there is no such thing."""
    if isinstance(node, list):
        return node[int(part)]
    return node.get(part) if isinstance(node, Mapping) else None


def _number_in(elements: list[Any], part: str, key: str) -> str:
    """Returns the number of the element that a part of a key names, by its number or by its class."""
    paths = [element.get("class_path") if is_class(element) else element for element in elements]
    names = [str(path).rpartition(".")[2] for path in paths]
    if part.isdecimal() and int(part) < len(elements):
        return part
    if part not in names:
        known = ", ".join(f"{number} ({name})" for number, name in enumerate(names))
        raise ConfigError(key, f"no such element; the list has {known or 'none'}{suggest(part, names)}")
    if names.count(part) > 1:
        raise ConfigError(key, f"no single element; {names.count(part)} of the list are a {part}; name one by number")
    return str(names.index(part))


# Unknown keys


def check_keys(config: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuses keys that no class in use takes.

    Args:
        config: In normal form, without `class_path`.
        known: Dotted keys of all arguments.

    Raises:
        ConfigError: A key is unknown, with the nearest known key; or a value stands where a group of keys must stand.
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
    """Returns the error for an unknown key.

    The hint is the nearest key of the same group, else the same word in another group, else the keys of the group.
    """
    names = set(known)
    parent, _, last = key.rpartition(".")
    below = sorted(name for name in names if name.startswith(f"{key}."))
    if below:
        return ConfigError(key, f"is a group of keys, and not one; below it are {', '.join(below)}")
    depth = key.count(".") + 1
    siblings = {".".join(name.split(".")[:depth]) for name in names if name.startswith(f"{parent}." if parent else "")}
    near = get_close_matches(last, [name.rpartition(".")[2] for name in siblings], n=1, cutoff=0.6)
    same_word = sorted(name for name in names if name.rpartition(".")[2] == last)
    if near:
        hint = f"; did you mean {f'{parent}.{near[0]}'.strip('.')!r}?"
    elif same_word:
        hint = f"; did you mean {same_word[0]!r}?"
    elif siblings:
        hint = f"; known here: {', '.join(sorted(siblings))}"
    else:
        hint = suggest(key, names)
    return ConfigError(key, f"no such key{hint}")
