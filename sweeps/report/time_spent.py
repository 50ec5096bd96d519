"""The plot of time: the seconds of each trial by part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from sweeps.report.formatting import format_duration, format_value, trial_label
from sweeps.report.plot_style import Panel, axis, make_figure, plot_text
from sweeps.report.sweep_data import SweepData
from sweeps.report.templating import render_panel
from sweeps.results.trial_result import TrialResult

MAX_BARS = 200
_PARTS = {
    "train": ("training", "#0072B2"),
    "validate": ("validation", "#56B4E9"),
    "data": ("data", "#E69F00"),
    "checkpoint": ("checkpoints", "#F0E442"),
    "tracking": ("tracking", "#CC79A7"),
    "waiting": ("waiting for a trial", "#9aa3af"),
}
_REST = ("the rest", "#d9dde3")


def section(sweep: SweepData) -> Markup:
    """Returns the section as HTML."""
    return render_panel("time", panel(sweep))


def panel(sweep: SweepData) -> Panel:
    """Returns the plot, or a note where no trial has times."""
    timed = [trial for trial in sweep.newest if trial.seconds.get("total", 0) > 0]
    if not timed:
        return Panel(None, "No trial has left its times.")
    longest = sorted(timed, key=lambda trial: -trial.seconds["total"])[:MAX_BARS]
    shown = sorted(longest, key=lambda trial: trial.number)
    x = axis("trial", type="category", showgrid=False)
    traces = [_bars(shown, part) for part in (*_PARTS, "rest")]
    figure = make_figure(traces, xaxis=x, yaxis=axis("seconds"), barmode="stack", bargap=0.15)
    note = f" The {MAX_BARS} longest of {len(timed)} trials are drawn." if len(timed) > MAX_BARS else ""
    return Panel(figure, _shares(timed) + note)


def _seconds(trial: TrialResult, part: str) -> float:
    if part != "rest":
        return trial.seconds.get(part, 0.0)
    return max(0.0, trial.seconds["total"] - sum(_seconds(trial, other) for other in _PARTS))


def _bars(shown: Sequence[TrialResult], part: str) -> Any:
    name, color = _PARTS.get(part, _REST)
    labels = [f"{trial_label(t)} ({t.outcome}), {format_value(float(t.seconds['total']))} s in all" for t in shown]
    return go.Bar(
        x=[str(trial.number) for trial in shown],
        y=[_seconds(trial, part) for trial in shown],
        name=name,
        marker={"color": color, "line": {"width": 0}},
        text=[plot_text(label) for label in labels],
        textposition="none",
        hovertemplate=f"%{{text}}<br>{name} %{{y:.3g}} s<extra></extra>",
    )


def _shares(timed: Sequence[TrialResult]) -> str:
    total = sum(trial.seconds["total"] for trial in timed)
    shares = {part: sum(_seconds(trial, part) for trial in timed) / total for part in (*_PARTS, "rest")}
    others = sorted((part for part in shares if part != "train"), key=lambda part: -shares[part])
    rest = ", ".join(f"{_PARTS.get(part, _REST)[0]} {shares[part]:.1%}" for part in others if shares[part] >= 0.001)
    training = f"{shares['train']:.0%} of it was training"
    return f"{format_duration(total)} in {len(timed)} trials; {training}. {rest.capitalize()}."
