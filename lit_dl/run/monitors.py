"""A check of the metrics that early stopping and the best checkpoint monitor."""

from __future__ import annotations

from collections.abc import Sequence

from lit_dl.config.keys import Config
from lit_dl.errors import never_logged


def check_monitors(config: Config, logged: Sequence[str]) -> None:
    """Refuses a metric to monitor that no epoch has.

    Args:
        config: The run config.
        logged: The metrics of each epoch.

    Raises:
        ConfigError: It is never logged.
    """
    for group in ("early_stopping", "checkpoint"):
        metric = config.get(group, {}).get("monitor")
        if metric is not None and metric not in logged:
            raise never_logged(f"{group}.monitor", metric, logged)
