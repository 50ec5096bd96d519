"""The plot of several objectives: the first against the second, with the Pareto front."""

from __future__ import annotations

import plotly.graph_objects as go

from sweeps.report.plot_style import BEST, Panel, axis, hover_text, make_figure, marker_style
from sweeps.report.sweep_data import SweepData


def panel(sweep: SweepData) -> Panel | None:
    """Returns the plot; `None` in a sweep with one objective, or before a trial has a value of each."""
    metrics = [objective.metric for objective in sweep.spec.objectives]
    entries = [entry for entry in sweep.ranked if all(metric in entry.best_trial.best for metric in metrics)]
    if len(metrics) < 2 or not entries:
        return None
    traces = []
    for name, on_front, color, symbol in (
        ("beaten by another in all", False, marker_style("completed")[0], "circle"),
        ("beaten by none", True, BEST, "star"),
    ):
        trials = [entry.best_trial for entry in entries if entry.on_pareto_front == on_front]
        traces.append(
            go.Scatter(
                x=[trial.best[metrics[0]] for trial in trials],
                y=[trial.best[metrics[1]] for trial in trials],
                mode="markers",
                marker={"color": color, "symbol": symbol, "size": 12 if on_front else 8},
                name=f"{name} ({len(trials)})",
                text=[hover_text(sweep, trial) for trial in trials],
                hovertemplate="%{text}<br>%{x:.5g}, %{y:.5g}<extra></extra>",
            )
        )
    x, y = (axis(f"{objective.metric} ({objective.direction})") for objective in sweep.spec.objectives[:2])
    note = f"Points are the best run by {metrics[0]} of each configuration; who beats whom is by the mean over seeds."
    note += f" The first two of {len(metrics)} objectives." if len(metrics) > 2 else ""
    return Panel(make_figure(traces, xaxis=x, yaxis=y), note)
