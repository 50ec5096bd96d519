"""Early stopping: the counters that decide when a run stops before its last epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lit_dl.run.run_config import EarlyStoppingConfig


class EarlyStopping:
    """Stops a run when its metric has not improved for `patience` checks, or is not finite.

    The rule is that of Lightning's EarlyStopping, without a Trainer: a stack of runs needs one for each. There is one
    difference: only a metric that was logged since the last check is checked.

    Args:
        config: The settings. Its `patience` is not `None`.
        monitor: The metric to watch.
        is_required: Whether the config names the metric, so that a run which never logs it is wrong.
    """

    def __init__(self, config: EarlyStoppingConfig, monitor: str, is_required: bool) -> None:
        self.config = config
        self.monitor = monitor
        self.is_required = is_required
        self.best = math.inf if config.mode == "min" else -math.inf
        self.wait_count = 0
        self.stopped = False
        """Whether a check has ever said to stop: the reason that the run reports, even when `min_epochs` kept it going
        and it improved later."""

    def check(self, metrics: Mapping[str, float]) -> bool:
        """Counts one more check if the metric was logged, and returns whether the run must stop.

        Args:
            metrics: What was logged since the last call.
        """
        if self.monitor not in metrics:
            return False
        value = metrics[self.monitor]
        is_finite = math.isfinite(value)
        if is_finite and self._improves(value):
            self.best = value
            self.wait_count = 0
            return False
        stops_at_once = self.config.check_finite and not is_finite
        self.wait_count += not stops_at_once
        must_stop = stops_at_once or self._is_exhausted
        self.stopped |= must_stop
        return must_stop

    def _improves(self, value: float) -> bool:
        if self.config.mode == "min":
            return value + self.config.min_delta < self.best
        return value - self.config.min_delta > self.best

    @property
    def _is_exhausted(self) -> bool:
        return self.config.patience is not None and self.wait_count >= self.config.patience

    def state_dict(self) -> dict[str, Any]:
        """Returns the counters, as plain values for a checkpoint."""
        return {"best": self.best, "wait_count": self.wait_count, "stopped": self.stopped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over the counters of a checkpoint."""
        self.best = float(state["best"])
        self.wait_count = int(state["wait_count"])
        self.stopped = bool(state["stopped"])


def early_stopping(config: EarlyStoppingConfig, default_monitor: str | None) -> EarlyStopping | None:
    """Returns the early stopping of a config; `None` when it is switched off or there is no metric to watch.

    Args:
        config: The settings.
        default_monitor: The metric to watch when the config names none.

    Raises:
        ConfigError: A value out of range.
    """
    monitor = config.monitor or default_monitor
    if config.patience is None or monitor is None:
        return None
    config.check()
    return EarlyStopping(config, monitor, is_required=config.monitor is not None)
