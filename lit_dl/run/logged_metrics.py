"""What a module has logged up to a moment of its training, and whether its loss is finite."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer
from torch import Tensor


def scalar_metrics(trainer: Trainer) -> dict[str, float]:
    """Returns the metrics of this rank that are one number: the last value of each, however old."""
    return {name: float(value) for name, value in sorted(trainer.callback_metrics.items()) if value.numel() == 1}


def logged_in_validation(trainer: Trainer) -> set[str]:
    """Returns the names of the metrics that the validation has logged which is just ending."""
    return _names(trainer.fit_loop.epoch_loop.val_loop._results)


def logged_in_epoch(trainer: Trainer) -> set[str]:
    """Returns the names of the metrics that training has logged in the epoch that is just ending."""
    return _names(trainer.fit_loop.epoch_loop._results)


def _names(results: Any) -> set[str]:
    """Returns the names in what Lightning has collected. It starts anew with each epoch and each validation."""
    return {name for on_step in (False, True) for name in results.metrics(on_step)["callback"]}


def loss_is_finite(metrics: Mapping[str, float], output: Any) -> bool:
    """Returns whether every loss that is known is finite.

    Args:
        metrics: A loss among them has the word loss in its name, as `val_loss` and `train/loss` have.
        output: The output of the last training step; `None`: there is none.
    """
    losses = [value for name, value in metrics.items() if _is_loss(name)]
    of_step = output.get("loss") if isinstance(output, Mapping) else output
    if isinstance(of_step, Tensor) and of_step.numel() == 1:
        losses.append(float(of_step))
    return all(math.isfinite(loss) for loss in losses)


def _is_loss(name: str) -> bool:
    return any(word.endswith("loss") for word in re.split(r"[^a-z]+", name.lower()))
