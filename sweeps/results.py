"""The table of finished trials: everything that status, best and reports read. Imports neither optuna nor torch."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from lit_dl.errors import StorageError
from lit_dl.files import write_text
from sweeps.spec.objective import Objective
from sweeps.spec.spec import SweepSpec
from sweeps.study.configurations import config_id_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

Row = dict[str, Any]

FIRST_COLUMNS = (
    "number",
    "state",
    "outcome",
    "reason",
    "value",
    "best_epoch",
    "epochs",
    "seed",
    "elapsed_s",
    "config_id",
    "run",
    "attempt",
    "slot",
    "started",
    "finished",
)
_TEXT = ("state", "outcome", "reason", "config_id", "run", "started", "finished")


def rows_of(
    spec: SweepSpec, trials: Iterable[FrozenTrial], evaluations: Mapping[int, Mapping[str, float]]
) -> list[Row]:
    """One row for each finished trial, in the order of their numbers."""
    return [_row(spec, trial, evaluations.get(trial.number, {})) for trial in trials if trial.state.is_finished()]


def _row(spec: SweepSpec, trial: FrozenTrial, evaluation: Mapping[str, float]) -> Row:
    result = dict(trial.user_attrs.get("result", {}))
    row = dict.fromkeys(FIRST_COLUMNS)
    row |= {"number": trial.number, "state": trial.state.name, "outcome": "failed", "reason": "unknown"}
    row["seed"] = spec.seed(trial.user_attrs.get("seed_number", 0))
    row |= {"config_id": config_id_of(trial), "run": trial.user_attrs.get("run")}
    head = {key: value for key, value in result.items() if not key.startswith(("metrics.", "final."))}
    row |= head
    if trial.state.name == "COMPLETE":
        row["value"] = trial.values[0]
    elif result.get(f"metrics.{spec.objectives[0].metric}") is not None:
        row["value"] = result[f"metrics.{spec.objectives[0].metric}"]
    row |= {f"params.{key}": value for key, value in trial.params.items()}
    row |= {key: value for key, value in result.items() if key.startswith("metrics.")}
    row |= {f"metrics.{key}": value for key, value in evaluation.items()}
    return row | {key: value for key, value in result.items() if key.startswith("final.")}


def write_results(path: Path, rows: list[Row]) -> None:
    """Writes the table whole; a missing value is an empty cell."""
    groups = ("params.", "metrics.", "final.")
    names = dict.fromkeys([*FIRST_COLUMNS, *(key for row in rows for key in row)])
    columns = [name for name in names if not name.startswith(groups)]
    columns += [name for group in groups for name in sorted(names) if name.startswith(group)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_results(run_dir: Path) -> list[Row]:
    """The rows of a run folder: numbers as numbers, empty cells left out.

    Raises:
        StorageError: The folder holds no sweep.
    """
    path = run_dir / "results.csv"
    if not (run_dir / "spec.yaml").is_file():
        raise StorageError(f"{run_dir}: must be the run folder of a sweep; it has no spec.yaml")
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: _value(k, v) for k, v in row.items() if v != ""} for row in csv.DictReader(file)]


def _value(column: str, text: str) -> Any:
    if column in _TEXT:
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"True": True, "False": False}.get(text, text)


def ranking(rows: Iterable[Row], objectives: list[Objective]) -> list[Row]:
    """Completed configurations, best first: by the mean over their seeds; each with its best run and the spread.

    A configuration with fewer completed runs than others (a seed that was pruned, failed, or is still to come) stands
    below them: what it lost were its worst. With several objectives those come first that no other beats in all.
    PRUNED and FAIL are not ranked: their values are of other epochs.

    Returns:
        For each configuration: the row of its best run, with `mean`, `deviation` (`None` for one seed), `n`, `numbers`,
        and `front`: whether no other beats it, where there are several objectives.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row["state"] == "COMPLETE":
            groups.setdefault(str(row["config_id"]), []).append(row)
    points = {config_id: _point(members, objectives) for config_id, members in groups.items()}
    pareto = _pareto_front(points.values()) if len(objectives) > 1 else set()
    sign = objectives[0].sign
    entries = []
    for config_id, members in groups.items():
        values = [float(row["value"]) for row in members]
        best = min(members, key=lambda row: sign * float(row["value"]))
        spread = stdev(values) if len(values) > 1 else None
        numbers = [row["number"] for row in members]
        front = points[config_id] in pareto
        more = {"mean": fmean(values), "deviation": spread, "n": len(values), "numbers": numbers, "front": front}
        entries.append({**best, **more})
    most = max((entry["n"] for entry in entries), default=0)
    several = len(objectives) > 1
    return sorted(entries, key=lambda e: (e["n"] < most, several and not e["front"], sign * e["mean"], e["number"]))


def _point(members: list[Row], objectives: list[Objective]) -> tuple[float, ...]:
    """Means of all objectives over the runs of a configuration, so that less is better."""
    point = []
    for objective in objectives:
        mean = fmean(float(row.get(f"metrics.{objective.metric}", math.nan)) for row in members)
        point.append(math.inf if math.isnan(mean) else objective.sign * mean)
    return tuple(point)


def _pareto_front(points: Iterable[tuple[float, ...]]) -> set[tuple[float, ...]]:
    """Those that no other point beats in all; who beats a point comes before it in order, and is itself unbeaten or
    beaten by one that is.
    """
    front: list[tuple[float, ...]] = []
    for point in sorted(set(points)):
        if not any(all(a <= b for a, b in zip(other, point, strict=True)) for other in front):
            front.append(point)
    return set(front)


def read_status(run_dir: Path) -> Row:
    """What the launcher last wrote about a sweep.

    Raises:
        StorageError: The folder holds no sweep.
    """
    path = run_dir / "status.json"
    if not path.is_file():
        raise StorageError(f"{run_dir}: must be the run folder of a sweep; it has no status.json")
    try:
        status: Row = json.loads(path.read_text(encoding="utf-8"))
        if {"name", "state", "counts", "objectives", "launcher"} <= set(status):
            return status
    except ValueError:
        pass
    raise StorageError(f"{path}: must be what sweeps launch writes; damaged; launch the sweep again to have it written")


def counted(status: dict[str, Any]) -> str:
    """How many trials ended how, such as `10 completed, 2 pruned`."""
    counts = {**status["outcomes"], "running": status["counts"]["RUNNING"], "waiting": status["counts"]["WAITING"]}
    return (
        ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in counts.items() if number) or "no trial yet"
    )
