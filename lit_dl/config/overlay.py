"""Overlays: sets dotted keys, or another config, on a run config."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from lit_dl.config.classes import import_class, is_same_class
from lit_dl.config.keys import OUR_MODELS, Config, early_stopping_spelled_out, flatten, full_key, get_key, short_key
from lit_dl.errors import ConfigError

_SELECTORS = ("model.optimizer.name", "model.schedule.name")
_SMOOTHED = ("cross_entropy", "nll", "binary_cross_entropy")
_VALUES = ("mse", "mae", "rmse", "huber", "pseudo_huber", "log_cosh")
# For each key with choices: the keys in other places that apply only to some of the choices. A test compares this with
# the tables of techniques.
APPLIES: dict[str, dict[str, tuple[str, ...]]] = {
    "model.network.kind": {"model.network.backbone": ("backbone",), "model.finetune": ("backbone",)},
    **{
        f"model.network.backbone.{key}": {"model.network.backbone.sha256": ()}
        for key in ("checkpoint", "model", "weights", "module")
    },
    "model.network.activation": {
        "model.network.negative_slope": ("leaky_relu", "prelu"),
        "model.network.pieces": ("maxout",),
    },
    "model.network.norm": {
        "model.network.norm_momentum": ("before", "after"),
        "model.network.norm_eps": ("before", "after"),
    },
    "model.network.norm_type": {"model.network.norm_momentum": ("batch",)},
    "model.loss": {
        "model.label_smoothing": _SMOOTHED,
        "model.delta": ("huber", "pseudo_huber"),
        "model.network.output_activation": _VALUES,
    },
}
# Our keys with choices that other keys depend on.
CHOICES = (*_SELECTORS, *APPLIES)


def overlay(base: Mapping[str, Any], values: Mapping[str, Any]) -> Config:
    """Returns a copy of `base` with dotted keys set; a key may leave out what `full_key` adds.

    A changed choice drops the keys of `base` that were meant for the old choice. A new `class_path`, or a new name of
    our optimizer or schedule, drops all keys beside it: Adam does not get the momentum that the base chose for SGD. Any
    other choice of ours drops the keys that do not apply to it: the slope goes when the activation becomes relu. Keys
    that `values` sets together with the choice stay.

    Raises:
        ConfigError: A key names an element that a list does not have.
    """
    result: Config = _copy(base)
    values = _early_stopping_spelled_out(values)
    for key in sorted(values, key=_order):
        value = _copy(values[key])
        key = without_alias(result, full_key(result, key))
        *path, last = key.split(".")
        node: Any = result
        for part in path:
            node = _group(node, part)
        if isinstance(node, list):
            node[int(last)] = value
            continue
        if _is_choice(key) and node.get(last) != value and not is_same_class(node.get(last), value):
            _drop_dependent_keys(result, node, key, value)
        node[last] = value
    return result


def _early_stopping_spelled_out(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns dotted keys in which early stopping is switched off by `early_stopping.patience` alone."""
    group, monitor, patience = "early_stopping", "early_stopping.monitor", "early_stopping.patience"
    if group in values:
        return {**values, group: early_stopping_spelled_out(values[group])}
    is_off = values.get(monitor, "") is None and patience not in values
    return {**values, patience: None} if is_off else values


def _copy(value: Any) -> Any:
    """Returns a copy without parts that are one object in two places, as an alias in YAML makes them."""
    if isinstance(value, Mapping):
        return {name: _copy(part) for name, part in value.items()}
    return [_copy(part) for part in value] if isinstance(value, list) else deepcopy(value)


def _order(key: str) -> tuple[int, bool, bool]:
    """Sorts outer keys before the keys below them, and choices first, so that they drop only keys of the base."""
    return short_key(key).count("."), not _is_choice(key), not key.endswith(".class_path")


def _group(node: Any, part: str) -> Any:
    """Returns the mapping or list at a part of a key; makes it if there is none."""
    place: Any = int(part) if isinstance(node, list) else part
    below = node[place] if isinstance(node, list) else node.get(place)
    if not isinstance(below, dict | list):
        node[place] = below = {"class_path": below} if isinstance(below, str) else {}
    return below


def _is_choice(key: str) -> bool:
    """Whether other keys depend on the value of a key."""
    return key.rpartition(".")[2] == "class_path" or key in CHOICES


def without_alias(config: Config, key: str) -> str:
    """Returns `model.optimizer.name` for the `class_path` of the optimizer of a model of ours."""
    is_alias = key == "model.optimizer.class_path" and is_ours(config)
    return "model.optimizer.name" if is_alias else key


def is_ours(config: Mapping[str, Any]) -> bool:
    """Whether the model of a config is one of ours or a subclass. A class that is not ours is imported."""
    path = get_key(config, "model.class_path")
    if path is None or path in OUR_MODELS:
        return True
    try:
        cls, *ours = (import_class("model.class_path", name, object) for name in (path, *OUR_MODELS))
    except ConfigError:
        return False  # the parser says what is wrong
    return issubclass(cls, tuple(ours))


def _drop_dependent_keys(config: Config, node: Config, key: str, value: Any) -> None:
    """Removes from a config what was set for another value of a key.

    Args:
        config: The whole config.
        node: The part of it that holds the key.
        key: The dotted key that is about to change.
        value: Its new value.
    """
    if key in CHOICES and not is_ours(config):
        return
    if key not in APPLIES:
        kept = {"warmup_epochs"} if key == "model.schedule.name" else set()  # applies to every schedule
        for name in set(node) - kept:
            del node[name]
    for dependent, choices in APPLIES.get(key, {}).items():
        group = get_key(config, dependent.rpartition(".")[0])
        old = get_key(config, key)
        # The old choice counts too: a log_softmax output that was set for nll is no output for mse.
        applies = value in choices and (old is None or old in choices)
        if not applies and isinstance(group, dict):
            group.pop(dependent.rpartition(".")[2], None)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Config:
    """Returns `over` laid on `base` key by key; both are in normal form."""
    # An empty mapping is a leaf of `flatten`; it must not replace a group that the base has.
    values = {k: v for k, v in flatten(over) if not (v == {} and isinstance(get_key(base, k), Mapping))}
    return overlay(base, values)
