"""Reads `status.json`, in which the launcher keeps the progress of a sweep."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lit_dl.errors import StorageError
from sweeps.study.liveness import is_alive

STATUS_JSON = "status.json"
STOPPED = "stopped: "
"""How the state of a sweep begins that has stopped by the rule in its spec; the reason follows."""


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


def live_status(run_dir: Path) -> dict[str, Any]:
    """Returns the same with the state `killed` where the launcher died without writing another."""
    status = read_status(run_dir)
    return (
        {**status, "state": "killed"} if status["state"] == "running" and not is_alive(status["launcher"]) else status
    )


def how_to_go_on(state: str) -> str | None:
    """Returns what makes a sweep in this state go on; `None` where nothing is left to do, or it runs."""
    if state.startswith(STOPPED):
        return "it goes on when stop is changed in the spec, or left out"
    return None if state in ("running", "finished") else "the same command goes on from here"


def count_text(status: Mapping[str, Any]) -> str:
    """Returns the number of trials by outcome as text, such as `10 completed, 2 pruned`."""
    counts = {**status["outcomes"], "running": status["counts"]["RUNNING"], "waiting": status["counts"]["WAITING"]}
    infeasible = status.get("infeasible")  # older versions had no constraints
    more = {"completed": f" ({infeasible} infeasible)" if infeasible else ""}
    parts = [f"{number} {name.replace('_', ' ')}{more.get(name, '')}" for name, number in counts.items() if number]
    return ", ".join(parts) or "no trial yet"


def total_text(status: Mapping[str, Any]) -> str:
    """Returns the number of trials that there are to be, such as `10`, or `10 and 3 extensions`."""
    extensions = status.get("n_extensions", 0)  # older versions wrote none
    return f"{status['n_trials']}" + (f" and {extensions} extension{'s' * (extensions > 1)}" if extensions else "")


def front_lines(status: Mapping[str, Any], most: int = 10) -> list[str]:
    """Returns a heading and a line for each configuration on the Pareto front; none in a sweep with one objective.

    Args:
        status: The content of `status.json`. Older versions wrote no front.
        most: Number of configurations after which the others are only counted.
    """
    front = status.get("front") or []
    if not front:
        return []
    lines = [f"{len(front)} on the Pareto front, which no other beats in all objectives:"]
    lines += [f"  trial {entry['number']}: {_values_text(entry['values'])}" for entry in front[:most]]
    return lines + ([f"  and {len(front) - most} more"] if len(front) > most else [])


def _values_text(values: Mapping[str, float | None]) -> str:
    return ", ".join(f"{metric} {'missing' if value is None else f'{value:.6g}'}" for metric, value in values.items())


def running_text(entry: Mapping[str, Any]) -> str:
    """Returns a running trial as text, such as `trial 3 in slot 1: epoch 2, 0.75, 4.2 s`; without what is not known."""
    place = "" if entry["slot"] is None else f" in slot {entry['slot']}"
    epoch = "no epoch yet" if entry["epoch"] is None else f"epoch {entry['epoch']}"
    value = "" if entry["value"] is None else f"{entry['value']:.6g}"
    seconds = "" if entry["elapsed_s"] is None else f"{entry['elapsed_s']} s"
    extends = "" if entry.get("extends") is None else f", which extends trial {entry['extends']},"
    return f"trial {entry['number']}{extends}{place}: " + ", ".join(filter(None, (epoch, value, seconds)))
