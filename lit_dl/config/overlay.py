"""Laying dotted keys, or one config, on another; without torch."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from lit_dl.config.keys import OUR_MODELS, Config, flatten, get_key

_SELECTORS = ("model.optimizer.name", "model.schedule.name")
_SMOOTHED = ("cross_entropy", "nll", "binary_cross_entropy")
_VALUES = ("mse", "mae", "rmse", "huber", "pseudo_huber", "log_cosh")
# Which choices a key applies to, for keys whose choice stands elsewhere. A test holds it to the tables.
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
# The keys of ours that say which of the keys elsewhere apply.
CHOICES = (*_SELECTORS, *APPLIES)


def overlay(base: Mapping[str, Any], values: Mapping[str, Any]) -> Config:
    """A copy of `base` with dotted keys set.

    A `class_path`, or the name of our optimizer or schedule, that changes drops what the base had chosen for the old
    one: the momentum of the base is not handed to Adam. Other choices drop what does not apply to them: a slope goes
    when the activation becomes relu. Keys set together with it stay.
    """
    result = deepcopy(dict(base))
    for key in sorted(values, key=lambda key: (not _selects(key), key.count("."), not key.endswith(".class_path"))):
        *path, last = key.split(".")
        place = result
        for part in path:
            if not isinstance(place.get(part), dict):
                place[part] = {}
            place = place[part]
        if _selects(key) and place.get(last) != values[key]:
            _drop(result, place, key, values[key])
        place[last] = deepcopy(values[key])
    return result


def _selects(key: str) -> bool:
    """Whether a key says which class the keys beside it are for, or which of them apply."""
    return key.rpartition(".")[2] == "class_path" or key in CHOICES


def _drop(config: Config, place: Config, key: str, value: Any) -> None:
    """Drops what was chosen for another value of a key."""
    if key not in APPLIES:
        kept = {"warmup_epochs"} if key == "model.schedule.name" else set()
        for name in set(place) - kept:
            del place[name]
    is_ours = get_key(config, "model.class_path") in (None, *OUR_MODELS)
    for dependent, choices in APPLIES.get(key, {}).items() if is_ours else []:
        group = get_key(config, dependent.rpartition(".")[0])
        was = get_key(config, key)  # of nll, a log_softmax output is no choice of mse's either
        applies = value in choices and (was is None or was in choices)
        if not applies and isinstance(group, dict):
            group.pop(dependent.rpartition(".")[2], None)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Config:
    """`over` laid on `base`, both in normal form, key by key."""
    values = {k: v for k, v in flatten(over) if not (v == {} and isinstance(get_key(base, k), Mapping))}
    return overlay(base, values)
