"""What must be equal in a stack, and what may differ: decided here, key by key of a run config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from lit_dl.config.classes import import_class
from lit_dl.config.keys import CLASS_GROUPS, OUR_MODELS, Config, class_paths, flatten, get_key, normalize
from lit_dl.data.in_memory import InMemoryDataModule
from lit_dl.errors import ConfigError
from lit_dl.fused.member import RANDOM_LAYERS
from lit_dl.nn.losses import LOSSES
from lit_dl.nn.regularizers import RegularizationConfig
from lit_dl.optim.optimizers import OPTIMIZERS
from lit_dl.optim.schedules import ScheduleConfig
from lit_dl.options import option_names

MAY_DIFFER = frozenset(
    {
        *(f"model.optimizer.{name}" for name in option_names(OPTIMIZERS)),
        *(f"model.schedule.{field.name}" for field in fields(ScheduleConfig)),
        *(f"model.regularization.{field.name}" for field in fields(RegularizationConfig) if field.name != "form"),
        *(f"model.network.{name}" for name in ("initializer", *RANDOM_LAYERS)),
        *(f"model.{name}" for name in option_names(LOSSES)),
        "model.seed",
        "model.steps_per_execution",  # changes no digit
        "data.seed",
        "seed_everything",
        "trainer.max_epochs",
        "trainer.gradient_clip_val",
        "trainer.gradient_clip_algorithm",
    }
)
"""Keys of a run config that are numbers of a member, or initial values. All others must be equal in a stack."""
OF_THE_RECORDER = frozenset({"early_stopping", "checkpoint", "tracking"})
"""Groups of a run config that do not change the training, so that they may differ too."""

_TRAINER_ALONE = {
    "accumulate_grad_batches": (None, 1),
    "callbacks": (None, []),
    "check_val_every_n_epoch": (None, 1),
    "devices": (None, 1, "auto"),
    "fast_dev_run": (None, False, 0),
    "limit_train_batches": (None, 1.0),
    "limit_val_batches": (None, 1.0),
    "logger": (None, False),
    "max_steps": (None, -1),
    "max_time": (None,),
    "num_nodes": (None, 1),
    "overfit_batches": (None, 0, 0.0),
    "precision": (None, 32, 64, "32", "64", "32-true", "64-true"),
    "strategy": (None, "auto"),
    "val_check_interval": (None, 1.0),
}
"""Values of the Trainer's arguments that a stack works with."""


def structural_key(config: Config) -> str:
    """Returns a text that is equal for the run configs that can be in one stack, once `why_alone` has nothing to say.

    Args:
        config: A complete run config.
    """
    normal = {"model": {}, "data": {}, **normalize(config)}
    may_differ = MAY_DIFFER
    if _data_class(normal).samples_depend_on_seed:
        may_differ -= {"data.seed", "seed_everything"}
    kept = {
        key: value
        for key, value in flatten(normal)
        if key not in may_differ and key.partition(".")[0] not in OF_THE_RECORDER
    }
    return json.dumps(kept, sort_keys=True, default=str)


def why_alone(config: Config) -> str | None:
    """Returns why a run cannot be in a stack: an error text that starts with the key at fault. `None`: it can.

    Args:
        config: A complete run config.
    """
    normal = normalize(config)
    model, data = class_paths(normal)
    if model not in OUR_MODELS:
        return f"model.class_path: only {' and '.join(OUR_MODELS)} can be fused; got {model}"
    try:
        _data_class(normal)
    except ConfigError:
        return f"data.class_path: only data in memory (InMemoryDataModule) can be fused; got {data}"
    name = get_key(normal, "model.optimizer.name") or get_key(normal, "model.optimizer.class_path")
    if name is not None and name not in OPTIMIZERS:
        return f"model.optimizer.name: only {', '.join(OPTIMIZERS)} can be fused; got {name}"
    if get_key(normal, "model.compile"):
        return "model.compile: a compiled network cannot be fused; set it to false"
    if get_key(normal, "model.network.kind") == "backbone":
        return "model.network.kind: only mlp and cnn can be fused; got 'backbone'"
    if get_key(normal, "data.augment"):
        return "data.augment: augmented data cannot be fused; set it to null"
    return _why_trainer_alone(normal.get("trainer") or {})


def _why_trainer_alone(trainer: Mapping[str, Any]) -> str | None:
    for key, allowed in _TRAINER_ALONE.items():
        if trainer.get(key) not in allowed:
            return f"trainer.{key}: a fused run has {allowed[-1]!r}; got {trainer[key]!r}"
    return None


def _data_class(config: Config) -> type[InMemoryDataModule]:
    path = get_key(config, "data.class_path") or CLASS_GROUPS["data"]
    found: type[InMemoryDataModule] = import_class("data.class_path", path, InMemoryDataModule)
    return found
