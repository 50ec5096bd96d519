"""The section on several objectives: the Pareto front as a table, and the first objective against the second."""

from __future__ import annotations

import shlex

import plotly.graph_objects as go
from markupsafe import Markup

from sweeps.report import hypervolume
from sweeps.report.hypervolume import knee
from sweeps.report.plot_style import BEST, Panel, axis, hover_text, make_figure, marker_style
from sweeps.report.sweep_data import SweepData
from sweeps.report.tables import Cell, Row, Table, metric_cell, value_cell
from sweeps.report.templating import render
from sweeps.results.ranking import winners
from sweeps.results.trial_result import TrialResult


def section(sweep: SweepData) -> Markup:
    """Returns the section as HTML; empty in a sweep with one objective, or before a trial has completed."""
    if len(sweep.spec.objectives) < 2 or not winners(sweep.ranked):
        return Markup("")
    run_dir = shlex.quote(str(sweep.run_dir))
    return render(
        "pareto_front.html",
        table=_table(sweep),
        plot_of_two=panel(sweep),
        knee=knee(sweep),
        hypervolume=hypervolume.panel(sweep),
        best=f"sweeps best {run_dir}",
        replay=f"sweeps replay {run_dir} --trial {winners(sweep.ranked)[0].best_trial.number}",
    )


def _table(sweep: SweepData) -> Table:
    metrics = [objective.metric for objective in sweep.spec.objectives]
    heads = ["trials" if sweep.has_repeats else "trial", *metrics, *sweep.names.values(), "checkpoint"]
    rows, middle = [], knee(sweep)
    for entry in winners(sweep.ranked):
        trial, params = entry.best_trial, sweep.params(entry.best_trial)
        cells = [Cell(", ".join(map(str, entry.numbers)), trial.number)]
        cells += [metric_cell(entry, metric) for metric in metrics]
        cells += [value_cell(params[name], digits=3) if name in params else Cell("-", "") for name in sweep.names]
        rows.append(
            Row([*cells, Cell(str(sweep.folder(trial.number).checkpoint() or "none is left"))], entry is middle)
        )
    return Table(heads, rows, wrapped=(len(heads) - 1,))


def panel(sweep: SweepData) -> Panel | None:
    """Returns the plot; `None` in a sweep with one objective, or before a trial has a value of each."""
    metrics = [objective.metric for objective in sweep.spec.objectives]
    entries = [entry for entry in sweep.ranked if all(metric in entry.best_trial.best for metric in metrics)]
    if len(metrics) < 2 or not entries:
        return None
    traces = []
    for name, on_front, color, symbol in (
        ("violates a constraint", None, *marker_style("infeasible")),
        ("beaten by another in all", False, marker_style("completed")[0], "circle"),
        ("beaten by none", True, BEST, "star"),
    ):
        kinds = [None if entry.infeasible else entry.on_pareto_front for entry in entries]
        trials = [entry.best_trial for entry, kind in zip(entries, kinds, strict=True) if kind is on_front]
        if not trials and on_front is None:
            continue
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
    if (middle := knee(sweep)) is not None:
        traces.append(_knee_marker(middle.best_trial, metrics))
    x, y = (axis(f"{objective.metric} ({objective.direction})") for objective in sweep.spec.objectives[:2])
    note = f"Points are the best run by {metrics[0]} of each configuration; who beats whom is by the mean over seeds."
    note += f" The first two of {len(metrics)} objectives." if len(metrics) > 2 else ""
    return Panel(make_figure(traces, xaxis=x, yaxis=y), note)


def _knee_marker(trial: TrialResult, metrics: list[str]) -> go.Scatter:
    return go.Scatter(
        x=[trial.best[metrics[0]]],
        y=[trial.best[metrics[1]]],
        mode="markers",
        marker={"color": "rgba(0,0,0,0)", "symbol": "circle", "size": 22, "line": {"color": BEST, "width": 3}},
        name="knee",
        hoverinfo="skip",
    )
