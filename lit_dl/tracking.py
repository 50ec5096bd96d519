"""Weights & Biases: the only place that imports wandb."""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Literal
from urllib.parse import urlparse

from lit_dl.errors import ConfigError

Mode = Literal["auto", "offline", "online", "disabled"]

_log = logging.getLogger(__name__)


def resolve_wandb_mode(mode: Mode) -> Mode:
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


_Row = dict[str, Any]


def logged_rows(path: Path) -> Iterator[_Row]:
    """The rows of the history in one of W&B's files, up to where a killed process may have broken it off.

    The file is a header of 7 bytes, and records in LevelDB's log format, in parts that end with a block of 32 KiB.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    content = path.read_bytes()
    place, parts = 7, b""
    while place + 7 <= len(content):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if place > len(content):
            return
        if kind not in (1, 4):  # neither whole, nor the last part
            continue
        try:
            record = Record.FromString(parts)
        except DecodeError:
            return
        parts = b""
        if record.HasField("history"):
            yield {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}


class Tracker:
    """One W&B run, for one run of ours.

    Args:
        mode: `online`, `offline` or `disabled`; see `resolve_wandb_mode` for `auto`.
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
        settled = resolve_wandb_mode(mode)
        if settled == "offline":  # W&B would tell its server how it is used all the same
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._folder = folder
        self._run = wandb.init(
            mode=settled,  # type: ignore[arg-type]
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

    def resume(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Logs what W&B lost with an earlier process that was killed; call it before the first new epoch.

        Such a process takes with it what it had not sent to the server (up to 15 s) or not yet written (0.2 s). An
        online run takes what the server lacks from the files of earlier processes; the rest, and all there is to take
        offline, is in `rows`.

        Args:
            rows: The row of each epoch that was completed, with its `epoch`.
        """
        started = perf_counter()
        last = max((row["epoch"] for row in rows), default=0)
        kept, lost = self._earlier_rows()
        for earlier in lost:
            if earlier.get("epoch", 0) <= last:  # the next is trained again
                self._run.log({name: value for name, value in earlier.items() if not name.startswith("_")})
        names: dict[float, set[str]] = {}
        for earlier in [*kept, *lost]:
            names.setdefault(earlier.get("epoch", 0), {"epoch", "elapsed_s"}).update(earlier)
        first = max((epoch for epoch in names if epoch <= last), default=0)  # the epoch in which the files end
        for row in rows:
            there = names.get(row["epoch"], {"epoch", "elapsed_s"})
            if row["epoch"] >= first and not row.keys() <= there:
                self._run.log({name: row[name] for name in row if name == "epoch" or name not in there})
        self.seconds += perf_counter() - started

    def _earlier_rows(self) -> tuple[list[_Row], list[_Row]]:
        """The rows in the files of earlier processes that this run has, and those that it must log again."""
        run, found = self._run, self._folder.glob(f"wandb/*run-*-{self._run.id}/run-{self._run.id}.wandb")
        paths = sorted(found, key=lambda path: path.parent.name.removeprefix("offline-"))
        paths = [path for path in paths if path != Path(run.settings.sync_file)]
        offline = [path for path in paths if path.parent.name.startswith("offline-")]
        if run.offline:  # what online processes had not sent is not known here
            return [row for path in offline for row in logged_rows(path)], []
        lost: list[_Row] = []
        for path in offline:
            synced = path.with_suffix(".wandb.synced")
            if not synced.exists():
                lost += logged_rows(path)
                synced.touch()  # so that `wandb sync` leaves it out
        # A process that resumed wrote again, under the same steps, what the server lacked then.
        by_step = {row["_step"]: row for path in paths if path not in offline for row in logged_rows(path)}
        sent = [by_step[step] for step in sorted(by_step) if step < run.starting_step]
        return sent, lost + [by_step[step] for step in sorted(by_step) if step >= run.starting_step]

    def finish(self, summary: Mapping[str, Any], failed: bool = False) -> None:
        """Records the summary and closes the run."""
        started = perf_counter()
        self._run.summary.update(dict(summary))
        self._run.finish(exit_code=1 if failed else 0)
        self.seconds += perf_counter() - started
