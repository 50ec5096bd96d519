"""Connects a run to its sweep: reports the objective after each epoch, asks the pruner, and interrupts training.

Optuna's own pruning callback cannot be used: under DDP it takes only cached RDB storage and never averages over ranks,
and a metric that is never logged is only a warning. Here rank 0 reports and asks, and all ranks obey its answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from lightning.pytorch import Callback

from lit_dl.errors import ConfigError
from lit_dl.run.pruner import EpochEnd

Reporter = Callable[[int, float | None], str | None]
"""(epoch, objective) -> `stale`, `pruned`, `away` or `None`; see `SharedStudy.report`."""


class TrialInterrupted(BaseException):
    """The worker was asked to stop. Not an `Exception`, so that no module handles it as an error of its own."""


class TrialTimedOut(BaseException):
    """The trial took longer than its time limit."""


class TrialPruner:
    """Reports the objective at the end of each epoch that has one, and decides whether the trial is pruned.

    The run's recorder calls it; see `lit_dl.run.pruner.Pruner`.

    Args:
        report: Reports to the study. A value that cannot be reported for now is reported after a later epoch.
        metrics: Names of the objectives. Only a single one is reported, because Optuna prunes by one objective.
    """

    def __init__(self, report: Reporter, metrics: list[str]) -> None:
        self.report = report
        self.metrics = metrics
        self.decision: str | None = None
        """`pruned`, `diverged`, or `None`."""
        self._previous: list[float] = []
        self._unreported: dict[int, float | None] = {}

    @property
    def unreported(self) -> dict[str, float]:
        """The objective by epoch, as JSON takes it, that the study does not have yet."""
        return {str(epoch): value for epoch, value in self._unreported.items() if value is not None}

    def state_dict(self) -> dict[str, Any]:
        """Returns the state, under the keys that checkpoints have held from the start."""
        return {"verdict": self.decision, "before": self._previous, "untold": self._unreported}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over the state of a checkpoint."""
        self.decision = state["verdict"]
        self._previous = state["before"]
        self._unreported = state["untold"]

    def end_epoch(self, end: EpochEnd, is_writer: bool) -> None:
        """Reports the epoch's objective and sets `decision`.

        Raises:
            TrialInterrupted: The trial belongs to another worker now.
        """
        found = [end.metrics.get(name) for name in self.metrics]
        values = [value for value in found if value is not None]
        if len(values) < len(found):
            return  # `end_fit` refuses a metric that never comes
        if self.decision is not None:
            return  # a decision is final, even when `min_epochs` keeps the run going
        if not end.is_validated and values == self._previous:
            return  # Lightning repeats the metrics of the last validation; this epoch had none
        self._previous = values
        answer = end.broadcast(self._decide(end, values) if is_writer else None)
        if answer == "stale":
            raise TrialInterrupted
        self.decision = answer

    def _decide(self, end: EpochEnd, values: list[float]) -> str | None:
        if not all(math.isfinite(value) for value in values):
            return "diverged"
        self._unreported[end.epoch] = values[0] if len(values) == 1 else None
        answer = self._report_all()
        return None if end.is_last and answer != "stale" else answer  # a run that ends anyway is not pruned

    def _report_all(self) -> str | None:
        """Reports all values that are due, in order. Returns the last answer; none while the study is away."""
        answer = None
        for epoch in list(self._unreported):
            answer = self.report(epoch, self._unreported[epoch])
            if answer == "away":
                return None
            del self._unreported[epoch]
        return answer

    def end_fit(self, metrics: Sequence[str]) -> None:
        """Refuses an objective that was never logged.

        Raises:
            ConfigError: No epoch had it.
        """
        if not self._previous:
            logged = ", ".join(metrics) or "none"
            raise ConfigError("objective.metric", f"{', '.join(self.metrics)} was never logged; logged are {logged}")


class StopSwitch(Callback):
    """Interrupts a run before its next batch and before the end of an epoch is recorded.

    Args:
        event: Anything with `is_set()`. When it is set, `TrialInterrupted` is raised.
        remaining_s: Seconds of training after which `TrialTimedOut` is raised; `None`: no limit.
    """

    def __init__(self, event: Any, remaining_s: float | None = None) -> None:
        self.event = event
        self._deadline = math.inf if remaining_s is None else monotonic() + remaining_s

    def _check(self) -> None:
        if self.event.is_set():
            raise TrialInterrupted
        if monotonic() > self._deadline:
            raise TrialTimedOut

    def on_train_batch_start(self, *_: Any) -> None:
        self._check()

    def on_train_epoch_end(self, *_: Any) -> None:
        self._check()

    def on_validation_batch_start(self, *_: Any) -> None:
        self._check()

    def on_test_batch_start(self, *_: Any) -> None:
        self._check()
