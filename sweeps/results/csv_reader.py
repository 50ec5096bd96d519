"""Reads `results.csv` of a run folder that has no `results.jsonl`, because an older version made it."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lit_dl.errors import StorageError
from sweeps.results.trial_result import TrialResult
from sweeps.spec.parse_spec import load_spec
from sweeps.spec.space import Parameter, Values
from sweeps.spec.spec import SweepSpec

_TEXTS = ("state", "outcome", "reason", "config_id", "run", "started", "finished")
_INTEGERS = ("number", "extends", "best_epoch", "epochs", "seed", "attempt", "slot", "parameters", "peak_memory_bytes")
_FLOATS = ("value", "elapsed_s")


def read_csv(path: Path, spec_path: Path) -> list[TrialResult]:
    """Returns the results in a `results.csv`. The column gives the type of a value; for a parameter the spec does.

    Two options of one parameter with the same text, such as `1` and `"1"`, cannot be told apart in CSV. The first of
    them is returned.

    Raises:
        StorageError: The file is damaged.
    """
    spec = load_spec(spec_path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(file)]
        return [_result(spec, row) for row in rows]
    except (ValueError, TypeError, AttributeError, csv.Error) as error:
        raise StorageError(f"{path}: must be what sweeps launch writes; damaged ({error})") from None


def _result(spec: SweepSpec, row: Mapping[str, str]) -> TrialResult:
    values: dict[str, Any] = {name: row[name] for name in _TEXTS if name in row}
    values |= {name: int(row[name]) for name in _INTEGERS if name in row}
    values |= {name: float(row[name]) for name in _FLOATS if name in row}
    seconds = {
        name.removesuffix("_s"): float(cell)
        for name, cell in row.items()
        if name.endswith("_s") and "." not in name and name not in _FLOATS
    }
    # Version 1 of the table had the prefixes `metrics.` and `final.`.
    best = _metrics(row, "metrics.") | _metrics(row, "best.")
    last = _metrics(row, "final.") | _metrics(row, "last.")
    return TrialResult(**values, params=_params(spec, row), best=best, last=last, seconds=seconds)


def _metrics(row: Mapping[str, str], prefix: str) -> dict[str, float]:
    values = {name.removeprefix(prefix): float(cell) for name, cell in row.items() if name.startswith(prefix)}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _params(spec: SweepSpec, row: Mapping[str, str]) -> Values:
    """Returns the parameters of a trial. An empty cell is a chosen null, or the parameter does not apply."""
    listed = spec.runs.get(row.get("run", ""))
    params: Values = {}
    for parameter in spec.space:
        cell = row.get(f"params.{parameter.name}")
        applies = (listed is None or parameter.name in listed) and parameter.applies(params)
        if cell is not None:
            params[parameter.name] = _param(parameter, cell)
        elif applies and not parameter.is_range and None in parameter.options():
            params[parameter.name] = None
    return params


def _param(parameter: Parameter, cell: str) -> Any:
    if parameter.is_range:
        return int(cell) if parameter.type == "int" else float(cell)
    return next((option for option in parameter.options() if str(option) == cell), cell)
