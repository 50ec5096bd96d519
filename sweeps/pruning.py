"""The callback that reports a trial's objective after every epoch and stops it when the pruner says so.

Optuna's own callback cannot be used: under DDP it takes only cached RDB storage and never averages over ranks, and a
metric that is never logged is a warning. Here rank 0 reports and asks, and all ranks obey what it was told.
"""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from optuna.trial import Trial

from lit_dl.errors import ConfigError


class TrialInterrupted(BaseException):
    """The worker was asked to stop; not an `Exception`, so that no module takes it for an error of its own."""


class ReportAndPrune(Checkpoint):
    """Reports the objective at the end of each epoch that has one; epochs count from 1.

    A `Checkpoint` only in name: Lightning calls those after the module's own `on_train_epoch_end`, where it may still
    log.

    Args:
        trial: The trial.
        metrics: Names of the objectives; only the first of one is reported (Optuna prunes by one objective).
        reported: The last epoch that an earlier attempt reported; it is neither reported nor judged again.
    """

    def __init__(self, trial: Trial, metrics: list[str], reported: int = 0) -> None:
        self.trial, self.metrics, self.reported = trial, metrics, reported
        self.verdict: str | None = None
        self._before: list[float] = []
        self._validated = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        validated, self._validated = self._validated, False
        found = [trainer.callback_metrics.get(name) for name in self.metrics]
        values = [float(value) for value in found if value is not None]
        if len(values) < len(found) or self.verdict is not None:
            return  # `on_train_end` refuses a metric that never came; a verdict stands, `min_epochs` or not
        if not validated and values == self._before:
            return  # Lightning keeps the metrics of the last validation; this epoch had none
        self._before = values
        verdict = self._judge(trainer, values) if trainer.is_global_zero else None
        self.verdict = trainer.strategy.broadcast(verdict)
        if self.verdict is not None:
            trainer.should_stop = True

    def _judge(self, trainer: Trainer, values: list[float]) -> str | None:
        epoch = trainer.current_epoch + 1
        if not all(math.isfinite(value) for value in values):
            return "diverged"
        if len(values) > 1 or epoch <= self.reported:
            return None
        self.trial.report(values[0], epoch)
        ends = trainer.should_stop or epoch == trainer.max_epochs
        return "pruned" if not ends and self.trial.should_prune() else None  # what is over is not pruned

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        if not self._before:
            logged = ", ".join(sorted(trainer.callback_metrics)) or "none"
            raise ConfigError("objective.metric", f"{', '.join(self.metrics)} was never logged; logged are {logged}")


class StopSwitch(Callback):
    """Raises `TrialInterrupted` before the next batch once `event` is set.

    Args:
        event: Anything with `is_set()`.
    """

    def __init__(self, event: Any) -> None:
        self.event = event

    def _look(self) -> None:
        if self.event.is_set():
            raise TrialInterrupted

    def on_train_batch_start(self, *_: Any) -> None:
        self._look()

    def on_validation_batch_start(self, *_: Any) -> None:
        self._look()

    def on_test_batch_start(self, *_: Any) -> None:
        self._look()
