"""Averages what a module logs over all ranks (`sync_dist`)."""

from __future__ import annotations

from functools import wraps
from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor

_SYNC_DIST = 7
"""Index of `sync_dist` among the positional arguments of `log` after the value. A module that passes it by position is
left alone."""


def sync_logging(module: LightningModule) -> None:
    """Makes the module's `log` and `log_dict` average numbers over the ranks, even when it passes `sync_dist=False`.

    Early stopping, checkpoints and a sweep need one number for all ranks. Metrics of torchmetrics are synchronized
    anyway. A value that is logged with `rank_zero_only` is not changed.
    """
    log = module.log

    @wraps(log)
    def log_averaged(name: str, value: Any, *args: Any, **options: Any) -> None:
        is_number = isinstance(value, Tensor | int | float)
        if is_number and not options.get("rank_zero_only") and len(args) < _SYNC_DIST:
            options["sync_dist"] = True
        log(name, value, *args, **options)

    module.log = log_averaged  # type: ignore[method-assign]
