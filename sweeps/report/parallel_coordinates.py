"""Parallel coordinates: a line for each configuration through all its parameters to its value.

Optuna's `plot_parallel_coordinate` is not used, because a few very bad values compress its axis and its color scale,
and because it leaves out every trial in which a parameter does not apply.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from sweeps.report.formatting import format_value
from sweeps.report.plot_style import Panel, axis_ticks, color_scale, make_figure, plot_text, value_axis, widened
from sweeps.report.sweep_data import SweepData, option_index
from sweeps.report.templating import render_panel
from sweeps.results.ranking import RankedConfiguration
from sweeps.spec.space import Parameter

MAX_LINES = 300  # more cannot be told apart, and take seconds to draw where WebGL has no GPU
_NOT_SET = "not set"
_NAME_LENGTH, _OPTION_LENGTH = 18, 14
_FAN_WIDTH = 0.3  # of the distance between two options


def section(sweep: SweepData) -> Markup:
    """Returns the section as HTML; empty in a sweep without a search space."""
    return render_panel("parallel", panel(sweep)) if len(sweep.spec.space) else Markup("")


def panel(sweep: SweepData) -> Panel:
    """Returns the plot, or a note where there is too little to plot."""
    parameters = list(sweep.spec.space)
    if not parameters or len(sweep.ranked) < 2:
        return Panel(None, "Not drawn: it takes a parameter and two completed configurations.")
    # The last line is drawn on top: that of the best configuration.
    shown = sweep.ranked[:: math.ceil(len(sweep.ranked) / MAX_LINES)]
    entries = sorted(shown, key=lambda entry: -sweep.sign * entry.mean)
    dimensions = [_dimension(sweep, parameter, entries) for parameter in parameters]
    objective, is_cut = _objective_dimension(sweep, entries)
    dimensions += [*_other_objectives(sweep, entries), objective]
    lines = go.Parcoords(
        line={"color": objective["values"], **color_scale(objective["values"], sweep.sign)},
        dimensions=dimensions,
        labelfont={"size": 12},
        tickfont={"size": 11},
        rangefont={"size": 10, "color": "rgba(0,0,0,0)"},  # would repeat the ends of the axes
        labelangle=0,
    )
    figure = make_figure([lines], margin={"l": 70, "r": 70, "t": 48, "b": 20})
    return Panel(figure, _note(sweep, entries, is_cut), height=420, min_width=90 * len(dimensions) + 60)


def _note(sweep: SweepData, entries: Sequence[RankedConfiguration], is_cut: bool) -> str:
    note = "The more a line stands out, the better. Drag along an axis to keep only the lines through there;"
    note += " drag a name to move its axis."
    if len(entries) < len(sweep.ranked):
        note += f" An even selection of {len(entries)} of the {len(sweep.ranked)} ranked configurations."
    if any(not parameter.is_range for parameter in sweep.spec.space):
        note += " Within a choice, lines are fanned out from worse to better."
    if any(len(sweep.params(entry.best_trial)) < len(sweep.spec.space) for entry in entries):
        note += f" “{_NOT_SET}”: the parameter does not apply to that configuration."
    return note + (" Far worse values are drawn at the end of the axis." if is_cut else "")


def _objective_dimension(sweep: SweepData, entries: Sequence[RankedConfiguration]) -> tuple[dict[str, Any], bool]:
    """Returns the axis of the first objective, with outliers moved to its end; and whether there are any."""
    means = [entry.mean for entry in entries]
    settings, axis_note = value_axis(means, sweep.metric, sweep.sign)
    log = settings["type"] == "log"
    positions = [math.log10(mean) if log else mean for mean in means]
    low, high = settings.get("range", (min(positions), max(positions)))
    positions = [min(max(position, low), high) for position in positions]
    low, high = min(positions), max(positions)
    ticks = axis_ticks(10**low if log else low, 10**high if log else high, log)
    dimension = {
        "label": f"<b>{plot_text(sweep.metric, _NAME_LENGTH)}</b>",
        "values": positions,
        "range": widened(low, high),
        "tickvals": [math.log10(tick) if log else tick for tick in ticks],
        "ticktext": [format_value(float(tick), 4) for tick in ticks],
    }
    return dimension, bool(axis_note)


def _other_objectives(sweep: SweepData, entries: Sequence[RankedConfiguration]) -> list[dict[str, Any]]:
    metrics = [objective.metric for objective in sweep.spec.objectives[1:]]
    known = [metric for metric in metrics if all(metric in entry.best_trial.best for entry in entries)]
    return [
        {"label": plot_text(metric, _NAME_LENGTH), "values": [entry.best_trial.best[metric] for entry in entries]}
        for metric in known
    ]


def _dimension(sweep: SweepData, parameter: Parameter, entries: Sequence[RankedConfiguration]) -> dict[str, Any]:
    values = [sweep.params(entry.best_trial).get(parameter.name, _NOT_SET) for entry in entries]
    name = plot_text(sweep.names[parameter.name], _NAME_LENGTH)
    if parameter.is_range:
        return {"label": f"{name}{' (log)' if parameter.log else ''}", **_range_dimension(parameter, values)}
    options = [*parameter.options(), *([_NOT_SET] if _NOT_SET in values else [])]
    last = len(values) - 1
    positions = [option_index(options, v) + _FAN_WIDTH * (i / last - 0.5) for i, v in enumerate(values)]
    texts = [plot_text(format_value(option), _OPTION_LENGTH) for option in options]
    dimension = {"label": name, "values": positions, "range": [-_FAN_WIDTH, len(options) - 1 + _FAN_WIDTH]}
    return dimension | {"tickvals": list(range(len(options))), "ticktext": texts}


def _range_dimension(parameter: Parameter, values: Sequence[Any]) -> dict[str, Any]:
    """Returns positions, range and ticks of a range. "Not set" has a position below the range."""

    def position(value: float) -> float:
        return math.log10(value) if parameter.log else value

    assert parameter.low is not None
    assert parameter.high is not None
    numbers = [float(value) for value in values if value != _NOT_SET and not (parameter.log and float(value) <= 0)]
    low, high = min([parameter.low, *numbers]), max([parameter.high, *numbers])
    ticks = axis_ticks(low, high, parameter.log, whole=parameter.type == "int")
    start, end = widened(position(low), position(high))
    below = start - 0.15 * (end - start)
    has_unset = len(numbers) < len(values)
    return {
        "values": [below if value == _NOT_SET else position(float(value)) for value in values],
        "range": [below if has_unset else start, end],
        "tickvals": ([below] if has_unset else []) + [position(tick) for tick in ticks],
        "ticktext": ([_NOT_SET] if has_unset else []) + [format_value(tick) for tick in ticks],
    }
