"""Losses by name: one table, one builder. All are means over the samples of a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from lit_dl.errors import unknown_name

LossFunction = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """One row of the table.

    Args:
        function: (logits (batch, classes) float32, labels (batch,) int64) -> scalar.
        source: Where the definition comes from.
    """

    function: LossFunction
    source: str


LOSSES: dict[str, Loss] = {
    "cross_entropy": Loss(F.cross_entropy, "negative log likelihood of the softmax over the logits, in nats"),
    "hinge": Loss(F.multi_margin_loss, "multi-class margin loss, margin 1, divided by the number of classes (PyTorch)"),
}


def loss_function(name: str) -> LossFunction:
    """The named loss.

    Raises:
        ConfigError: No such loss.
    """
    if name not in LOSSES:
        raise unknown_name("loss", name, LOSSES)
    return LOSSES[name].function
