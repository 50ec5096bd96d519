"""The trials of a sweep as a pandas data frame. Only this module imports pandas, and only when it is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lit_dl.errors import LitError
from sweeps.results.trial_result import COLUMNS, TrialResult, with_seen_parameters
from sweeps.spec.space import Parameter
from sweeps.spec.spec import SweepSpec

if TYPE_CHECKING:
    import pandas as pd

_INTEGERS = ("number", "best_epoch", "epochs", "seed", "extends", "attempt", "slot", "parameters", "peak_memory_bytes")
_TIMES = ("started", "finished")
_TEXTS = ("state", "outcome", "reason", "config_id", "run", "untested")


def trials_frame(spec: SweepSpec, results: Sequence[TrialResult], running: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Returns a data frame with one row a trial, by number.

    The columns are those of `results.csv`, with types; but a parameter has its own dotted key, without `params.`
    before it, unless another column has that name.

    Args:
        spec: The spec.
        results: The finished trials.
        running: The running trials, as `status.json` has them.

    Raises:
        LitError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise LitError("trials: needs pandas, which is not installed; pip install 'lit-sweeps[pandas]'") from None
    spec = with_seen_parameters(spec, results)
    finished = {result.number for result in results}
    rows = [{**dict.fromkeys((*_INTEGERS, *_TEXTS)), **result.to_row()} for result in results]
    rows += [_running_row(entry) for entry in running if entry["number"] not in finished]
    rows = sorted(rows, key=lambda row: row["number"])
    names = dict.fromkeys(
        [*COLUMNS, *(f"params.{p.name}" for p in spec.space), *(name for row in rows for name in row)]
    )
    names.pop("schema", None)
    parameters = {f"params.{parameter.name}": parameter for parameter in spec.space}
    frame = pd.DataFrame(
        {name: _column(name, [row.get(name) for row in rows], parameters.get(name)) for name in _ordered(names)},
        index=pd.RangeIndex(len(rows)),
    )
    short = {name: name.removeprefix("params.") for name in parameters}
    return frame.rename(columns={name: own for name, own in short.items() if own not in frame.columns})


def _running_row(entry: Mapping[str, Any]) -> dict[str, Any]:
    row = {"number": entry["number"], "state": "RUNNING", "epochs": entry.get("epoch"), "slot": entry.get("slot")}
    row |= {"attempt": entry.get("attempt"), "elapsed_s": entry.get("elapsed_s")}
    return row | {f"params.{name}": value for name, value in entry.get("params", {}).items()}


def _ordered(names: Mapping[str, Any]) -> list[str]:
    """Returns the names of the columns: first what every trial has, then parameters, metrics, and seconds."""
    groups = ("params.", "best.", "last.")
    own = [name for name in names if not name.startswith(groups)]
    return own[: len(COLUMNS)] + [n for group in groups for n in names if n.startswith(group)] + own[len(COLUMNS) :]


def _column(name: str, values: list[Any], parameter: Parameter | None) -> pd.Series:
    """Returns a column of its type. A missing value is `pd.NA`, and NaN in a column of floats."""
    import pandas as pd

    if name in _TIMES:
        return pd.to_datetime(pd.Series(values, dtype=object), utc=True, format="ISO8601")
    if parameter is not None:
        kinds = {"int" if parameter.type == "int" else "float"} if parameter.is_range else _kinds(parameter.options())
        types = {"int": "Int64", "float": "float64", "bool": "boolean", "str": "string"}
        kind = "float" if kinds == {"int", "float"} else "".join(kinds)
        return pd.Series(values, dtype=types.get(kind, "object"))
    kind = "Int64" if name in _INTEGERS else "string" if name in (*_TEXTS, "infeasible") else "float64"
    return pd.Series(values, dtype=kind)


def _kinds(options: Sequence[Any]) -> set[str]:
    return {type(option).__name__ for option in options if option is not None}
