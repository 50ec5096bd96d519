"""Optimizers: a table by name, and the function that builds one. Any other optimizer is named by its import path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim import Optimizer

from lit_dl.config.classes import import_class
from lit_dl.errors import ConfigError
from lit_dl.optim.muon import MuonAdamW
from lit_dl.options import FRACTION, NON_NEGATIVE, POSITIVE, Option, given_options, resolve_options


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer and its hyperparameters. `None` means the default of the optimizer, which stands in its line
    above; or the default of Keras if `model.defaults` is keras.

    Args:
        name: One of the table, or the import path of a torch Optimizer class.
        lr: Learning rate, above 0.
        momentum: Share of the last step that is added to the next one, in [0, 1).
        weight_decay: Decay of the weights, 0 or more; decoupled from the gradient for adamw and muon, added to it for
            the others.
        rho: Decay of the running mean of squared gradients, in [0, 1).
        beta1: Decay of the first moment, in [0, 1).
        beta2: Decay of the second moment, in [0, 1).
        eps: Added to the denominator, above 0.
        initial_accumulator_value: Initial value of adagrad's sum of squares, 0 or more.
        momentum_decay: How fast nadam's momentum grows to beta1, 0 or more.
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
    """A row of the table of optimizers.

    Args:
        cls: The torch class.
        options: Keys of `OptimizerConfig` that it takes.
        source: Where the rule and the defaults were published.
        fixed: Arguments of the class that make the row what it is.
        names: Arguments of the class that have another name than our option, by option.
    """

    cls: type[Optimizer]
    options: Mapping[str, Option]
    source: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)


_NO_DECAY = Option(0.0, NON_NEGATIVE)
_SGD = {"lr": Option(0.01, POSITIVE), "weight_decay": _NO_DECAY}
_MOMENTUM = {**_SGD, "momentum": Option(0.9, FRACTION)}
_BETAS = {"beta1": Option(0.9, FRACTION), "beta2": Option(0.999, FRACTION)}
_LR, _LR_2 = Option(0.001, POSITIVE), Option(0.002, POSITIVE, keras=0.001)
_EPS = Option(1e-8, POSITIVE, keras=1e-7)
_ADAM = {"lr": _LR, **_BETAS, "eps": _EPS, "weight_decay": _NO_DECAY}

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
        {
            "lr": Option(0.01, POSITIVE, keras=0.001),
            "initial_accumulator_value": Option(0.0, NON_NEGATIVE, keras=0.1),
            "eps": Option(1e-10, POSITIVE, keras=1e-7),
            "weight_decay": _NO_DECAY,
        },
        "lr over the root of the sum of all squared gradients; Duchi et al. 2011",
    ),
    "adadelta": OptimizerRow(
        torch.optim.Adadelta,
        {
            "lr": Option(1.0, POSITIVE, keras=0.001),
            "rho": Option(0.9, FRACTION, keras=0.95),
            "eps": Option(1e-6, POSITIVE, keras=1e-7),
            "weight_decay": _NO_DECAY,
        },
        "the ratio of two running roots, of steps and of gradients, times lr; Zeiler 2012 (arXiv 1212.5701)",
    ),
    "rmsprop": OptimizerRow(
        torch.optim.RMSprop,
        {
            "lr": _LR,
            "rho": Option(0.9, FRACTION),
            "momentum": Option(0.0, FRACTION),
            "eps": _EPS,  # outside the root, as in TensorFlow 2; Keras 3 adds it inside
            "weight_decay": _NO_DECAY,
        },
        "lr over the root of a running mean square; Hinton 2012, lecture 6e, and its defaults (PyTorch: 0.01, 0.99)",
        names={"rho": "alpha"},
    ),
    "adam": OptimizerRow(
        torch.optim.Adam,
        _ADAM,
        "running mean over running root, corrected for their start; Kingma & Ba 2015 (arXiv 1412.6980)",
    ),
    "adamw": OptimizerRow(
        torch.optim.AdamW,
        {**_ADAM, "weight_decay": Option(0.01, NON_NEGATIVE, keras=0.004)},
        "adam with decoupled weight decay, times lr as in PyTorch; Loshchilov & Hutter 2019 (arXiv 1711.05101)",
    ),
    "adamax": OptimizerRow(
        torch.optim.Adamax,
        {**_ADAM, "lr": _LR_2},
        "adam with the largest gradient in place of the root; Kingma & Ba 2015, algorithm 2, and its defaults",
    ),
    "nadam": OptimizerRow(
        torch.optim.NAdam,
        # Keras raises 0.96 to the step, and not to 0.004 times the step.
        {**_ADAM, "lr": _LR_2, "momentum_decay": Option(0.004, NON_NEGATIVE, keras=1.0)},
        "adam with Nesterov momentum; Dozat 2016, algorithm 2, with its momentum schedule",
    ),
    "radam": OptimizerRow(
        torch.optim.RAdam,
        {**_ADAM, "eps": Option(1e-8, POSITIVE)},  # Keras has no radam
        "adam whose first steps are held back, while rho is 5 or less (there 4); Liu et al. 2020 (arXiv 1908.03265)",
    ),
    "muon": OptimizerRow(
        MuonAdamW,
        {
            "lr": _LR,
            "momentum": Option(0.95, FRACTION),
            "weight_decay": Option(0.1, NON_NEGATIVE, keras=0.004),
        },
        "orthogonalized momentum for matrices, adamw for the rest; Jordan et al. 2024, Liu et al. 2025",
    ),
}

# On a CPU `fused` exists for these alone. With it Adam takes four fifths of the time (LOG.md, 2026-11-21).
_FUSED = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad)


def check_optimizer(config: OptimizerConfig) -> None:
    """Refuses an optimizer that cannot be built.

    Raises:
        ConfigError: An unknown name, a value out of range, or a hyperparameter that the optimizer does not have.
    """
    if _is_import_path(config.name):
        _check_import_path(config)
        return
    hyperparameters(config)
    if config.init_args is not None:
        raise ConfigError(
            "init_args", f"{config.init_args!r} is for a class by import path, not for name={config.name!r}"
        )


def _is_import_path(name: str) -> bool:
    return "." in name


def _check_import_path(config: OptimizerConfig) -> None:
    for key, value in given_options(OPTIMIZERS, config).items():
        if value is not None:
            raise ConfigError(
                key, f"{value!r} does not apply to the class name={config.name!r}; write it as init_args.{key}"
            )
    import_class("name", config.name, Optimizer)


def hyperparameters(config: OptimizerConfig, keras: bool = False) -> dict[str, float]:
    """Returns the hyperparameters of an optimizer of the table, given or by default.

    Args:
        config: The optimizer, and the given hyperparameters.
        keras: Use the defaults of Keras.

    Raises:
        ConfigError: See `resolve_options`.
    """
    return resolve_options(OPTIMIZERS, "name", config.name, given_options(OPTIMIZERS, config), keras)


def build_optimizer(
    config: OptimizerConfig, groups: Iterable[dict[str, Any]], fused: bool = True, keras: bool = False
) -> Optimizer:
    """Builds an optimizer over parameter groups: dicts with `params` and, where they differ, hyperparameters.

    Args:
        config: The optimizer and its hyperparameters.
        groups: The parameter groups.
        fused: Use the fused step of torch where there is one.
        keras: Use the defaults of Keras.

    Raises:
        ConfigError: See `check_optimizer`; or a class by import path that refuses its `init_args`.
    """
    check_optimizer(config)
    if _is_import_path(config.name):
        cls = import_class("name", config.name, Optimizer)
        try:
            return cls(list(groups), **(config.init_args or {}))  # type: ignore[no-any-return]
        except (TypeError, ValueError) as error:
            raise ConfigError("init_args", f"{config.init_args!r} is refused by {config.name}: {error}") from None
    row = OPTIMIZERS[config.name]
    values: dict[str, Any] = {row.names.get(k, k): v for k, v in hyperparameters(config, keras).items()}
    if "beta1" in values:
        values["betas"] = (values.pop("beta1"), values.pop("beta2"))
    speed = {"fused": True} if fused and row.cls in _FUSED else {}
    return row.cls(list(groups), **values, **row.fixed, **speed)  # type: ignore[arg-type]
