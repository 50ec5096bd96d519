"""Optimizers by name: one table, one builder; any other by import path."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch.optim import Optimizer

from lit_dl.errors import ConfigError, unknown_name


@dataclass(frozen=True)
class OptimizerConfig:
    """Which optimizer, and its hyperparameters. `None` takes the default of the optimizer named.

    Args:
        name: sgd, momentum, nesterov, rmsprop, adam, adamw, or the import path of a torch Optimizer class.
        lr: Learning rate, above 0. Defaults: 0.01 for sgd, momentum and nesterov, 0.001 for the others.
        momentum: Share of the last step that goes on, in [0, 1); for momentum and nesterov (default 0.9) and rmsprop
            (0).
        weight_decay: Decay of the weights, 0 or more; decoupled from the gradient for adamw (default 0.01), added to it
            for the others (default 0).
        rho: Decay of rmsprop's mean square, in [0, 1); default 0.9.
        beta1: Decay of the first moment of adam and adamw, in [0, 1); default 0.9.
        beta2: Decay of the second moment of adam and adamw, in [0, 1); default 0.999.
        eps: Added to the denominator of rmsprop, adam and adamw, above 0; default 1e-8.
        init_args: Arguments of a class named by import path, and of no other.
    """

    name: str = "adam"
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    rho: float | None = None
    beta1: float | None = None
    beta2: float | None = None
    eps: float | None = None
    init_args: dict[str, Any] | None = None


@dataclass(frozen=True)
class OptimizerRow:
    """One row of the table.

    Args:
        cls: The torch class.
        defaults: Our hyperparameters that it takes, with their defaults.
        source: Where the rule and the defaults come from.
        fixed: Arguments of the class that make the row what it is.
    """

    cls: type[Optimizer]
    defaults: Mapping[str, float]
    source: str
    fixed: Mapping[str, Any] = field(default_factory=dict)


_SGD = {"lr": 0.01, "weight_decay": 0.0}
_MOMENTUM = {**_SGD, "momentum": 0.9}
_ADAM = {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}

OPTIMIZERS: dict[str, OptimizerRow] = {
    "sgd": OptimizerRow(torch.optim.SGD, _SGD, "Robbins & Monro 1951"),
    "momentum": OptimizerRow(torch.optim.SGD, _MOMENTUM, "Polyak 1964, in PyTorch's form: lr times the velocity"),
    "nesterov": OptimizerRow(
        torch.optim.SGD, _MOMENTUM, "Nesterov 1983, in the form of Sutskever et al. 2013", {"nesterov": True}
    ),
    "rmsprop": OptimizerRow(
        torch.optim.RMSprop,
        {"lr": 0.001, "rho": 0.9, "momentum": 0.0, "eps": 1e-8, "weight_decay": 0.0},
        "Hinton 2012, lecture 6e, with the lecture's defaults (PyTorch's are 0.01 and 0.99)",
    ),
    "adam": OptimizerRow(torch.optim.Adam, _ADAM, "Kingma & Ba 2015 (arXiv 1412.6980), algorithm 1"),
    "adamw": OptimizerRow(
        torch.optim.AdamW,
        {**_ADAM, "weight_decay": 0.01},
        "Loshchilov & Hutter 2019 (arXiv 1711.05101), algorithm 2, the decay times lr as in PyTorch",
    ),
}

_BELOW_ONE = ("momentum", "rho", "beta1", "beta2")
_HYPERPARAMETERS = ("lr", "momentum", "weight_decay", "rho", "beta1", "beta2", "eps")
# On CPU `fused` exists for these alone, and Adam then takes four fifths of the time (LOG.md, 2026-11-21).
_FUSED = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)


def check_optimizer(config: OptimizerConfig) -> None:
    """Refuses what cannot run.

    Raises:
        ConfigError: An unknown name, a value out of range, or a hyperparameter that the optimizer does not have.
    """
    given = {k: v for k in _HYPERPARAMETERS if (v := getattr(config, k)) is not None}
    for key, value in given.items():
        _check_range(key, value)
    if "." in config.name:
        if given:
            key = next(iter(given))
            raise ConfigError(
                key, f"{given[key]!r} does not apply to the class name={config.name!r}; write it as init_args.{key}"
            )
        _import_optimizer(config.name)
        return
    if config.name not in OPTIMIZERS:
        raise unknown_name("name", config.name, OPTIMIZERS)
    if config.init_args is not None:
        raise ConfigError(
            "init_args", f"{config.init_args!r} is for a class by import path, not for name={config.name!r}"
        )
    row = OPTIMIZERS[config.name]
    for key, value in given.items():
        if key not in row.defaults:
            takes = ", ".join(row.defaults)
            raise ConfigError(
                key, f"{value!r} does not apply to name={config.name!r}, which takes {takes}; set it to null"
            )


def _check_range(key: str, value: float) -> None:
    if key in _BELOW_ONE and not 0 <= value < 1:
        raise ConfigError(key, f"must be in [0, 1); got {value!r}")
    if key in ("lr", "eps") and not 0 < value < math.inf:
        raise ConfigError(key, f"must be above 0 and finite; got {value!r}")
    if key == "weight_decay" and not 0 <= value < math.inf:
        raise ConfigError(key, f"must be 0 or more and finite; got {value!r}")


def _import_optimizer(path: str) -> type[Optimizer]:
    module, _, name = path.rpartition(".")
    try:
        cls = getattr(import_module(module), name)
    except Exception as error:  # a module of the user's: anything can happen in it
        raise ConfigError("name", f"{path!r} cannot be imported ({type(error).__name__}: {error})") from None
    if not (isinstance(cls, type) and issubclass(cls, Optimizer)):
        raise ConfigError("name", f"{path!r} is not a torch.optim.Optimizer")
    return cls


def build_optimizer(config: OptimizerConfig, groups: Iterable[dict[str, Any]], fused: bool = True) -> Optimizer:
    """An optimizer over parameter groups, each a dict with `params` and, where it differs, its own hyperparameters.

    Args:
        config: Which, and its hyperparameters.
        groups: What it trains.
        fused: Use torch's fused step where there is one.

    Raises:
        ConfigError: As `check_optimizer`; or a class by import path that refuses its `init_args`.
    """
    check_optimizer(config)
    if "." in config.name:
        cls = _import_optimizer(config.name)
        try:
            return cls(list(groups), **(config.init_args or {}))
        except (TypeError, ValueError) as error:
            raise ConfigError("init_args", f"{config.init_args!r} is refused by {config.name}: {error}") from None
    row = OPTIMIZERS[config.name]
    values = {k: v if (v := getattr(config, k)) is not None else default for k, default in row.defaults.items()}
    if "beta1" in values:
        values["betas"] = (values.pop("beta1"), values.pop("beta2"))
    if "rho" in values:
        values["alpha"] = values.pop("rho")
    speed = {"fused": True} if fused and row.cls in _FUSED else {}
    return row.cls(list(groups), **values, **row.fixed, **speed)  # type: ignore[arg-type]
