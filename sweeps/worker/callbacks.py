"""Connects a run to its sweep: reports the objective, asks the pruner, and interrupts training.

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
from lit_dl.run.pruner import Moment

Reporter = Callable[[int, float | None], str | None]
"""(step, objective) -> `stale`, `pruned`, `away` or `None`; see `SharedStudy.report`."""


class TrialInterrupted(BaseException):
    """The worker was asked to stop. Not an `Exception`, so that no module handles it as an error of its own."""


class TrialTimedOut(BaseException):
    """The trial took longer than its time limit."""


class TrialPruner:
    """Reports the objective whenever it is logged, and decides whether the trial is pruned or has diverged.

    The run's recorder calls it; see `lit_dl.run.pruner.Pruner`.

    Args:
        report: Reports to the study. A value that cannot be reported for now is reported later.
        metrics: Names of the objectives. Only a single one is reported, because Optuna prunes by one objective.
        counts_validations: Whether the steps of Optuna are the values of the objective, counted from 1, as in a run
            with several validations an epoch. Otherwise they are epochs.
        divergence: `loss`: a value of the objective that is not finite is a divergence when a loss is not finite
            either, or when no value is finite until the end. Otherwise: it is one at once.
    """

    def __init__(
        self,
        report: Reporter,
        metrics: list[str],
        *,
        counts_validations: bool = False,
        divergence: str | None = None,
    ) -> None:
        self.report = report
        self.metrics = metrics
        self.counts_validations = counts_validations
        self.divergence = divergence
        self.decision: str | None = None
        """`pruned`, `diverged`, or `None`."""
        self._logged: set[str] = set()
        self._finite: set[str] = set()
        self._count: int | None = None
        self._unreported: dict[int, float | None] = {}

    @property
    def unreported(self) -> dict[str, float]:
        """The objective by step, as JSON takes it, that the study does not have yet."""
        return {str(step): value for step, value in self._unreported.items() if value is not None}

    def state_dict(self) -> dict[str, Any]:
        """Returns the state. The first three keys are those that checkpoints have held from the start."""
        state = {"verdict": self.decision, "before": sorted(self._logged), "untold": self._unreported}
        return {**state, "finite": sorted(self._finite), "count": self._count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over the state of a checkpoint."""
        self.decision = state["verdict"]
        # Earlier versions kept the last values of all objectives here, which were finite.
        before = [name if isinstance(name, str) else None for name in state["before"]]
        self._logged = {*self.metrics} if None in before else {name for name in before if name is not None}
        self._finite = set(state.get("finite", self._logged))
        self._unreported = state["untold"]
        self._count = state.get("count")

    def observe(self, moment: Moment, is_writer: bool) -> None:
        """Reports the objective, if it was logged at this moment, and sets `decision`.

        Raises:
            TrialInterrupted: The trial belongs to another worker now.
        """
        values = {name: moment.metrics[name] for name in self.metrics if name in moment.metrics}
        if not values or self.decision is not None:
            return  # a decision is final, even when `min_epochs` keeps the run going
        self._logged |= values.keys()
        # A checkpoint of an earlier version has no count; there each epoch had one value.
        self._count = (moment.epoch - 1 if self._count is None else self._count) + 1
        finite = {name for name, value in values.items() if math.isfinite(value)}
        self._finite |= finite
        if finite != values.keys():
            diverged = self.divergence != "loss" or not moment.loss_is_finite
            self.decision = "diverged" if diverged else None
            return
        if len(values) < len(self.metrics):
            return
        answer = moment.broadcast(self._decide(moment, values) if is_writer else None)
        if answer == "stale":
            raise TrialInterrupted
        self.decision = answer

    def _decide(self, moment: Moment, values: Mapping[str, float]) -> str | None:
        step = self._count if self.counts_validations and self._count else moment.epoch
        self._unreported[step] = values[self.metrics[0]] if len(values) == 1 else None
        answer = self._report_all()
        return None if moment.is_last and answer != "stale" else answer  # what is over is not pruned

    def _report_all(self) -> str | None:
        """Reports all values that are due, in order. Returns the last answer; none while the study is away."""
        answer = None
        for step in list(self._unreported):
            answer = self.report(step, self._unreported[step])
            if answer == "away":
                return None
            del self._unreported[step]
        return answer

    def end_fit(self, metrics: Sequence[str]) -> None:
        """Refuses an objective that was never logged; a trial without a finite value of it has diverged.

        Raises:
            ConfigError: No moment had it.
        """
        never = [name for name in self.metrics if name not in self._logged]
        if never:
            logged = ", ".join(metrics) or "none"
            raise ConfigError("objective.metric", f"{', '.join(never)} was never logged; logged are {logged}")
        if self.decision is None and self._finite < {*self.metrics}:
            self.decision = "diverged"


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
