"""Starts the W&B run of a run."""

from __future__ import annotations

from lit_dl.config.keys import Config
from lit_dl.run.run_config import TrackingConfig
from lit_dl.run.run_result import RunLocation
from lit_dl.tracking import Tracker


def start_tracker(config: Config, location: RunLocation) -> Tracker | None:
    """Starts the W&B run of a run config; `None` when tracking is disabled."""
    tracking = TrackingConfig(**config.get("tracking", {}))
    mode = location.wandb or tracking.wandb
    if mode == "disabled":
        return None
    return Tracker(
        mode,
        location.run_dir,
        project=tracking.project,
        entity=tracking.entity,
        tags=tracking.tags,
        name=location.name,
        group=location.group,
        run_id=location.run_id,
        config=config,
    )
