"""Weights & Biases. This is the only module that imports wandb."""

from __future__ import annotations

import json
import logging
import os
import shutil
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
    """Returns the mode that `auto` stands for: online when a key is configured and the server answers, else offline.

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


_BLOCK_BYTES = 32768
_HEADER_BYTES = 7  # of the file, and of each part of a record: checksum, length, kind
_FULL_RECORD, _LAST_PART = 1, 4

_Row = dict[str, Any]


def logged_rows(path: Path) -> Iterator[_Row]:
    """Yields the history rows in a `.wandb` file, up to where a killed process may have truncated it.

    wandb 0.31 has no public reader. The file is a header and records in LevelDB's log format: blocks of 32 KiB, with
    records split into parts at the end of a block.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    content = path.read_bytes()
    offset = _HEADER_BYTES
    parts = b""
    while offset + _HEADER_BYTES <= len(content):
        if (padding := _BLOCK_BYTES - offset % _BLOCK_BYTES) < _HEADER_BYTES:
            offset += padding
            continue
        start = offset + _HEADER_BYTES
        _, length, kind = struct.unpack("<IHB", content[offset:start])
        offset = start + length
        if offset > len(content):
            return
        parts += content[start:offset]
        if kind not in (_FULL_RECORD, _LAST_PART):
            continue
        try:
            record = Record.FromString(parts)
        except DecodeError:
            return
        parts = b""
        if record.HasField("history"):
            yield {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}


def _remove_empty_segments(folder: Path, run_id: str) -> None:
    """Removes the offline folders of processes that were killed before W&B wrote a record, 0.2 s after its start.

    `wandb sync` gives up at such a folder, and sends none of the others.
    """
    for path in folder.glob(f"wandb/offline-run-*-{run_id}/run-{run_id}.wandb"):
        if path.stat().st_size <= _HEADER_BYTES:
            shutil.rmtree(path.parent, ignore_errors=True)


def resolve_wandb_project(project: str | None) -> str:
    """Returns the W&B project that `None` stands for: that of the environment, else `lit-sweeps`."""
    return project or os.environ.get("WANDB_PROJECT") or "lit-sweeps"


# What says into which run a process writes, by name of the setting and of the environment variable. A `wandb agent`, a
# notebook or a script of W&B Launch sets it for one run; it is no setting for the runs of a sweep.
_SETTINGS_OF_ONE_RUN = {
    "run_id": None,
    "resume": None,
    "resume_from": None,
    "fork_from": None,
    "sweep_id": None,
    "sweep_param_path": None,
    "launch": False,
}


def forget_enclosing_wandb_run() -> None:
    """Removes from the environment the W&B run or sweep that this process was started in.

    All trials would write into it, whatever their ids: W&B ignores the id that it is given when it runs in a sweep of
    its own. Project, entity, mode, server and key stay.
    """
    for name in _SETTINGS_OF_ONE_RUN:
        os.environ.pop(f"WANDB_{name.upper()}", None)


def _init_wandb(mode: Mode, **arguments: Any) -> Any:
    """Starts a W&B run that prints nothing and measures nothing of the machine."""
    import wandb

    if arguments["id"] is not None:
        forget_enclosing_wandb_run()
        of_process = wandb.setup().settings  # W&B may have read the environment before
        for name, value in _SETTINGS_OF_ONE_RUN.items():
            setattr(of_process, name, value)

    settings = wandb.Settings(
        silent=True,
        console="off",
        x_disable_stats=True,
        x_disable_meta=True,
        disable_git=True,
        x_transaction_log_flush_interval=0.2,  # with the default, 15 s, a killed run leaves an empty file
    )
    resolved = resolve_wandb_mode(mode)
    if resolved == "offline":  # without this W&B sends error reports to its server even when it is offline
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    return wandb.init(mode=resolved, settings=settings, reinit="create_new", **arguments)  # type: ignore[arg-type]


class Tracker:
    """One W&B run, for one run of ours.

    Args:
        mode: `online`, `offline` or `disabled`; see `resolve_wandb_mode` for `auto`.
        folder: W&B keeps its files in the folder `wandb` below it.
        project: W&B project; see `resolve_wandb_project` for `None`.
        name: Display name.
        group: Group, such as the study.
        run_id: W&B run id, unique in the project. A second run with the same id continues the first. The run has this
            id whatever the environment says. `None`: that of the environment, else a new id.
        config: The run config, stored with the run.
        tags: Labels.
        entity: Account or team. `None`: the default of the API key.
    """

    def __init__(
        self,
        mode: Mode,
        folder: Path,
        *,
        project: str | None,
        name: str,
        group: str | None = None,
        run_id: str | None = None,
        config: Mapping[str, Any] | None = None,
        tags: list[str] | None = None,
        entity: str | None = None,
    ) -> None:
        started = perf_counter()
        self._folder = folder
        self._epoch_of: dict[str, float] = {}  # in which a metric came last
        self._by_step: set[str] = set()
        if run_id is not None:
            _remove_empty_segments(folder, run_id)
        self._run = _init_wandb(
            mode,
            dir=str(folder),
            project=resolve_wandb_project(project),
            entity=entity,
            name=name,
            group=group,
            id=run_id,
            resume="allow" if run_id else None,
            config=dict(config or {}),
            tags=tags,
        )
        self._run.define_metric("epoch")
        self._run.define_metric("*", step_metric="epoch")
        self.seconds = perf_counter() - started
        """Time spent in W&B."""

    def logger(self) -> Any:
        """Returns a Lightning logger on this run. Its `epoch` counts from 1."""
        from lightning.pytorch.loggers import WandbLogger

        tracker = self

        class EpochLogger(WandbLogger):
            def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
                started = perf_counter()
                values = dict(metrics)
                if "epoch" in values:
                    values["epoch"] += 1
                    tracker._draw_by_step(values)
                super().log_metrics(values, step)
                tracker.seconds += perf_counter() - started

        return EpochLogger(save_dir=str(self._folder), experiment=self._run, log_model=False)

    def _draw_by_step(self, values: Mapping[str, float]) -> None:
        """Draws a metric over the steps when it comes a second time in an epoch: such as the user logs at each step."""
        for name in values.keys() - {"epoch"} - self._by_step:
            if self._epoch_of.get(name) == values["epoch"]:
                self._run.define_metric(name, step_metric="trainer/global_step")
                self._by_step.add(name)
            self._epoch_of[name] = values["epoch"]

    def resume(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Logs again what W&B lost when an earlier process was killed. Must be called before the first new epoch.

        A killed process loses what it had not sent to the server (up to 15 s) or not written to its file (0.2 s). An
        online run logs what the server lacks from the files of earlier processes. What these lack too is in `rows`.

        Args:
            rows: The rows of the completed epochs.
        """
        started = perf_counter()
        last = max((row["epoch"] for row in rows), default=0)
        kept, lost = self._earlier_rows()
        for earlier in lost:
            if earlier.get("epoch", 0) <= last:  # later epochs are trained and logged again
                self._run.log({name: value for name, value in earlier.items() if not name.startswith("_")})
        names: dict[float, set[str]] = {}
        for earlier in [*kept, *lost]:
            names.setdefault(earlier.get("epoch", 0), {"epoch", "elapsed_s"}).update(earlier)
        first = max((epoch for epoch in names if epoch <= last), default=0)  # the last epoch that the files have
        for row in rows:
            there = names.get(row["epoch"], {"epoch", "elapsed_s"})
            if row["epoch"] >= first and not row.keys() <= there:
                self._run.log({name: row[name] for name in row if name == "epoch" or name not in there})
        self.seconds += perf_counter() - started

    def _earlier_rows(self) -> tuple[list[_Row], list[_Row]]:
        """Returns the rows of earlier processes that W&B has, and those that this run must log again."""
        run = self._run
        found = self._folder.glob(f"wandb/*run-*-{self._run.id}/run-{self._run.id}.wandb")
        paths = sorted(found, key=lambda path: path.parent.name.removeprefix("offline-"))
        paths = [path for path in paths if path != Path(run.settings.sync_file)]
        offline = [path for path in paths if path.parent.name.startswith("offline-")]
        if run.offline:  # nobody can say here which rows online processes had sent
            return [row for path in offline for row in logged_rows(path)], []
        lost: list[_Row] = []
        for path in offline:
            synced = path.with_suffix(".wandb.synced")
            if not synced.exists():
                lost += logged_rows(path)
                synced.touch()  # `wandb sync` skips a file that is marked so
        # A resumed process logged again, under the same steps, what the server lacked then: the latest file counts.
        by_step = {row["_step"]: row for path in paths if path not in offline for row in logged_rows(path)}
        sent = [by_step[step] for step in sorted(by_step) if step < run.starting_step]
        return sent, lost + [by_step[step] for step in sorted(by_step) if step >= run.starting_step]

    def finish(self, summary: Mapping[str, Any], failed: bool = False) -> None:
        """Stores the summary and closes the W&B run."""
        started = perf_counter()
        self._run.summary.update(dict(summary))
        self._run.finish(exit_code=1 if failed else 0)
        self.seconds += perf_counter() - started
