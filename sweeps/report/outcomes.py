"""How the trials ended: outcomes with their reasons, and the timeline of the slots they ran in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from sweeps.report.formatting import format_duration, format_value, trial_label
from sweeps.report.plot_style import Panel, axis, make_figure, marker_style, plot_text
from sweeps.report.sweep_data import SweepData
from sweeps.report.tables import Cell, Row, Table, value_cell
from sweeps.report.templating import render
from sweeps.results.trial_result import TrialResult

MAX_REASONS = 30
_NUMBERS = re.compile(r"\d+(\.\d+)?")
_BAR_PX, _GAP_PX = 18, 8


def section(sweep: SweepData) -> Markup:
    """Returns the section as HTML; empty before a trial has ended."""
    if not sweep.results:
        return Markup("")
    return render("outcomes.html", table=table(sweep), timeline=timeline(sweep))


def table(sweep: SweepData) -> Table:
    """Returns the reasons of each outcome, the most frequent first. Reasons that differ in numbers are one."""
    groups: dict[tuple[str, str], list[TrialResult]] = {}
    for trial in [*sweep.results, *sweep.unfinished]:
        groups.setdefault((trial.outcome, _NUMBERS.sub("#", trial.reason)), []).append(trial)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))[:MAX_REASONS]
    heads = ["outcome", "trials", "why", "time", "such as"]
    return Table(heads, [Row(_cells(outcome, trials)) for (outcome, _), trials in ordered], wrapped=(2,))


def _cells(outcome: str, trials: Sequence[TrialResult]) -> list[Cell]:
    seconds = sum(trial.elapsed_s or 0.0 for trial in trials)
    time = Cell(format_duration(seconds), seconds)
    such = value_cell(trials[0].number)
    return [Cell(outcome.replace("_", " ")), value_cell(len(trials)), Cell(trials[0].reason), time, such]


def timeline(sweep: SweepData) -> Panel:
    """Returns when which slot ran which trial, or a note where no trial has times."""
    timed = [trial for trial in sweep.results if trial.started and trial.finished]
    if not timed:
        return Panel(None, "No trial has left its times.")
    slots = sorted({_slot(trial) for trial in timed})
    outcomes = dict.fromkeys(trial.outcome for trial in timed)
    traces = [_bars([t for t in timed if t.outcome == outcome], outcome, slots) for outcome in outcomes]
    names = ["?" if slot < 0 else str(slot) for slot in slots]
    y = axis("slot", tickvals=list(range(len(slots))), ticktext=names, range=[len(slots) - 0.4, -0.6], showgrid=False)
    figure = make_figure(traces, xaxis=axis("UTC", type="date"), yaxis=y)
    height = 110 + (_BAR_PX + _GAP_PX) * max(len(slots), 2)
    note = "A bar is the last attempt of a trial. Gaps are waiting, starting, or attempts that were lost."
    return Panel(figure, f"{note} {_use(timed)}", "Timeline of slots", height)


def _slot(trial: TrialResult) -> int:
    return -1 if trial.slot is None else trial.slot


def _bars(trials: Sequence[TrialResult], outcome: str, slots: Sequence[int]) -> Any:
    """Returns the trials of an outcome as one broken line: thousands of bars would each be an element of the page."""
    places = {slot: index for index, slot in enumerate(slots)}
    color, _ = marker_style(outcome)
    x, y, texts = [], [], []
    for trial in trials:
        x += [_milliseconds(trial.started), _milliseconds(trial.finished), None]
        y += [places[_slot(trial)], places[_slot(trial)], None]
        text = f"{trial_label(trial)}: {format_value(float(trial.elapsed_s or 0), 3)} s"
        texts += [plot_text(text, 60)] * 2 + [""]
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        line={"color": color, "width": _BAR_PX},
        name=plot_text(f"{outcome.replace('_', ' ')} ({len(trials)})"),
        text=texts,
        hovertemplate="%{text}<extra></extra>",
    )


def _milliseconds(text: str | None) -> int:
    return round(datetime.fromisoformat(str(text)).timestamp() * 1000)


def _use(timed: Sequence[TrialResult]) -> str:
    """Returns how much of the time of the slots went into trials."""
    start = min(_milliseconds(trial.started) for trial in timed)
    span_s = (max(_milliseconds(trial.finished) for trial in timed) - start) / 1000
    slots = len({_slot(trial) for trial in timed})
    if span_s <= 0:
        return ""
    used = sum(_milliseconds(t.finished) - _milliseconds(t.started) for t in timed) / 1000 / (span_s * slots)
    return f"{slots} slots in {format_duration(span_s)} were in use for {min(used, 1):.0%} of the time."
