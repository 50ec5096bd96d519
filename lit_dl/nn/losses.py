"""Losses: a table by name, and the function that builds one.

All losses are means over the samples of a batch (and over the outputs).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_dl.errors import ConfigError
from lit_dl.options import FRACTION, POSITIVE, Option, resolve_options

LossFunction = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """A row of the table of losses.

    Args:
        function: (outputs (batch, n) float32, targets, options by name) -> scalar. An option is a number, or a scalar
            tensor where the function is mapped over the members of a stack. The targets are labels (batch,)
            int64 if `takes_labels`, else values (batch, n) float32: for a classifier the labels as one-hot, or as
            0 and 1 for a single output.
        source: What it computes, and where it was published.
        output_activations: The output activations that it is computed from; the first is the default.
        takes_labels: Whether it takes labels, and so cannot be used for regression.
        options: Arguments of `SupervisedModule` that it takes.
        min_outputs, max_outputs: Number of outputs that it can be computed from.
    """

    function: Callable[..., Tensor]
    source: str
    output_activations: tuple[str, ...] = ("linear",)
    takes_labels: bool = True
    options: Mapping[str, Option] = field(default_factory=dict)
    min_outputs: int = 2
    max_outputs: float = math.inf


def _cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float | Tensor) -> Tensor:
    if isinstance(label_smoothing, Tensor):  # of a member of a stack; torch's function takes a number alone
        return _nll(logits.log_softmax(1), labels, label_smoothing)
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def _nll(log_probabilities: Tensor, labels: Tensor, label_smoothing: float | Tensor) -> Tensor:
    likelihood = F.nll_loss(log_probabilities, labels)
    return (1 - label_smoothing) * likelihood - label_smoothing * log_probabilities.mean()


def _hinge(outputs: Tensor, labels: Tensor) -> Tensor:
    # `F.multi_margin_loss` cannot be mapped over the members of a stack.
    labels = labels.unsqueeze(1)
    margins = (1 - outputs.gather(1, labels) + outputs).clamp(min=0).scatter(1, labels, 0.0)
    return margins.mean()


def _binary_cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float | Tensor) -> Tensor:
    is_smooth = isinstance(label_smoothing, Tensor) or label_smoothing
    smooth = targets * (1 - label_smoothing) + 0.5 * label_smoothing if is_smooth else targets
    return F.binary_cross_entropy_with_logits(logits, smooth)


def _perceptron(scores: Tensor, labels: Tensor) -> Tensor:
    scores = scores.squeeze(1)
    # A mask instead of max(0, -y score): a wrong answer exactly on the threshold has a gradient too.
    wrong = (scores > 0) != labels.bool()
    return (torch.where(labels.bool(), -scores, scores) * wrong).mean()


def _rmse(outputs: Tensor, targets: Tensor) -> Tensor:
    # The root of the mse has a NaN gradient where all errors are 0. The gradient of a norm is 0 there.
    norm: Tensor = torch.linalg.vector_norm(outputs - targets)
    return norm / math.sqrt(outputs.numel())


def _huber(outputs: Tensor, targets: Tensor, delta: float | Tensor) -> Tensor:
    if not isinstance(delta, Tensor):
        return F.huber_loss(outputs, targets, delta=delta)
    error = (outputs - targets).abs()
    return torch.where(error <= delta, 0.5 * error.square(), delta * (error - 0.5 * delta)).mean()


def _pseudo_huber(outputs: Tensor, targets: Tensor, delta: float | Tensor) -> Tensor:
    return (delta**2 * ((1 + ((outputs - targets) / delta).square()).sqrt() - 1)).mean()


def _log_cosh(outputs: Tensor, targets: Tensor) -> Tensor:
    error = outputs - targets
    # log(cosh(x)) = x + log(1 + exp(-2x)) - log 2, which does not overflow.
    return (error + F.softplus(-2.0 * error) - math.log(2.0)).mean()


def _values(function: Callable[..., Tensor], source: str, **options: Option) -> Loss:
    """Returns the row of a loss between values."""
    output_activations = ("linear", "sigmoid", "softmax")
    return Loss(function, source, output_activations, takes_labels=False, options=options, min_outputs=1)


_SMOOTHING = {"label_smoothing": Option(0.0, FRACTION)}
_DELTA = Option(1.0, POSITIVE)

LOSSES: dict[str, Loss] = {
    "cross_entropy": Loss(
        _cross_entropy,
        "negative log likelihood of the softmax over the logits, in nats; smoothing by Szegedy et al. 2016",
        options=_SMOOTHING,
    ),
    "nll": Loss(
        _nll,
        "negative log likelihood of a log-softmax output: equal to cross_entropy",
        ("log_softmax",),
        options=_SMOOTHING,
    ),
    "binary_cross_entropy": Loss(
        _binary_cross_entropy,
        "of the sigmoid of each logit, in nats; smoothing towards one half, as Keras",
        takes_labels=False,
        options=_SMOOTHING,
        min_outputs=1,
    ),
    "hinge": Loss(_hinge, "multi-class margin loss, margin 1, divided by the number of classes (PyTorch)"),
    "perceptron": Loss(
        _perceptron,
        "the distance by which a score is wrong: its gradient is the rule of Rosenblatt 1958",
        min_outputs=1,
        max_outputs=1,
    ),
    "mse": _values(F.mse_loss, "mean squared error"),
    "mae": _values(F.l1_loss, "mean absolute error"),
    "rmse": _values(_rmse, "root of the mean squared error of a batch"),
    "huber": _values(_huber, "squared up to delta, linear beyond; Huber 1964, eq. 3.1 with k = delta", delta=_DELTA),
    "pseudo_huber": _values(
        _pseudo_huber, "delta^2 (sqrt(1 + (e / delta)^2) - 1); Charbonnier et al. 1997", delta=_DELTA
    ),
    "log_cosh": _values(_log_cosh, "log(cosh(e)), as Keras"),
}


def loss_options(name: str, given: Mapping[str, float | None]) -> dict[str, float]:
    """Returns the options of a loss, given or by default.

    Raises:
        ConfigError: See `resolve_options`.
    """
    return resolve_options(LOSSES, "loss", name, given)


def check_outputs(name: str, outputs: int, output_activation: str | None) -> str:
    """Returns the output activation of the network: the given one, or the default of the loss.

    Args:
        name: A loss of the table.
        outputs: Number of outputs of the network.
        output_activation: The given output activation. `None`: not given.

    Raises:
        ConfigError: The loss cannot be computed from such outputs.
    """
    row = LOSSES[name]
    if output_activation is not None and output_activation not in row.output_activations:
        fits = [loss for loss, other in LOSSES.items() if output_activation in other.output_activations]
        instead = f" or choose another loss ({', '.join(fits)})" if fits else ""
        taken = " or ".join(row.output_activations)
        raise ConfigError(
            "network.output_activation",
            f"{output_activation!r} does not go with loss={name!r}, which takes {taken} outputs; leave it out{instead}",
        )
    if not row.min_outputs <= outputs <= row.max_outputs:
        need = "1" if row.max_outputs == 1 else f"{row.min_outputs} or more"
        raise ConfigError("network.outputs", f"must be {need} for loss={name!r}; got {outputs!r}")
    if output_activation in ("softmax", "log_softmax") and outputs < 2:
        raise ConfigError("network.outputs", f"must be 2 or more for output_activation={output_activation!r}; got 1")
    return output_activation or row.output_activations[0]


def build_loss(name: str, outputs: int, given: Mapping[str, float | None] | None = None) -> LossFunction:
    """Returns the named loss, a function of outputs (batch, outputs) and targets.

    The targets are labels (batch,) int64, or values of the shape of the outputs.

    Args:
        name: A name of the table.
        outputs: Number of outputs of the network.
        given: Values of its options. `None`: the default of the row.

    Raises:
        ConfigError: See `loss_options`.
    """
    return partial(compute_loss, name, outputs, loss_options(name, given or {}))


def compute_loss(
    name: str, outputs: int, options: Mapping[str, float | Tensor], predicted: Tensor, targets: Tensor
) -> Tensor:
    """Returns the named loss with these options; see `build_loss`."""
    row = LOSSES[name]
    if predicted.dtype in (torch.float16, torch.bfloat16):
        predicted = predicted.float()  # half precision is too coarse for a loss, and too narrow for its sum
    if not row.takes_labels and not targets.is_floating_point():
        targets = F.one_hot(targets, outputs) if outputs > 1 else targets.unsqueeze(1)
    return row.function(predicted, targets if row.takes_labels else targets.to(predicted.dtype), **options)
