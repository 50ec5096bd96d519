"""One number for all devices that train together."""

from __future__ import annotations

from functools import wraps
from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor

_SYNC_DIST = 7  # its place among the positional arguments after the value; who counts so far knows what he wants


def sync_logging(module: LightningModule) -> None:
    """Has the module's `log` and `log_dict` average numbers over the ranks, whatever it says itself: early stopping,
    checkpoints and a sweep decide by one number. Metrics of torchmetrics do so anyway; what is logged by rank 0 alone
    stays its own.
    """
    log = module.log

    @wraps(log)
    def averaged(name: str, value: Any, *args: Any, **options: Any) -> None:
        is_number = isinstance(value, Tensor | int | float)
        if is_number and not options.get("rank_zero_only") and len(args) < _SYNC_DIST:
            options["sync_dist"] = True
        log(name, value, *args, **options)

    module.log = averaged  # type: ignore[method-assign]
