"""Losses by name: one table, one builder. All are means over the samples of a batch (and over the outputs)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_dl.errors import ConfigError, unknown_name

LossFunction = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """One row of the table.

    Args:
        function: (outputs (batch, n) float32, targets, parameters by name) -> scalar. The targets are labels (batch,)
            int64 where `labels` says so, else values (batch, n) float32: for a classifier the labels as one-hot, or as
            0 and 1 for a single output.
        source: What it computes, and where the definition comes from.
        outputs: The output activations it goes with; the first is what it takes by default.
        labels: Whether it takes labels, and so serves no regression.
        parameters: What else it takes, with defaults: `label_smoothing`, `delta`.
        least, most: Outputs that it can be computed from.
    """

    function: Callable[..., Tensor]
    source: str
    outputs: tuple[str, ...] = ("linear",)
    labels: bool = True
    parameters: Mapping[str, float] = field(default_factory=dict)
    least: int = 2
    most: float = math.inf


def _nll(log_probabilities: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    likelihood = F.nll_loss(log_probabilities, labels)
    return (1 - label_smoothing) * likelihood - label_smoothing * log_probabilities.mean()


def _binary_cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    smooth = targets * (1 - label_smoothing) + 0.5 * label_smoothing if label_smoothing else targets
    return F.binary_cross_entropy_with_logits(logits, smooth)


def _perceptron(scores: Tensor, labels: Tensor) -> Tensor:
    scores = scores.squeeze(1)
    # As a mask and not as max(0, -y score), so that a wrong answer right on the threshold is corrected too.
    wrong = (scores > 0) != labels.bool()
    return (torch.where(labels.bool(), -scores, scores) * wrong).mean()


def _rmse(outputs: Tensor, targets: Tensor) -> Tensor:
    # Not as a root of mse, whose gradient is NaN where all errors are 0; that of a norm is 0 there.
    norm: Tensor = torch.linalg.vector_norm(outputs - targets)
    return norm / math.sqrt(outputs.numel())


def _pseudo_huber(outputs: Tensor, targets: Tensor, delta: float) -> Tensor:
    return (delta**2 * ((1 + ((outputs - targets) / delta).square()).sqrt() - 1)).mean()


def _log_cosh(outputs: Tensor, targets: Tensor) -> Tensor:
    error = outputs - targets
    # log(cosh(x)) = x + log(1 + exp(-2x)) - log 2, which does not overflow.
    return (error + F.softplus(-2.0 * error) - math.log(2.0)).mean()


def _values(function: Callable[..., Tensor], source: str, **parameters: float) -> Loss:
    return Loss(function, source, ("linear", "sigmoid", "softmax"), labels=False, parameters=parameters, least=1)


LOSSES: dict[str, Loss] = {
    "cross_entropy": Loss(
        F.cross_entropy,
        "negative log likelihood of the softmax over the logits, in nats; smoothing by Szegedy et al. 2016",
        parameters={"label_smoothing": 0.0},
    ),
    "nll": Loss(
        _nll,
        "negative log likelihood of a log-softmax output: equal to cross_entropy",
        ("log_softmax",),
        parameters={"label_smoothing": 0.0},
    ),
    "binary_cross_entropy": Loss(
        _binary_cross_entropy,
        "of the sigmoid of each logit, in nats; smoothing towards one half, as Keras",
        labels=False,
        parameters={"label_smoothing": 0.0},
        least=1,
    ),
    "hinge": Loss(F.multi_margin_loss, "multi-class margin loss, margin 1, divided by the number of classes (PyTorch)"),
    "perceptron": Loss(
        _perceptron,
        "the distance by which a score is wrong: its gradient is the rule of Rosenblatt 1958",
        least=1,
        most=1,
    ),
    "mse": _values(F.mse_loss, "mean squared error"),
    "mae": _values(F.l1_loss, "mean absolute error"),
    "rmse": _values(_rmse, "root of the mean squared error of a batch"),
    "huber": _values(F.huber_loss, "squared up to delta, linear beyond; Huber 1964, eq. 3.1 with k = delta", delta=1.0),
    "pseudo_huber": _values(_pseudo_huber, "delta^2 (sqrt(1 + (e / delta)^2) - 1); Charbonnier et al. 1997", delta=1.0),
    "log_cosh": _values(_log_cosh, "log(cosh(e)), as Keras"),
}


def loss_parameters(name: str, given: Mapping[str, float | None]) -> dict[str, float]:
    """The parameters of a loss, given or by default.

    Raises:
        ConfigError: No such loss, a parameter that it does not have, or one out of range.
    """
    if name not in LOSSES:
        raise unknown_name("loss", name, LOSSES)
    row = LOSSES[name]
    chosen = {key: value for key, value in given.items() if value is not None}
    for key, value in chosen.items():
        if key not in row.parameters:
            takers = ", ".join(taker for taker, other in LOSSES.items() if key in other.parameters)
            raise ConfigError(key, f"{value!r} does not apply to loss={name!r}, but to {takers}; set it to null")
    if not 0 <= chosen.get("label_smoothing", 0.0) < 1:
        raise ConfigError("label_smoothing", f"must be in [0, 1); got {chosen['label_smoothing']!r}")
    if not 0 < chosen.get("delta", 1.0) < math.inf:
        raise ConfigError("delta", f"must be above 0 and finite; got {chosen['delta']!r}")
    return {**row.parameters, **chosen}


def check_outputs(name: str, outputs: int, output_activation: str | None) -> str:
    """The output activation of a network that the loss is computed from.

    Args:
        name: A loss of the table.
        outputs: Number of outputs of the network.
        output_activation: What was asked for; `None`: what the loss takes.

    Raises:
        ConfigError: The loss cannot be computed from such outputs.
    """
    row = LOSSES[name]
    if output_activation is not None and output_activation not in row.outputs:
        fits = [loss for loss, other in LOSSES.items() if output_activation in other.outputs]
        instead = f" or choose another loss ({', '.join(fits)})" if fits else ""
        raise ConfigError(
            "network.output_activation",
            f"{output_activation!r} does not go with loss={name!r}, which takes {' or '.join(row.outputs)} outputs; "
            f"leave it out{instead}",
        )
    if not row.least <= outputs <= row.most:
        need = "1" if row.most == 1 else f"{row.least} or more"
        raise ConfigError("network.outputs", f"must be {need} for loss={name!r}; got {outputs!r}")
    if output_activation in ("softmax", "log_softmax") and outputs < 2:
        raise ConfigError("network.outputs", f"must be 2 or more for output_activation={output_activation!r}; got 1")
    return output_activation or row.outputs[0]


def loss_function(name: str, outputs: int, given: Mapping[str, float | None] | None = None) -> LossFunction:
    """The named loss, of outputs (batch, outputs) and targets: labels (batch,) int64, or values like the outputs.

    Args:
        name: A name of the table.
        outputs: Number of outputs of the network.
        given: Values of its parameters; `None`: the row's default.

    Raises:
        ConfigError: As `loss_parameters`.
    """
    return partial(_compute, name, outputs, loss_parameters(name, given or {}))


def _compute(name: str, outputs: int, parameters: Mapping[str, float], predicted: Tensor, targets: Tensor) -> Tensor:
    row = LOSSES[name]
    if predicted.dtype in (torch.float16, torch.bfloat16):
        predicted = predicted.float()  # half precision is too coarse for a loss, and too narrow for its sum
    if not row.labels and not targets.is_floating_point():
        targets = F.one_hot(targets, outputs) if outputs > 1 else targets.unsqueeze(1)
    return row.function(predicted, targets if row.labels else targets.to(predicted.dtype), **parameters)
