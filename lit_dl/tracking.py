"""Weights & Biases: the only place that imports wandb."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, Literal
from urllib.parse import urlparse

from lit_dl.errors import ConfigError

Mode = Literal["auto", "offline", "online", "disabled"]

_log = logging.getLogger(__name__)


def settle(mode: Mode) -> Mode:
    """What `auto` means here and now: online when a key is configured and the server answers, offline otherwise.

    Raises:
        ConfigError: `online` without a key.
    """
    if mode == "online" and not _has_key():
        raise ConfigError("tracking.wandb", "online needs an API key; run wandb login, or use offline or auto")
    if mode != "auto":
        return mode
    if os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun"):
        return "disabled" if os.environ["WANDB_MODE"] == "disabled" else "offline"
    if not _has_key():
        return "offline"
    if not _server_answers():
        _log.warning("tracking: a W&B key is configured, but the server does not answer; logging offline")
        return "offline"
    return "online"


def _base_url() -> str:
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    from netrc import NetrcParseError, netrc

    try:
        return netrc(os.environ.get("NETRC")).authenticators(urlparse(_base_url()).hostname or "") is not None
    except (OSError, NetrcParseError):
        return False


def _server_answers(timeout_s: float = 3.0) -> bool:
    url = urlparse(_base_url())
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        with socket.create_connection((url.hostname or "", port), timeout=timeout_s):
            return True
    except OSError:
        return False


class Tracker:
    """One W&B run, for one run of ours.

    Args:
        mode: `online`, `offline` or `disabled`; see `settle` for `auto`.
        folder: Where W&B keeps its files, in a folder `wandb`.
        project: W&B project.
        name: Display name.
        group: Group, such as the study.
        run_id: W&B's id, unique in the project; a second run under the same id continues it. `None`: a random one.
        config: The run config, recorded with the run.
        tags: Labels.
        entity: Account or team. `None`: the default of the key.
    """

    def __init__(
        self,
        mode: Mode,
        folder: Path,
        *,
        project: str,
        name: str,
        group: str | None = None,
        run_id: str | None = None,
        config: Mapping[str, Any] | None = None,
        tags: list[str] | None = None,
        entity: str | None = None,
    ) -> None:
        started = perf_counter()
        import wandb

        settings = wandb.Settings(
            silent=True,
            console="off",
            x_disable_stats=True,
            x_disable_meta=True,
            disable_git=True,
            x_transaction_log_flush_interval=0.2,  # the default of 15 s leaves a killed run empty
        )
        self._run = wandb.init(
            mode=mode if mode != "auto" else settle(mode),  # type: ignore[arg-type]
            dir=str(folder),
            project=project,
            entity=entity,
            name=name,
            group=group,
            id=run_id,
            resume="allow" if run_id else None,
            config=dict(config or {}),
            tags=tags,
            settings=settings,
            reinit="create_new",
        )
        self._run.define_metric("epoch")
        self._run.define_metric("*", step_metric="epoch")
        self.seconds = perf_counter() - started

    def logger(self) -> Any:
        """A Lightning logger on this run, whose `epoch` counts from 1."""
        from lightning.pytorch.loggers import WandbLogger

        tracker = self

        class EpochLogger(WandbLogger):
            def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
                started = perf_counter()
                values = dict(metrics)
                if "epoch" in values:
                    values["epoch"] += 1
                super().log_metrics(values, step)
                tracker.seconds += perf_counter() - started

        return EpochLogger(experiment=self._run, log_model=False)

    def finish(self, summary: Mapping[str, Any], failed: bool = False) -> None:
        """Records the summary and closes the run."""
        started = perf_counter()
        self._run.summary.update(dict(summary))
        self._run.finish(exit_code=1 if failed else 0)
        self.seconds += perf_counter() - started
