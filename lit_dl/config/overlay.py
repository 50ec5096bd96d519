"""Overlays: sets dotted keys, or another config, on a run config."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from lit_dl.config.keys import OUR_MODELS, Config, flatten, get_key

_SELECTORS = ("model.optimizer.name", "model.schedule.name")
_SMOOTHED = ("cross_entropy", "nll", "binary_cross_entropy")
_VALUES = ("mse", "mae", "rmse", "huber", "pseudo_huber", "log_cosh")
# For each key with choices: the keys in other places that apply only to some of the choices. A test compares this with
# the tables of techniques.
APPLIES: dict[str, dict[str, tuple[str, ...]]] = {
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
    """Returns a copy of `base` with dotted keys set.

    A changed choice drops the keys of `base` that were meant for the old choice. A new `class_path`, or a new name of
    our optimizer or schedule, drops all keys beside it: Adam does not get the momentum that the base chose for SGD. Any
    other choice drops the keys that do not apply to it: the slope goes when the activation becomes relu. Keys that
    `values` sets together with the choice stay.
    """
    result = deepcopy(dict(base))
    # Choices first, so that they drop only keys of the base; outer keys before the keys below them.
    for key in sorted(values, key=lambda key: (not _is_choice(key), key.count("."), not key.endswith(".class_path"))):
        *path, last = key.split(".")
        node = result
        for part in path:
            if not isinstance(node.get(part), dict):
                node[part] = {}
            node = node[part]
        if _is_choice(key) and node.get(last) != values[key]:
            _drop_dependent_keys(result, node, key, values[key])
        node[last] = deepcopy(values[key])
    return result


def _is_choice(key: str) -> bool:
    """Whether other keys depend on the value of a key."""
    return key.rpartition(".")[2] == "class_path" or key in CHOICES


def _drop_dependent_keys(config: Config, node: Config, key: str, value: Any) -> None:
    """Removes from a config what was set for another value of a key.

    Args:
        config: The whole config.
        node: The part of it that holds the key.
        key: The dotted key that is about to change.
        value: Its new value.
    """
    if key not in APPLIES:
        kept = {"warmup_epochs"} if key == "model.schedule.name" else set()  # applies to every schedule
        for name in set(node) - kept:
            del node[name]
    is_ours = get_key(config, "model.class_path") in (None, *OUR_MODELS)
    for dependent, choices in APPLIES.get(key, {}).items() if is_ours else []:
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
