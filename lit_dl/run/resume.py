"""Resume: finds the last completed epoch of an interrupted run, and checks that the run can continue from it."""

from __future__ import annotations

import json
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.nn.parameter import is_lazy

from lit_dl.callbacks.resume_state import ResumeState
from lit_dl.config.keys import Config
from lit_dl.run.epoch_rows import Row, read_rows

_DEVICE_KEYS = ("accelerator", "devices", "num_nodes", "strategy")


def rows_to_keep(run_dir: Path, module: LightningModule, config: Config, is_writer: bool) -> list[Row]:
    """Returns the rows of the completed epochs, after which the run resumes.

    There are none when the run must start anew. Then the folder is cleared, and a line says why.

    Args:
        run_dir: The folder of the run.
        module: The module, as it is built from the config.
        config: The run config.
        is_writer: Whether this rank deletes files and prints.
    """
    rows: list[Row] = []
    try:
        rows = completed_epochs(run_dir, module, config)
    except NotResumableError as error:
        if is_writer:
            print(f"{run_dir}: starts anew: {error}", flush=True)
    if is_writer:
        remove_unfinished(run_dir)
        if not rows:
            discard(run_dir)
    return rows


class NotResumableError(Exception):
    """The files of a run do not allow to resume it. The text says why."""


def config_hash(config: Config) -> str:
    """Returns a hash of everything in a config that changes the results of the run: not devices, threads, tracking."""
    trainer = {key: value for key, value in config.get("trainer", {}).items() if key not in _DEVICE_KEYS}
    rest = {key: value for key, value in config.items() if key not in ("trainer", "threads", "tracking")}
    if rest.get("early_stopping", {}).get("check_finite") is True:  # as in earlier versions, which had no such key
        rest["early_stopping"] = {key: v for key, v in rest["early_stopping"].items() if key != "check_finite"}
    text = json.dumps({**rest, "trainer": trainer}, default=str)
    text = json.dumps(json.loads(text), sort_keys=True)  # keys that are numbers are texts now, so that they sort
    return blake2b(text.encode(), digest_size=16).hexdigest()


def completed_epochs(run_dir: Path, module: LightningModule, config: Config) -> list[Row]:
    """Returns the rows up to the end of the epoch of `checkpoints/last.ckpt`; none without that file.

    Raises:
        NotResumableError: The file is damaged, belongs to another run, or is ahead of `metrics.csv`.
    """
    path = run_dir / "checkpoints" / "last.ckpt"
    if not path.exists():
        return []
    checkpoint = load_last(path)
    _check(checkpoint, module, config_hash(config))
    epochs = int(checkpoint["epoch"]) + 1
    try:
        rows = [row for row in read_rows(run_dir / "metrics.csv") if row["epoch"] <= epochs]
    except (OSError, ValueError, KeyError) as error:
        raise NotResumableError(f"metrics.csv cannot be read ({type(error).__name__})") from None
    if [epoch for epoch, _ in groupby(rows, lambda row: row["epoch"])] != list(range(1, epochs + 1)):
        raise NotResumableError(f"metrics.csv does not hold the {epochs} epochs of last.ckpt")
    return rows


def load_last(path: Path) -> dict[str, Any]:
    """Returns what a `last.ckpt` holds.

    Raises:
        NotResumableError: It is damaged, or only unpickling can load it.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has no error of its own for this
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason'}"
        raise NotResumableError(f"{path.name} cannot be loaded ({reason[:200]})") from None
    if not isinstance(checkpoint, dict):
        raise NotResumableError(f"{path.name} is no checkpoint of a run")
    return checkpoint


def _check(checkpoint: dict[str, Any], module: LightningModule, expected: str) -> None:
    state = checkpoint.get("callbacks", {}).get(ResumeState.STATE_KEY)
    if state is None or not {"epoch", "state_dict", "loops", "optimizer_states"} <= checkpoint.keys():
        raise NotResumableError("last.ckpt is not of a run of lit_dl")
    if state["fingerprint"] != expected:
        raise NotResumableError("last.ckpt is of a run with another config")
    saved, ours = checkpoint["state_dict"], module.state_dict()
    missing = [name for name in ours if name not in saved or not _fits(saved[name], ours[name])]
    grows = is_overridden("setup", module) or is_overridden("configure_model", module)
    missing += [] if grows else [name for name in saved if name not in ours]
    if missing and module.strict_loading:
        raise NotResumableError(f"last.ckpt is of another module; {missing[0]} is missing or has another shape")


def _fits(saved: Any, ours: Any) -> bool:
    if not isinstance(ours, torch.Tensor) or is_lazy(ours):
        return True
    return isinstance(saved, torch.Tensor) and saved.shape == ours.shape


def is_ahead(best: Path, epoch: int) -> bool:
    """Returns whether `best.ckpt` is of a later epoch than `epoch`, or cannot be read. False when there is no file."""
    if not best.is_file():
        return False
    try:
        return int(torch.load(best, map_location="cpu", weights_only=True, mmap=True)["epoch"]) + 1 > epoch
    except Exception:  # damaged
        return True


def discard(run_dir: Path) -> None:
    """Deletes the tables and checkpoints of a run that starts anew."""
    checkpoints = run_dir / "checkpoints"
    files = [run_dir / "metrics.csv", run_dir / "diagnostics.csv", checkpoints / "best.ckpt", checkpoints / "last.ckpt"]
    for path in [*files, *checkpoints.glob(".*.ckpt.*")]:
        path.unlink(missing_ok=True)


def remove_unfinished(run_dir: Path) -> None:
    """Deletes the temporary files of a process that was killed while it wrote a file."""
    for folder in (run_dir, run_dir / "checkpoints"):
        for path in folder.glob(".*.*"):
            if path.suffix[1:].isdigit():
                path.unlink(missing_ok=True)
