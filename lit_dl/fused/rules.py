"""Update rules of torch's optimizers for stacks: every member with hyperparameters and a step count of its own.

A rule works on blocks (members, n) of parameters, gradients and state, and on coefficients (members, 1) computed from
the hyperparameters once a step, in float64. Nothing is read from the device, and no number is a Python number that
changes, so a step can be captured as a CUDA graph. The formulas are those of torch 2.14 (`torch/optim`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Rule:
    """An update rule.

    Args:
        coefficients: (hyperparameters (members,), step (members,) from 1, scalars (members,)) -> coefficients
            (members,), all float64. May change the scalars in place.
        update: (parameters, gradients, state, coefficients) changes parameters and state in place; the gradients may
            be overwritten.
        state: Names in torch's optimizer state of the tensors with the shape of the parameter.
        scalars: Names there of the numbers, with their initial values; the step count is not among them.
        counts_steps: Whether torch's state holds a step count.
        initial: Initial value of the state, by the options of a parameter group.
        with_momentum: Names of the state that torch keeps only where the momentum is not 0.
        by_matrix: Whether `update` needs matrices, (members, rows, columns), instead of blocks.
    """

    coefficients: Callable[[Tensors, Tensor, Tensors], Tensors]
    update: Callable[[Tensor, Tensor, Tensors, Tensors], None]
    state: tuple[str, ...] = ()
    scalars: Mapping[str, float] = field(default_factory=dict)
    counts_steps: bool = True
    initial: Callable[[Options], float] = lambda _: 0.0
    with_momentum: tuple[str, ...] = ()
    by_matrix: bool = False


def _decayed(p: Tensor, g: Tensor, c: Tensors) -> Tensor:
    """Adds the weight decay to the gradients. With a decay of 0, they stay the same to the last bit."""
    return g.addcmul_(p, c["weight_decay"]) if "weight_decay" in c else g


_DECAYS = ("beta1", "beta2", "rho", "alpha", "momentum")


def _with_complements(h: Tensors) -> Tensors:
    """Adds what is left of 1 for each decay, while it is float64: in float32, 1 - 0.999 has an error of 5e-5."""
    return {**h, **{f"1-{name}": 1 - h[name] for name in _DECAYS if name in h}}


def _plain(h: Tensors, step: Tensor, scalars: Tensors) -> Tensors:  # noqa: ARG001 - the signature of all
    return {**_with_complements(h), "minus_lr": -h["lr"]}


def _sgd(p: Tensor, g: Tensor, s: Tensors, c: Tensors) -> None:
    g = _decayed(p, g, c)
    if "momentum" in c:
        g = s["momentum_buffer"].mul_(c["momentum"]).add_(g)
    p.addcmul_(g, c["minus_lr"])


def _nesterov(p: Tensor, g: Tensor, s: Tensors, c: Tensors) -> None:
    g = _decayed(p, g, c)
    s["momentum_buffer"].mul_(c["momentum"]).add_(g)
    p.addcmul_(g.addcmul_(s["momentum_buffer"], c["momentum"]), c["minus_lr"])


def _adagrad_coefficients(h: Tensors, step: Tensor, scalars: Tensors) -> Tensors:  # noqa: ARG001
    return {**h, "minus_lr": -h["lr"] / (1 + (step - 1) * h["lr_decay"])}


def _adagrad(p: Tensor, g: Tensor, s: Tensors, c: Tensors) -> None:
    g = _decayed(p, g, c)
    s["sum"].addcmul_(g, g)
    p.addcdiv_(g.mul_(c["minus_lr"]), s["sum"].sqrt().add_(c["eps"]))


def _adadelta(p: Tensor, g: Tensor, s: Tensors, c: Tensors) -> None:
    g = _decayed(p, g, c)
    _mean_square(s["square_avg"], g, c["rho"], c["1-rho"])
    delta = s["acc_delta"].add(c["eps"]).sqrt_()
    delta.div_(s["square_avg"].add(c["eps"]).sqrt_()).mul_(g)
    _mean_square(s["acc_delta"], delta, c["rho"], c["1-rho"])
    p.addcmul_(delta, c["minus_lr"])


def _mean_square(mean: Tensor, g: Tensor, decay: Tensor, share: Tensor) -> None:
    mean.mul_(decay).addcmul_(g * g, share)


def _rmsprop(p: Tensor, g: Tensor, s: Tensors, c: Tensors) -> None:
    g = _decayed(p, g, c)
    _mean_square(s["square_avg"], g, c["alpha"], c["1-alpha"])
    ratio = g.div_(s["square_avg"].sqrt().add_(c["eps"]))
    if "momentum" in c:
        ratio = s["momentum_buffer"].mul_(c["momentum"]).add_(ratio)
    p.addcmul_(ratio, c["minus_lr"])


def _adam_coefficients(h: Tensors, step: Tensor, scalars: Tensors) -> Tensors:  # noqa: ARG001
    return {
        **_with_complements(h),
        "minus_step_size": -h["lr"] / (1 - h["beta1"] ** step),
        "root": (1 - h["beta2"] ** step).sqrt(),
        "keep": 1 - h["lr"] * h.get("weight_decay", 0.0),
    }


def _moments(g: Tensor, s: Tensors, c: Tensors) -> None:
    s["exp_avg"].lerp_(g, c["1-beta1"])
    _mean_square(s["exp_avg_sq"], g, c["beta2"], c["1-beta2"])


def _adam(p: Tensor, g: Tensor, s: Tensors, c: Tensors) -> None:
    _moments(_decayed(p, g, c), s, c)
    denominator = s["exp_avg_sq"].sqrt().div_(c["root"]).add_(c["eps"])
    p.addcdiv_(torch.mul(s["exp_avg"], c["minus_step_size"]), denominator)


def _adamw(p: Tensor, g: Tensor, s: Tensors, c: Tensors) -> None:
    if "weight_decay" in c:
        p.mul_(c["keep"])
    _adam(p, g, s, {name: value for name, value in c.items() if name != "weight_decay"})


def _adamax(p: Tensor, g: Tensor, s: Tensors, c: Tensors) -> None:
    g = _decayed(p, g, c)
    s["exp_avg"].lerp_(g, c["1-beta1"])
    torch.maximum(s["exp_inf"].mul_(c["beta2"]), g.abs().add_(c["eps"]), out=s["exp_inf"])
    p.addcdiv_(torch.mul(s["exp_avg"], c["minus_step_size"]), s["exp_inf"])


def _nadam_coefficients(h: Tensors, step: Tensor, scalars: Tensors) -> Tensors:
    mu, mu_next = (h["beta1"] * (1 - 0.5 * 0.96 ** (at * h["momentum_decay"])) for at in (step, step + 1))
    product = scalars["mu_product"].mul_(mu)
    return {
        **_with_complements(h),
        "root": (1 - h["beta2"] ** step).sqrt(),
        "of_gradient": -h["lr"] * (1 - mu) / (1 - product),
        "of_mean": -h["lr"] * mu_next / (1 - product * mu_next),
    }


def _nadam(p: Tensor, g: Tensor, s: Tensors, c: Tensors) -> None:
    g = _decayed(p, g, c)
    _moments(g, s, c)
    denominator = s["exp_avg_sq"].sqrt().div_(c["root"]).add_(c["eps"])
    p.addcdiv_(g.mul_(c["of_gradient"]).addcmul_(s["exp_avg"], c["of_mean"]), denominator)


def _radam_coefficients(h: Tensors, step: Tensor, scalars: Tensors) -> Tensors:  # noqa: ARG001
    correction = 1 - h["beta2"] ** step
    limit = 2 / (1 - h["beta2"]) - 1
    length = limit - 2 * step * h["beta2"] ** step / correction
    is_long = length > 5.0
    ratio = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
    step_size = -h["lr"] / (1 - h["beta1"] ** step)
    return {
        **_with_complements(h),
        "rectified": torch.where(is_long, step_size * (correction * ratio).sqrt(), 0.0),
        "held_back": torch.where(is_long, 0.0, step_size),
    }


def _radam(p: Tensor, g: Tensor, s: Tensors, c: Tensors) -> None:
    _moments(_decayed(p, g, c), s, c)
    factor = torch.div(c["rectified"], s["exp_avg_sq"].sqrt().add_(c["eps"])).add_(c["held_back"])
    p.addcmul_(factor, s["exp_avg"])


def _muon(p: Tensor, g: Tensor, s: Tensors, c: Tensors) -> None:
    """`p` and all others are matrices (members, rows, columns), the coefficients (members, 1, 1)."""
    buffer = s["momentum_buffer"].lerp_(g, c["1-momentum"])
    direction = orthogonalized(g.lerp(buffer, c["momentum"]))
    p.mul_(c["keep"])
    p.addcmul_(direction.to(p.dtype), c["minus_lr"] * (0.2 * max(p.shape[1:]) ** 0.5))


def _muon_coefficients(h: Tensors, step: Tensor, scalars: Tensors) -> Tensors:  # noqa: ARG001
    return {**_with_complements(h), "minus_lr": -h["lr"], "keep": 1 - h["lr"] * h.get("weight_decay", 0.0)}


def orthogonalized(matrices: Tensor) -> Tensor:
    """Brings the singular values of matrices (members, rows, columns) near to 1: torch's Newton-Schulz, in bfloat16."""
    x = matrices.bfloat16()
    is_tall = x.shape[1] > x.shape[2]
    x = x.mT if is_tall else x
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, polynomial, x, beta=3.4445)
    return x.mT if is_tall else x


_MOMENTUM, _ADAM_STATE = ("momentum_buffer",), ("exp_avg", "exp_avg_sq")

RULES: dict[str, Rule] = {
    "SGD": Rule(_plain, _sgd, _MOMENTUM, counts_steps=False, with_momentum=_MOMENTUM),
    "SGD nesterov": Rule(_plain, _nesterov, _MOMENTUM, counts_steps=False, with_momentum=_MOMENTUM),
    "Adagrad": Rule(
        _adagrad_coefficients, _adagrad, ("sum",), initial=lambda group: float(group["initial_accumulator_value"])
    ),
    "Adadelta": Rule(_plain, _adadelta, ("square_avg", "acc_delta")),
    "RMSprop": Rule(_plain, _rmsprop, ("square_avg", *_MOMENTUM), with_momentum=_MOMENTUM),
    "Adam": Rule(_adam_coefficients, _adam, _ADAM_STATE),
    "AdamW": Rule(_adam_coefficients, _adamw, _ADAM_STATE),
    "Adamax": Rule(_adam_coefficients, _adamax, ("exp_avg", "exp_inf")),
    "NAdam": Rule(_nadam_coefficients, _nadam, _ADAM_STATE, scalars={"mu_product": 1.0}),
    "RAdam": Rule(_radam_coefficients, _radam, _ADAM_STATE),
    "Muon": Rule(_muon_coefficients, _muon, _MOMENTUM, counts_steps=False, by_matrix=True),
}
"""By the class of the optimizer. `MuonAdamW` has groups of two kinds."""
