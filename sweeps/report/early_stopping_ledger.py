"""The early-stopping ledger: where each trial stopped and why, which epoch it restored, what that saved."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from lit_dl.config.keys import get_key
from sweeps.report.data_table import Column, DataTable, number_column
from sweeps.report.formatting import format_value, shorten
from sweeps.report.sweep_data import SweepData
from sweeps.report.tables import Cell, Row, Table, value_cell
from sweeps.report.templating import render
from sweeps.results.trial_result import TrialResult
from sweeps.spec.space import Parameter

_REASONS = {"pruned": "pruner", "diverged": "divergence"}
_STOPS = {"max_epochs": "finished", "early_stopping": "patience"}
_SAVING = ("patience", "pruner", "divergence")
_COUNTED = ("finished", *_SAVING, "failed")
_OPTION_LENGTH = 24


@dataclass(frozen=True)
class Entry:
    """A row of the ledger.

    Args:
        trial: The trial.
        planned: Epochs that it was to run; `None`: no limit.
        reason: finished, patience, pruner, divergence, failed, or another outcome.
        at_end: Value of the last epoch.
        checkpoint: best, last or none: what is left in the run folder.
    """

    trial: TrialResult
    planned: int | None
    reason: str
    at_end: float | None
    checkpoint: str

    @property
    def saved(self) -> int | None:
        """Epochs that were not run because the trial was stopped for its value; `None` where that is not known."""
        if self.planned is None or self.trial.epochs is None:
            return None
        return max(self.planned - self.trial.epochs, 0) if self.reason in _SAVING else 0


def section(sweep: SweepData) -> Markup:
    """Returns the section as HTML; empty before a trial has ended."""
    if not sweep.results:
        return Markup("")
    entries = ledger(sweep)
    return render(
        "ledger.html", table=table(sweep, entries), summary=_summary(entries), sums=sums_by_parameter(sweep, entries)
    )


def ledger(sweep: SweepData) -> list[Entry]:
    """Returns an entry for each trial that has begun, in the order of `sweep.trials`."""
    return [
        Entry(trial, _planned(sweep, trial), reason_of(trial), _at_end(sweep, trial), _checkpoint(sweep, trial))
        for trial in sweep.trials
    ]


def reason_of(trial: TrialResult) -> str:
    """Returns in a word why a trial ended."""
    if trial.is_completed:
        return _STOPS.get(trial.reason, trial.reason or "finished")
    return _REASONS.get(trial.outcome, trial.outcome.replace("_", " "))


def _planned(sweep: SweepData, trial: TrialResult) -> int | None:
    """Returns how many epochs a trial was to train; `None`: not known, as of one that another limit ends."""
    key, run = "trainer.max_epochs", trial.run if trial.run in sweep.spec.runs else None
    if trial.extends is not None:
        return None
    planned = get_key(sweep.spec.base, key)
    if run is not None or any(key in parameter.targets() for parameter in sweep.spec.space):
        planned = sweep.spec.overlay_keys(sweep.params(trial), run).get(key, planned)
    return planned if isinstance(planned, int) and planned > 0 else None


def _at_end(sweep: SweepData, trial: TrialResult) -> float | None:
    curve = sweep.curves.get(trial.number)
    return trial.last.get(sweep.metric, curve[-1][1] if curve else None)


def _checkpoint(sweep: SweepData, trial: TrialResult) -> str:
    path = sweep.folder(trial.number).checkpoint()
    return path.stem if path else "none"


def table(sweep: SweepData, entries: Sequence[Entry]) -> DataTable:
    """Returns the ledger, a row a trial."""
    trials = [entry.trial for entry in entries]
    columns = [
        number_column("trial", [trial.number for trial in trials]),
        Column("reason", [entry.reason for entry in entries]),
        number_column("planned epochs", [entry.planned for entry in entries]),
        number_column("stopped after", [trial.epochs for trial in trials]),
        number_column("restored epoch", [trial.best_epoch for trial in trials]),
        number_column(f"{sweep.metric} restored", [trial.value for trial in trials], sweep.decimals),
        number_column("at the end", [entry.at_end for entry in entries], sweep.decimals),
        number_column("epochs saved", [entry.saved for entry in entries]),
        Column("checkpoint", [entry.checkpoint for entry in entries]),
    ]
    return DataTable(columns, list(range(len(entries))))


def _summary(entries: Sequence[Entry]) -> str:
    run, saved = _epochs(entries)
    counts = ", ".join(f"{count} {reason}" for reason, count in Counter(entry.reason for entry in entries).items())
    share = f", {saved / (run + saved):.0%} of what was planned" if run + saved else ""
    return f"{run:,} epochs were run and {saved:,} saved{share}. {len(entries)} trials: {counts}."


def _epochs(entries: Sequence[Entry]) -> tuple[int, int]:
    return sum(entry.trial.epochs or 0 for entry in entries), sum(entry.saved or 0 for entry in entries)


def sums_by_parameter(sweep: SweepData, entries: Sequence[Entry]) -> Table | None:
    """Returns for each value of each parameter how its trials ended; `None` in a sweep without a search space."""
    rows = [
        Row([Cell(sweep.names[parameter.name]), Cell(name), *_sums(members)])
        for parameter in sweep.spec.space
        for name, members in _groups(parameter, entries)
    ]
    heads = ["parameter", "value", "trials", *_COUNTED, "other", "epochs run", "saved", "share saved"]
    return Table(heads, rows, wrapped=(1,)) if rows else None


def _sums(members: Sequence[Entry]) -> list[Cell]:
    counts = Counter(entry.reason for entry in members)
    run, saved = _epochs(members)
    other = len(members) - sum(counts[reason] for reason in _COUNTED)
    numbers = [len(members), *(counts[reason] for reason in _COUNTED), other, run, saved]
    share = saved / (run + saved) if run + saved else 0.0
    return [*map(value_cell, numbers), Cell(f"{share:.0%}", share)]


def _groups(parameter: Parameter, entries: Sequence[Entry]) -> Iterator[tuple[str, list[Entry]]]:
    """Yields name and members of each option of a parameter, or of each third of its range."""
    having = [entry for entry in entries if parameter.name in entry.trial.params]
    if not parameter.is_range:
        for option in parameter.options():
            members = [entry for entry in having if _is(entry.trial.params[parameter.name], option)]
            if members:
                yield shorten(format_value(option), _OPTION_LENGTH), members
        return
    for low, high in _thirds(parameter):
        members = [entry for entry in having if low <= _number(entry, parameter) < high]
        if members:
            values = [_number(entry, parameter) for entry in members]
            yield f"{format_value(min(values), 3)} to {format_value(max(values), 3)}", members


def _is(value: Any, option: Any) -> bool:
    return type(value) is type(option) and bool(value == option)


def _number(entry: Entry, parameter: Parameter) -> float:
    value = entry.trial.params[parameter.name]
    return value if parameter.type == "int" else float(value)


def _thirds(parameter: Parameter) -> list[tuple[float, float]]:
    """Returns the thirds of a range on its own scale; the outer ones hold what `runs` have outside of it."""
    low, high = float(parameter.low or 0), float(parameter.high or 0)
    if parameter.log:
        inner = [low * (high / low) ** (k / 3) for k in (1, 2)]
    else:
        inner = [low + (high - low) * k / 3 for k in (1, 2)]
    ends = [-math.inf, *inner, math.inf]
    return list(pairwise(ends))
