"""Which epochs of a run are kept, and when it stops before its last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import EarlyStopping

from lit_dl.callbacks.checkpoints import BestCheckpoint, LastCheckpoint, TimedCheckpoint
from lit_dl.errors import never_logged
from lit_dl.modules.supervised import SupervisedModule
from lit_dl.run.run_config import CheckpointConfig, EarlyStoppingConfig


def check_monitors(
    module: LightningModule, stopping: EarlyStoppingConfig, keeping: CheckpointConfig, has_diagnostics: bool
) -> None:
    """Refuses a metric to watch that a module of ours does not log; of others nobody knows before they run.

    Raises:
        ConfigError: It is never logged.
    """
    if not isinstance(module, SupervisedModule) or not type(module).__module__.startswith("lit_dl."):
        return  # a subclass of the user's may log more
    logged = [*module.logged(), *["lr"] * module.is_scheduled, *["gradient_ratio"] * has_diagnostics]
    for key, metric in (("early_stopping", stopping.monitor), ("checkpoint", keeping.monitor)):
        if metric is not None and metric not in logged:
            raise never_logged(f"{key}.monitor", metric, logged)


def early_stopping(config: EarlyStoppingConfig, default: str | None) -> EarlyStopping | None:
    """The callback that stops a run; `None` where it is switched off or there is nothing to watch.

    Args:
        config: What was asked for.
        default: The metric to watch when none was named.

    Raises:
        ConfigError: A value out of range.
    """
    monitor = config.monitor or default
    if config.patience is None or monitor is None:
        return None
    config.check()
    # Only a metric that was asked for must be there: a run may end before its first validation.
    strict = config.monitor is not None
    return EarlyStopping(monitor, mode=config.mode, patience=config.patience, min_delta=config.min_delta, strict=strict)


def checkpoints(
    folder: Path, config: CheckpointConfig, monitor: str | None, is_fresh: bool
) -> tuple[TimedCheckpoint | None, LastCheckpoint | None]:
    """The callbacks that keep the best epoch by `monitor`, and the last; `None` where one is not kept.

    Args:
        folder: Where the files go.
        config: What was asked for.
        monitor: The metric that says which is best. `None`: only the last is kept.
        is_fresh: Whether validation metrics are new at the end of every epoch: then the best is chosen there, with all
            metrics of the epoch, and after a validation otherwise.
    """
    options: dict[str, Any] = {"dirpath": folder, "auto_insert_metric_name": False, "enable_version_counter": False}
    best: TimedCheckpoint | None = None
    if monitor is not None:
        kind = BestCheckpoint if config.last else TimedCheckpoint  # without a last one no run goes on
        when = True if is_fresh else None
        best = kind(filename="best", monitor=monitor, mode=config.mode, save_on_train_epoch_end=when, **options)
        if not config.last:
            return best, None
    backup = best if isinstance(best, BestCheckpoint) else None
    return best, LastCheckpoint(backup, filename="last", save_on_train_epoch_end=True, **options)
