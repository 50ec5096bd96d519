"""Whether, and after which epoch, a run that ended before its time can go on from the files in its folder."""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.nn.parameter import is_lazy

from lit_dl.callbacks.resume_state import ResumeState
from lit_dl.config.keys import Config
from lit_dl.run.epoch_rows import Row, read_rows

_WHERE_IT_RUNS = ("accelerator", "devices", "num_nodes", "strategy")


def rows_to_keep(run_dir: Path, module: LightningModule, config: Config, writes: bool) -> list[Row]:
    """The rows of the epochs that a run goes on after; none, with the folder cleared and a line that says why, where it
    starts with the first.

    Args:
        run_dir: The folder of the run.
        module: As it is built from the config.
        config: The run config.
        writes: Whether this process removes files and prints.
    """
    rows: list[Row] = []
    try:
        rows = completed_epochs(run_dir, module, config)
    except NotResumableError as error:
        if writes:
            print(f"{run_dir}: starts anew: {error}", flush=True)
    if writes:
        remove_unfinished(run_dir)
        if not rows:
            discard(run_dir)
    return rows


class NotResumableError(Exception):
    """Why a run cannot go on."""


def config_hash(config: Config) -> str:
    """What two configs share that give the same run, wherever that is."""
    trainer = {key: value for key, value in config.get("trainer", {}).items() if key not in _WHERE_IT_RUNS}
    rest = {key: value for key, value in config.items() if key not in ("trainer", "threads", "tracking")}
    text = json.dumps({**rest, "trainer": trainer}, sort_keys=True, default=str)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def completed_epochs(run_dir: Path, module: LightningModule, config: Config) -> list[Row]:
    """The rows of the epochs up to the one that `checkpoints/last.ckpt` is the end of; none without that file.

    Raises:
        NotResumableError: The file is damaged, of another run, or ahead of `metrics.csv`.
    """
    path = run_dir / "checkpoints" / "last.ckpt"
    if not path.exists():
        return []
    checkpoint = _load(path)
    _check(checkpoint, module, config_hash(config))
    epochs = int(checkpoint["epoch"]) + 1
    try:
        rows = read_rows(run_dir / "metrics.csv")[:epochs]
    except (OSError, ValueError, KeyError) as error:
        raise NotResumableError(f"metrics.csv cannot be read ({type(error).__name__})") from None
    if [row["epoch"] for row in rows] != list(range(1, epochs + 1)):
        raise NotResumableError(f"metrics.csv does not hold the {epochs} epochs of last.ckpt")
    return rows


def _load(path: Path) -> dict[str, Any]:
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
    """Whether the checkpoint of the best epoch is of a later epoch than the one that a run goes on after, or of none
    that can be read."""
    if not best.is_file():
        return False
    try:
        return int(torch.load(best, map_location="cpu", weights_only=True, mmap=True)["epoch"]) + 1 > epoch
    except Exception:  # damaged
        return True


def discard(run_dir: Path) -> None:
    """Removes what a run left that starts anew: its tables and its checkpoints."""
    checkpoints = run_dir / "checkpoints"
    left = [run_dir / "metrics.csv", run_dir / "diagnostics.csv", checkpoints / "best.ckpt", checkpoints / "last.ckpt"]
    for path in [*left, *checkpoints.glob(".*.ckpt.*")]:
        path.unlink(missing_ok=True)


def remove_unfinished(run_dir: Path) -> None:
    """Removes what a process that was killed while it wrote a file left beside it."""
    for folder in (run_dir, run_dir / "checkpoints"):
        for path in folder.glob(".*.*"):
            if path.suffix[1:].isdigit():
                path.unlink(missing_ok=True)
