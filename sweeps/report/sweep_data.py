"""What a report is made of: rows, spec, state and learning curves of a sweep, and how names and values are spelled."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lit_dl.errors import StorageError
from sweeps.results import Row, ranking, read_results, read_status
from sweeps.spec.parse_spec import load_spec
from sweeps.spec.space import Parameter, Values
from sweeps.spec.spec import SweepSpec
from sweeps.study.liveness import is_alive
from sweeps.trial_folder import TrialFolder

Curve = list[tuple[int, float]]

_SAYS_LITTLE = ("name", "class_path", "kind", "type")


@dataclass(frozen=True)
class SweepData:
    """A sweep as its run folder tells it.

    Args:
        run_dir: The run folder, as given on the command line.
        spec: Its resolved spec.
        rows: Finished trials, in order of finishing.
        ranked: Completed configurations, best first; see `sweeps.results.ranking`.
        unfinished: Trials that have begun: number, outcome, and epoch and params where the launcher said them.
        state: running, finished, killed or whatever else the launcher last wrote.
    """

    run_dir: Path
    spec: SweepSpec
    rows: list[Row]
    ranked: list[Row]
    unfinished: list[Row]
    state: str

    @property
    def metric(self) -> str:
        return self.spec.objectives[0].metric

    @property
    def sign(self) -> float:
        """Factor that makes less of the first objective better."""
        return self.spec.objectives[0].sign

    @property
    def completed(self) -> list[Row]:
        return [row for row in self.rows if row["state"] == "COMPLETE"]

    @property
    def unranked(self) -> list[Row]:
        return [row for row in self.rows if row["state"] != "COMPLETE"]

    @property
    def repeats(self) -> bool:
        """Whether any configuration has run more than once."""
        return any(entry["n"] > 1 for entry in self.ranked)

    @cached_property
    def names(self) -> dict[str, str]:
        """Short names of the parameters, by full name."""
        return short_names(parameter.name for parameter in self.spec.space)

    def counts(self) -> dict[str, int]:
        """Trials by outcome, finished ones first."""
        return dict(Counter(str(row["outcome"]) for row in [*self.rows, *self.unfinished]))

    def folder(self, number: int) -> Path:
        """The folder of a trial."""
        return TrialFolder(self.run_dir, number).path

    def values(self, row: Row) -> Values:
        """Parameters of a trial as the spec spells them; one that does not apply to it is missing."""
        values: Values = {}
        for parameter in self.spec.space:
            given = row.get(f"params.{parameter.name}")
            if given is not None:
                values[parameter.name] = given if parameter.is_range else _option(parameter, given)
            elif self._chose_null(parameter, values, row):
                values[parameter.name] = None
        return values

    def _chose_null(self, parameter: Parameter, values: Values, row: Row) -> bool:
        """An empty cell is a chosen null where null can be chosen and the conditions hold."""
        if parameter.is_range or None not in parameter.options():
            return False
        listed = self.spec.runs.get(str(row.get("run")))
        asked = listed is None or parameter.name in listed
        return asked and all(values.get(name) in options for name, options in parameter.when.items())

    def front(self) -> list[Row]:
        """With several objectives: the ranked configurations that no other beats in all of them."""
        return [entry for entry in self.ranked if entry["front"]]

    def curve(self, number: int, metric: str | None = None) -> Curve:
        """A metric by epoch; empty when the trial has not logged it, or has left no metrics.csv.

        Args:
            number: Of the trial.
            metric: `None`: the objective.
        """
        path = self.folder(number) / "metrics.csv"
        if not path.is_file():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            found = [(row.get("epoch"), row.get(metric or self.metric)) for row in csv.DictReader(file)]
        points = [(int(float(epoch)), float(value)) for epoch, value in found if epoch and value]
        return [(epoch, value) for epoch, value in points if math.isfinite(value)]


def read_sweep(run_dir: Path) -> SweepData:
    """What a run folder says of its sweep, however far that is.

    Raises:
        StorageError: The folder holds no sweep.
    """
    rows = sorted(read_results(run_dir), key=lambda row: (str(row.get("finished", "")), row["number"]))
    spec = load_spec(run_dir / "spec.yaml")
    status = _status(run_dir)
    state = str(status.get("state") or ("finished" if len(rows) >= spec.n_trials else "unfinished"))
    return SweepData(
        run_dir, spec, rows, ranking(rows, spec.objectives), _unfinished(run_dir, rows, status, state), state
    )


def _status(run_dir: Path) -> Row:
    try:
        status = read_status(run_dir)
    except StorageError:  # a sweep that was stopped before its first second, or a folder copied without it
        return {}
    if status.get("state") == "running" and not is_alive(status.get("launcher") or {}):
        return {**status, "state": "killed"}
    return status


def _unfinished(run_dir: Path, rows: list[Row], status: Row, state: str) -> list[Row]:
    finished = {row["number"] for row in rows}
    told = {row["number"]: row for row in status.get("running") or []}
    begun = {int(path.parent.name) for path in run_dir.glob("trials/*/metrics.csv") if path.parent.name.isdigit()}
    outcome = "running" if state == "running" else "interrupted"
    entries = []
    for number in sorted({*told, *begun} - finished):
        live = told.get(number, {})
        params = {f"params.{key}": value for key, value in (live.get("params") or {}).items()}
        entries.append({"number": number, "outcome": outcome, "epochs": live.get("epoch"), **params})
    return entries


def _option(parameter: Parameter, given: Any) -> Any:
    """The option that a cell was written from: `1` may have been the text '1', and `True` is no 1."""
    return next((option for option in parameter.options() if str(option) == str(given)), given)


def short_names(names: Iterable[str]) -> dict[str, str]:
    """The shortest endings of dotted names that say something and differ: `optimizer.name`, not `name`."""
    full = list(names)
    short = {name: _ending(name, 2 if name.split(".")[-1] in _SAYS_LITTLE else 1) for name in full}
    length = 2
    while len(set(short.values())) < len(full):
        often = Counter(short.values())
        short = {name: _ending(name, length) if often[text] > 1 else text for name, text in short.items()}
        length += 1
    return short


def _ending(name: str, length: int) -> str:
    return ".".join(name.split(".")[-length:])


def show(value: Any, digits: int = 4) -> str:
    """A value as text: YAML's words, numbers to some digits."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    return str(value)


def show_mean(entry: Row, digits: int = 5) -> str:
    """The mean of a ranked configuration, with the standard deviation over its seeds where it has several."""
    spread = entry["deviation"]
    return show(entry["mean"], digits) + (f" ± {spread:.2g}" if spread is not None else "")


def shorten(text: str, most: int) -> str:
    """A text of at most so many characters; of an import path the last part is kept, as that tells paths apart."""
    last = text.rpartition(".")[2]
    if len(text) > most and last.isidentifier():
        text = last
    return text if len(text) <= most else text[: most - 1] + "…"


def label(row: Row) -> str:
    """What a trial is called: its number, and its configuration's name if that has one."""
    return f"trial {row['number']}" + (f", {row['run']}" if row.get("run") else "")


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
