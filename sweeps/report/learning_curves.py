"""The learning curves: the objective by epoch for each trial."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from sweeps.report.plot_style import (
    BEST,
    MAX_SVG_POINTS,
    Panel,
    color_of,
    epoch_axis,
    hover_text,
    make_figure,
    marker_style,
    plot_text,
    use_log_scale,
    value_axis,
)
from sweeps.report.sweep_data import SweepData
from sweeps.report.templating import render_panel
from sweeps.results.trial_result import TrialResult
from sweeps.trial_folder import Curve

MAX_CURVES = 100
_LINE_WIDTHS = {"completed": 1.8, "pruned": 1.0}


def section(sweep: SweepData) -> Markup:
    """Returns the section as HTML."""
    return render_panel("curves", panel(sweep))


def panel(sweep: SweepData) -> Panel:
    """Returns the curves of all trials, or of the best hundred; a note where no trial has a curve."""
    curves, n_trials = _choose_curves(sweep)
    if not curves:
        return Panel(None, f"No trial has logged {sweep.metric} by epoch in its metrics.csv.")
    traces = _traces(sweep, curves)
    _name_groups(traces)
    values = [value for _, curve in curves for _, value in curve]
    # Even a good run begins with bad values, so the axis need not hold the first quarter of a curve.
    late = [value for _, curve in curves for _, value in curve[len(curve) // 4 :]]
    y, axis_note = value_axis(values, sweep.metric, sweep.sign, late)
    x = epoch_axis(max(epoch for _, curve in curves for epoch, _ in curve))
    note = f"The best {MAX_CURVES} of {n_trials} trials are drawn. " if n_trials > MAX_CURVES else ""
    note += "A dot marks the epoch whose value counts; a trial that was stopped ends in its marker. "
    note += "The darker, the better." if len(sweep.completed) > 1 else ""
    return Panel(make_figure(traces, xaxis=x, yaxis=y), f"{note} {axis_note}", height=440)


def _choose_curves(sweep: SweepData) -> tuple[list[tuple[TrialResult, Curve]], int]:
    """Returns the curves to plot, completed trials and better ones first; and the number of all trials."""

    def badness(trial: TrialResult) -> tuple[bool, float]:
        return not trial.is_completed, math.inf if trial.value is None else sweep.sign * trial.value

    finished = sorted(sweep.newest, key=badness)[:MAX_CURVES]
    unfinished = sweep.unfinished[: MAX_CURVES // 2]
    curves = [(trial, sweep.curve(trial.number)) for trial in [*finished, *unfinished]]
    return [(trial, curve) for trial, curve in curves if curve], len(sweep.newest) + len(sweep.unfinished)


def _traces(sweep: SweepData, curves: Sequence[tuple[TrialResult, Curve]]) -> list[Any]:
    """Returns a line for each trial. Plotly draws the last one on top: the best configuration.

    Below it are the trials that did not complete, because their lines are thin, and below those the completed ones,
    better over worse.
    """
    log = use_log_scale(_values(sweep.completed))
    scaled = [_scaled(value, log) for value in _values(sweep.completed)]
    # WebGL draws many points faster, but only SVG is sharp on paper.
    is_small = sum(len(curve) for _, curve in curves) <= MAX_SVG_POINTS
    traces = []
    worse_first = list(reversed(curves))
    for trial, curve in sorted(
        worse_first, key=lambda item: (item[0].number in sweep.best_numbers, not item[0].is_completed)
    ):
        is_best = trial.number in sweep.best_numbers
        color, width, symbol = _line_style(sweep, trial, is_best, scaled, log)
        marked = trial.best_epoch if trial.outcome == "completed" else curve[-1][0]
        size = 12 if is_best else 6
        traces.append(
            (go.Scatter if is_small or is_best else go.Scattergl)(
                x=[epoch for epoch, _ in curve],
                y=[value for _, value in curve],
                mode="lines+markers",
                line={
                    "color": color,
                    "width": width,
                    "dash": "dash" if trial.outcome in ("running", "interrupted") else "solid",
                },
                marker={
                    "color": color,
                    "symbol": symbol,
                    "size": [size if epoch == marked or len(curve) == 1 else 0 for epoch, _ in curve],
                    "line": {"width": 0},
                },
                legendgroup=sweep.best_name if is_best else trial.outcome,
                hovertemplate=hover_text(sweep, trial) + "<br>epoch %{x}: %{y:.5g}<extra></extra>",
            )
        )
    return traces


def _line_style(
    sweep: SweepData, trial: TrialResult, is_best: bool, scaled: Sequence[float], log: bool
) -> tuple[str, float, str]:
    """Returns color, width and marker symbol of a trial's line."""
    color, symbol = marker_style(trial.outcome)
    if is_best:
        return BEST, 3.5, "star"
    if trial.outcome == "completed" and trial.value is not None:
        color = color_of(_scaled(trial.value, log), scaled, sweep.sign)
    return color, _LINE_WIDTHS.get(trial.outcome, 1.2), symbol


def _values(trials: Sequence[TrialResult]) -> list[float]:
    return [trial.value for trial in trials if trial.value is not None]


def _scaled(value: float, log: bool) -> float:
    return math.log10(value) if log else value


def _name_groups(traces: Sequence[Any]) -> None:
    """Gives each group of lines one entry in the legend. A click on the entry hides the group."""
    last = {trace.legendgroup: trace for trace in traces}
    for trace in traces:
        members = sum(other.legendgroup == trace.legendgroup for other in traces)
        trace.update(name=f"{plot_text(trace.legendgroup)} ({members})", showlegend=trace is last[trace.legendgroup])
