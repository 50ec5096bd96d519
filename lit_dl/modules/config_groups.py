"""Config groups of a module: dataclasses from dataclasses or dicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from lit_dl.errors import key_prefix, unknown_name
from lit_dl.nn.finetuning import FinetuneConfig
from lit_dl.nn.network_config import NetworkConfig
from lit_dl.nn.regularizers import RegularizationConfig
from lit_dl.optim.optimizers import OptimizerConfig
from lit_dl.optim.schedules import ScheduleConfig

Group = TypeVar("Group", NetworkConfig, OptimizerConfig, ScheduleConfig, RegularizationConfig, FinetuneConfig)


def config_group(key: str, cls: type[Group], given: Group | Mapping[str, Any], check: Callable[[Group], None]) -> Group:
    """Returns a config group as a dataclass, checked.

    Args:
        key: The key of the group, such as `network`. Error messages start with it.
        cls: The dataclass.
        given: The group as a dataclass, or as a dict (from a checkpoint). A `class_path` in a dict is the `name` of an
            optimizer.
        check: Refuses a group that cannot be used, with keys relative to the group.

    Raises:
        ConfigError: A key that the group does not have, or what `check` raises.
    """
    group = given if isinstance(given, cls) else _from_dict(key, cls, given)  # type: ignore[arg-type]
    with key_prefix(key):
        check(group)
    return group


def _from_dict(key: str, cls: type[Group], given: Mapping[str, Any]) -> Group:
    values = dict(given)
    if "class_path" in values:
        values["name"] = values.pop("class_path")
    known = [field.name for field in fields(cls)]
    for name in values:
        if name not in known:
            raise unknown_name(key, name, known)
    return cls(**values)
