"""The callbacks by which a sweep follows a run: the objective after every epoch, and when to stop.

Optuna's own callback cannot be used: under DDP it takes only cached RDB storage and never averages over ranks, and a
metric that is never logged is a warning. Here rank 0 reports and asks, and all ranks obey what it was told.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from time import monotonic
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from lit_dl.errors import ConfigError

Reporter = Callable[[int, float | None], str | None]
"""(epoch, objective) -> `stale`, `pruned`, `away` or nothing; see `SharedStudy.report`."""


class TrialInterrupted(BaseException):
    """The worker was asked to stop; not an `Exception`, so that no module takes it for an error of its own."""


class TrialTimedOut(BaseException):
    """The trial took longer than it may."""


class ReportAndPrune(Checkpoint):
    """Reports the objective at the end of each epoch that has one; epochs count from 1.

    A `Checkpoint` only in name: Lightning calls those after the module's own `on_train_epoch_end`, where it may still
    log.

    Args:
        report: Tells the study, on rank 0; what it cannot be told for now it is told after a later epoch.
        metrics: Names of the objectives; only one is reported (Optuna prunes by one objective).
    """

    def __init__(self, report: Reporter, metrics: list[str]) -> None:
        self.report, self.metrics = report, metrics
        self.verdict: str | None = None
        self._before: list[float] = []
        self._untold: dict[int, float | None] = {}
        self._validated = self._ran = False

    @property
    def untold(self) -> dict[str, float]:
        """Objective by epoch, as JSON takes it, of which the study does not know yet."""
        return {str(epoch): value for epoch, value in self._untold.items() if value is not None}

    def state_dict(self) -> dict[str, Any]:
        return {"verdict": self.verdict, "before": self._before, "untold": self._untold}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.verdict, self._before, self._untold = (state_dict[key] for key in ("verdict", "before", "untold"))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        if self.verdict is not None:  # an earlier attempt died between its last epoch and its end
            trainer.should_stop = True

    def on_train_epoch_start(self, *_: Any) -> None:
        self._ran = True

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
        verdict = trainer.strategy.broadcast(verdict)
        if verdict == "stale":
            raise TrialInterrupted
        self.verdict = verdict
        if verdict is not None:
            trainer.should_stop = True

    def _judge(self, trainer: Trainer, values: list[float]) -> str | None:
        epoch = trainer.current_epoch + 1
        if not all(math.isfinite(value) for value in values):
            return "diverged"
        ends = trainer.should_stop or epoch == trainer.max_epochs
        self._untold[epoch] = values[0] if len(values) == 1 else None
        answer = self._tell()
        return answer if answer == "stale" or not ends else None  # what is over is not pruned

    def _tell(self) -> str | None:
        answer = None
        for epoch in list(self._untold):
            answer = self.report(epoch, self._untold[epoch])
            if answer == "away":
                return None
            del self._untold[epoch]
        return answer

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        if self._ran and not self._before:
            logged = ", ".join(sorted(trainer.callback_metrics)) or "none"
            raise ConfigError("objective.metric", f"{', '.join(self.metrics)} was never logged; logged are {logged}")


class StopSwitch(Callback):
    """Ends a run before its next batch, and before an epoch is written, once it must.

    Args:
        event: Anything with `is_set()`; then `TrialInterrupted` is raised.
        left_s: Seconds of training after which `TrialTimedOut` is raised; `None`: no limit.
    """

    def __init__(self, event: Any, left_s: float | None = None) -> None:
        self.event = event
        self._deadline = math.inf if left_s is None else monotonic() + left_s

    def _look(self) -> None:
        if self.event.is_set():
            raise TrialInterrupted
        if monotonic() > self._deadline:
            raise TrialTimedOut

    def on_train_batch_start(self, *_: Any) -> None:
        self._look()

    def on_train_epoch_end(self, *_: Any) -> None:
        self._look()

    def on_validation_batch_start(self, *_: Any) -> None:
        self._look()

    def on_test_batch_start(self, *_: Any) -> None:
        self._look()
