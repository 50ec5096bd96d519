"""The history plot: the value of every trial in order of finishing, and the best value so far."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from sweeps.report.plot_style import (
    BEST,
    MAX_SVG_POINTS,
    MUTED,
    Panel,
    axis,
    brief_hover_text,
    make_figure,
    marker_style,
    plot_text,
    value_axis,
)
from sweeps.report.sweep_data import SweepData
from sweeps.report.templating import render_panel
from sweeps.results.trial_result import TrialResult

Entry = tuple[int, TrialResult]
"""A trial, and its position in the order of finishing, from 1."""


def section(sweep: SweepData) -> Markup:
    """Returns the section as HTML."""
    return render_panel("history", panel(sweep))


def panel(sweep: SweepData) -> Panel:
    """Returns the plot, or a note where no trial has a value."""
    entries = list(enumerate(sweep.results, start=1))
    with_value = [entry for entry in entries if entry[1].value is not None]
    without = [entry for entry in entries if entry[1].value is None]
    if not with_value:
        return Panel(None, f"No trial that ended has a value of {sweep.metric}.")
    traces = [_best_so_far(sweep, entries), *_markers(sweep, with_value), *_markers(sweep, without, in_strip=True)]
    if sweep.best_numbers:
        traces.append(_best_marker(sweep, with_value))
    values = [trial.value for _, trial in with_value if trial.value is not None]
    y, note = value_axis(values, sweep.metric, sweep.sign, domain=[0.14 if without else 0, 1])
    strip = axis(domain=[0, 0.08], tickvals=[0], ticktext=["no value"], range=[-1, 1])
    x = axis("trials, in order of finishing", range=[0.5, len(entries) + 0.5], anchor="y2" if without else "y")
    x |= {"tickformat": "d"} | ({"dtick": 1} if len(entries) <= 20 else {})
    figure = make_figure([t for t in traces if t], xaxis=x, yaxis=y, **({"yaxis2": strip} if without else {}))
    if any(result.outcome == "pruned" for result in sweep.results):
        note = f"A pruned trial stands at its best value until it was stopped; it is not ranked. {note}"
    return Panel(figure, note)


def _best_so_far(sweep: SweepData, entries: Sequence[Entry]) -> Any:
    ranked = [(x, trial) for x, trial in entries if trial.is_completed and not trial.infeasible]
    points = [(x, trial.value) for x, trial in ranked if trial.value is not None]
    if not points:
        return None
    best = list(accumulate((value for _, value in points), min if sweep.sign > 0 else max))
    return go.Scatter(
        x=[*(x for x, _ in points), len(entries)],
        y=[*best, best[-1]],
        mode="lines",
        line={"shape": "hv", "color": MUTED, "width": 1.5},
        name="best single trial so far"
        if len(sweep.spec.objectives) == 1
        else f"best {plot_text(sweep.metric)} so far",
        hoverinfo="skip",
    )


def _markers(sweep: SweepData, entries: Sequence[Entry], in_strip: bool = False) -> list[Any]:
    """Returns one trace of markers for each outcome. Trials without a value are in a strip below the others."""
    scatter = go.Scattergl if len(sweep.results) > MAX_SVG_POINTS else go.Scatter
    size = 9 if len(sweep.results) <= 300 else 5
    traces = []
    outcomes = ["infeasible" if trial.infeasible else trial.outcome for _, trial in entries]
    for outcome in dict.fromkeys(outcomes):
        chosen = [entry for entry, its in zip(entries, outcomes, strict=True) if its == outcome]
        color, symbol = marker_style(outcome)
        name = f"{outcome.replace('_', ' ')}{', no value' if in_strip else ''} ({len(chosen)})"
        traces.append(
            scatter(
                x=[x for x, _ in chosen],
                y=[0 if in_strip else trial.value for _, trial in chosen],
                yaxis="y2" if in_strip else "y",
                mode="markers",
                marker={"color": color, "symbol": symbol, "size": size, "opacity": 0.85},
                name=plot_text(name),
                text=[brief_hover_text(sweep, trial) for _, trial in chosen],
                hovertemplate="%{text}<br>" + ("" if in_strip else "value %{y:.5g}") + "<extra></extra>",
            )
        )
    return traces


def _best_marker(sweep: SweepData, entries: Sequence[Entry]) -> Any:
    """Returns a ring around each trial of the best configurations."""
    chosen = [(x, trial) for x, trial in entries if trial.number in sweep.best_numbers]
    return go.Scatter(
        x=[x for x, _ in chosen],
        y=[trial.value for _, trial in chosen],
        mode="markers",
        marker={"color": "rgba(0,0,0,0)", "size": 17, "symbol": "circle", "line": {"color": BEST, "width": 3}},
        name=sweep.best_name,
        hoverinfo="skip",
    )
