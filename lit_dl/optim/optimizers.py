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
from lit_dl.optim.muon import MuonAdamW


@dataclass(frozen=True)
class OptimizerConfig:
    """Which optimizer, and its hyperparameters. `None` takes the default of the optimizer named, or Keras's where
    `model.defaults` says so.

    Args:
        name: One of the table, or the import path of a torch Optimizer class.
        lr: Learning rate, above 0. Defaults: 1 for adadelta, 0.01 for sgd, momentum, nesterov and adagrad, 0.002 for
            adamax and nadam, 0.001 for the others.
        momentum: Share of the last step that goes on, in [0, 1); for momentum and nesterov (default 0.9), rmsprop (0)
            and muon (0.95).
        weight_decay: Decay of the weights, 0 or more; decoupled from the gradient for adamw (default 0.01) and muon
            (0.1), added to it for the others (0).
        rho: Decay of the mean square of rmsprop and adadelta, in [0, 1); default 0.9.
        beta1: Decay of the first moment of adam, adamw, adamax, nadam and radam, in [0, 1); default 0.9.
        beta2: Decay of the second moment of the same, in [0, 1); default 0.999.
        eps: Added to the denominator, above 0; default 1e-10 for adagrad, 1e-6 for adadelta, 1e-8 for the others.
        initial_accumulator_value: Where adagrad's sum of squares starts, 0 or more; default 0.
        momentum_decay: How fast nadam's momentum grows to beta1, 0 or more; default 0.004.
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
    initial_accumulator_value: float | None = None
    momentum_decay: float | None = None
    init_args: dict[str, Any] | None = None


@dataclass(frozen=True)
class OptimizerRow:
    """One row of the table.

    Args:
        cls: The torch class.
        defaults: Our hyperparameters that it takes, with their defaults.
        source: Where the rule and the defaults come from.
        keras: Defaults that Keras has otherwise.
        fixed: Arguments of the class that make the row what it is.
        names: What the class calls a hyperparameter of ours, where it differs.
    """

    cls: type[Optimizer]
    defaults: Mapping[str, float]
    source: str
    keras: Mapping[str, float] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)


_SGD = {"lr": 0.01, "weight_decay": 0.0}
_MOMENTUM = {**_SGD, "momentum": 0.9}
_ADAM = {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
_EPS = {"eps": 1e-7}

OPTIMIZERS: dict[str, OptimizerRow] = {
    "sgd": OptimizerRow(torch.optim.SGD, _SGD, "w - lr g; Robbins & Monro 1951"),
    "momentum": OptimizerRow(
        torch.optim.SGD, _MOMENTUM, "w - lr v with v = momentum v + g; Polyak 1964, in PyTorch's form"
    ),
    "nesterov": OptimizerRow(
        torch.optim.SGD,
        _MOMENTUM,
        "momentum that looks ahead; Nesterov 1983, in the form of Sutskever et al. 2013",
        fixed={"nesterov": True},
    ),
    "adagrad": OptimizerRow(
        torch.optim.Adagrad,
        {"lr": 0.01, "initial_accumulator_value": 0.0, "eps": 1e-10, "weight_decay": 0.0},
        "lr over the root of the sum of all squared gradients; Duchi et al. 2011",
        keras={"lr": 0.001, "initial_accumulator_value": 0.1, **_EPS},
    ),
    "adadelta": OptimizerRow(
        torch.optim.Adadelta,
        {"lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0},
        "the ratio of two running roots, of steps and of gradients, times lr; Zeiler 2012 (arXiv 1212.5701)",
        keras={"lr": 0.001, "rho": 0.95, **_EPS},
    ),
    "rmsprop": OptimizerRow(
        torch.optim.RMSprop,
        {"lr": 0.001, "rho": 0.9, "momentum": 0.0, "eps": 1e-8, "weight_decay": 0.0},
        "lr over the root of a running mean square; Hinton 2012, lecture 6e, and its defaults (PyTorch: 0.01, 0.99)",
        keras=_EPS,  # outside the root, as in TensorFlow 2; Keras 3 adds it inside
        names={"rho": "alpha"},
    ),
    "adam": OptimizerRow(
        torch.optim.Adam,
        _ADAM,
        "running mean over running root, corrected for their start; Kingma & Ba 2015 (arXiv 1412.6980)",
        keras=_EPS,
    ),
    "adamw": OptimizerRow(
        torch.optim.AdamW,
        {**_ADAM, "weight_decay": 0.01},
        "adam with decoupled weight decay, times lr as in PyTorch; Loshchilov & Hutter 2019 (arXiv 1711.05101)",
        keras={"weight_decay": 0.004, **_EPS},
    ),
    "adamax": OptimizerRow(
        torch.optim.Adamax,
        {**_ADAM, "lr": 0.002},
        "adam with the largest gradient in place of the root; Kingma & Ba 2015, algorithm 2, and its defaults",
        keras={"lr": 0.001, **_EPS},
    ),
    "nadam": OptimizerRow(
        torch.optim.NAdam,
        {**_ADAM, "lr": 0.002, "momentum_decay": 0.004},
        "adam with Nesterov momentum; Dozat 2016, algorithm 2, with its momentum schedule",
        keras={"lr": 0.001, "momentum_decay": 1.0, **_EPS},  # Keras raises 0.96 to the step, not to 0.004 times it
    ),
    "radam": OptimizerRow(
        torch.optim.RAdam,
        _ADAM,
        "adam whose first steps are held back, while rho is 5 or less (there 4); Liu et al. 2020 (arXiv 1908.03265)",
    ),
    "muon": OptimizerRow(
        MuonAdamW,
        {"lr": 0.001, "momentum": 0.95, "weight_decay": 0.1},
        "orthogonalized momentum for matrices, adamw for the rest; Jordan et al. 2024, Liu et al. 2025",
        keras={"weight_decay": 0.004},
    ),
}

_BELOW_ONE = ("momentum", "rho", "beta1", "beta2")
_ABOVE_ZERO = ("lr", "eps")
_NOT_NEGATIVE = ("weight_decay", "initial_accumulator_value", "momentum_decay")
_HYPERPARAMETERS = ("lr", "momentum", "weight_decay", *_BELOW_ONE[1:], "eps", *_NOT_NEGATIVE[1:])
# On CPU `fused` exists for these alone, and Adam then takes four fifths of the time (LOG.md, 2026-11-21).
_FUSED = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad)


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
    if key in _ABOVE_ZERO and not 0 < value < math.inf:
        raise ConfigError(key, f"must be above 0 and finite; got {value!r}")
    if key in _NOT_NEGATIVE and not 0 <= value < math.inf:
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


def hyperparameters(config: OptimizerConfig, keras: bool = False) -> dict[str, float]:
    """The hyperparameters of an optimizer of the table, given or by default.

    Args:
        config: Which, and what was given.
        keras: Keras's defaults where they differ.
    """
    row = OPTIMIZERS[config.name]
    defaults = {**row.defaults, **(row.keras if keras else {})}
    return {k: v if (v := getattr(config, k)) is not None else default for k, default in defaults.items()}


def build_optimizer(
    config: OptimizerConfig, groups: Iterable[dict[str, Any]], fused: bool = True, keras: bool = False
) -> Optimizer:
    """An optimizer over parameter groups, each a dict with `params` and, where it differs, its own hyperparameters.

    Args:
        config: Which, and its hyperparameters.
        groups: What it trains.
        fused: Use torch's fused step where there is one.
        keras: Keras's defaults for what `config` leaves open.

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
    values: dict[str, Any] = {row.names.get(k, k): v for k, v in hyperparameters(config, keras).items()}
    if "beta1" in values:
        values["betas"] = (values.pop("beta1"), values.pop("beta2"))
    speed = {"fused": True} if fused and row.cls in _FUSED else {}
    return row.cls(list(groups), **values, **row.fixed, **speed)  # type: ignore[arg-type]
