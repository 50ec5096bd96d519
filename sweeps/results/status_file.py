"""Reads `status.json`, in which the launcher keeps the progress of a sweep."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lit_dl.errors import StorageError

STATUS_JSON = "status.json"


def read_status(run_dir: Path) -> dict[str, Any]:
    """Returns what the launcher wrote last; see `sweeps.status.Progress.status`.

    Raises:
        StorageError: The folder is not the run folder of a sweep, or the file is damaged.
    """
    path = run_dir / STATUS_JSON
    if not path.is_file():
        raise StorageError(f"{run_dir}: must be the run folder of a sweep; it has no status.json")
    try:
        status: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if {"name", "state", "counts", "objectives", "launcher"} <= set(status):
            return status
    except ValueError:
        pass
    raise StorageError(f"{path}: must be what sweeps launch writes; damaged; launch the sweep again to have it written")


def count_text(status: Mapping[str, Any]) -> str:
    """Returns the number of trials by outcome as text, such as `10 completed, 2 pruned`."""
    counts = {**status["outcomes"], "running": status["counts"]["RUNNING"], "waiting": status["counts"]["WAITING"]}
    parts = [f"{number} {name.replace('_', ' ')}" for name, number in counts.items() if number]
    return ", ".join(parts) or "no trial yet"


def running_text(entry: Mapping[str, Any]) -> str:
    """Returns a running trial as text, such as `trial 3 in slot 1: epoch 2, 0.75, 4.2 s`; without what is not known."""
    place = "" if entry["slot"] is None else f" in slot {entry['slot']}"
    epoch = "no epoch yet" if entry["epoch"] is None else f"epoch {entry['epoch']}"
    value = "" if entry["value"] is None else f"{entry['value']:.6g}"
    seconds = "" if entry["elapsed_s"] is None else f"{entry['elapsed_s']} s"
    return f"trial {entry['number']}{place}: " + ", ".join(filter(None, (epoch, value, seconds)))
