"""Refuses Trainer arguments that Lightning accepts and no trial of a sweep can use."""

from __future__ import annotations

import re

from lit_dl.config.keys import Config, get_key
from lit_dl.errors import ConfigError
from sweeps.spec.spec import SweepSpec


def check_trainer(config: Config) -> None:
    """Refuses limits without a single batch, several machines, and strategies that a worker cannot start.

    Args:
        config: The run config of a trial.

    Raises:
        ConfigError: An argument that no trial can use.
    """
    for key in ("max_epochs", "max_steps", "limit_train_batches"):
        value = get_key(config, f"trainer.{key}")
        if value is not None and not isinstance(value, str) and value == 0:
            raise ConfigError(f"trainer.{key}", f"must be above 0, or no epoch has a metric; got {value!r}")
    nodes = get_key(config, "trainer.num_nodes")
    if nodes not in (None, 1):
        raise ConfigError("trainer.num_nodes", f"must be 1 in a sweep, whose trials are on one machine; got {nodes!r}")
    _check_strategy(get_key(config, "trainer.strategy"))


def _check_strategy(strategy: object) -> None:
    """Refuses a strategy that would spawn or fork processes from the process of a worker."""
    name, start = strategy, None
    if isinstance(strategy, dict):
        name, start = strategy.get("class_path"), (strategy.get("init_args") or {}).get("start_method")
    if any(word in str(name) for word in ("spawn", "fork", "notebook")) or start not in (None, "popen"):
        raise ConfigError(
            "trainer.strategy", f"must be one whose processes a worker can start; got {start or name!r}; use ddp"
        )


def check_devices(spec: SweepSpec) -> None:
    """Refuses `trainer.devices` that does not fit the slots, which are of one size for all trials.

    Raises:
        ConfigError: `trainer.devices` is sampled, is not a number, or differs from the GPUs of a slot.
    """
    key, devices, gpus = "trainer.devices", get_key(spec.base, "trainer.devices"), spec.slot.gpus
    varied = spec.space.spec_keys(key)
    varied += [f"runs.{run}.{key}" for run, values in spec.runs.items() if key in values]
    if varied:
        raise ConfigError(varied[0], "must be the same in all trials, as slots are; set it in the base")
    if gpus is not None and get_key(spec.base, "trainer.accelerator") == "cpu":
        raise ConfigError("slot.gpus", f"must be left out with trainer.accelerator=cpu; got {gpus:g}")
    if devices in (None, "auto"):
        return
    if not re.fullmatch("[1-9][0-9]*", str(devices)):
        raise ConfigError(
            key, f"must be a whole number, 1 or more, or auto in a sweep, whose slots say which; got {devices!r}"
        )
    if gpus is not None and int(devices) != (spec.slot.devices or 1):
        raise ConfigError(key, f"must be what slot.gpus={gpus:g} says, or left out; got {devices}")
