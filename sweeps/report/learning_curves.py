"""The learning curves of all trials: the objective by epoch, coloured by any parameter.

The curves themselves are in the records of the page (`trial_records`); the script `learning_curves.js` draws them,
because a choice of the reader colours them anew.
"""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from sweeps.report.plot_style import Panel, epoch_axis, make_figure, value_axis
from sweeps.report.sweep_data import SweepData
from sweeps.report.templating import render, render_panel


def section(sweep: SweepData) -> Markup:
    """Returns the section as HTML."""
    drawn = panel(sweep)
    if drawn.figure is None:
        return render_panel("curves", drawn)
    named = ["configuration"] if sweep.spec.runs else []
    return render("learning_curves.html", panel=drawn, keys=[*named, *sweep.names.values()])


def panel(sweep: SweepData) -> Panel:
    """Returns the plot without its lines; a note where no trial has a curve."""
    curves = list(sweep.curves.values())
    if not curves:
        return Panel(None, f"No trial has logged {sweep.metric} by epoch in its metrics.csv.")
    values = [value for curve in curves for _, value in curve]
    # Even a good run begins with bad values, so the axis need not hold the first quarter of a curve.
    late = [value for curve in curves for _, value in curve[len(curve) // 4 :]]
    y, axis_note = value_axis(values, sweep.metric, sweep.sign, late)
    layout: dict[str, Any] = {"xaxis": epoch_axis(max(curve[-1][0] for curve in curves)), "yaxis": y}
    note = (
        f"All {len(curves)} curves. A trial that did not complete is a thin line that ends in its marker; the star is"
    )
    note += " the epoch that counts of the best. A click on a name hides its lines, a click on a line shows its trial."
    missing = len(sweep.trials) - len(curves)
    note += f" {missing} trials have no readable curve in this folder." if missing else ""
    alt = f"{sweep.metric} by epoch of {len(curves)} trials"
    return Panel(make_figure([], **layout), f"{note} {axis_note}".strip(), height=460, alt=alt)
