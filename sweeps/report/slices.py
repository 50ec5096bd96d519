"""A small plot for each parameter: its value against the objective."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import plotly.graph_objects as go
from markupsafe import Markup

from sweeps.report.formatting import format_mean, format_value
from sweeps.report.plot_style import (
    BEST,
    MUTED,
    Panel,
    axis,
    axis_ticks,
    brief_hover_text,
    make_figure,
    marker_style,
    plot_text,
    value_axis,
)
from sweeps.report.sweep_data import SweepData, option_index
from sweeps.report.templating import render_panels
from sweeps.results.ranking import RankedConfiguration
from sweeps.results.trial_result import TrialResult
from sweeps.spec.space import Parameter

MAX_POINTS = 1000  # in one panel
_GOLDEN_RATIO = 0.618

T = TypeVar("T")


def section(sweep: SweepData) -> Markup:
    """Returns the section as HTML; empty in a sweep without a search space."""
    if not len(sweep.spec.space):
        return Markup("")
    all_panels = panels(sweep)
    if not all_panels:
        return Markup('<p class="note">Not drawn: no trial has completed yet.</p>')
    note = "Completed configurations against their value; the star is the best."
    if sweep.unranked:
        note += " In the strip below: trials that are not ranked."
    if max(len(sweep.ranked), len(sweep.unranked)) > MAX_POINTS:
        note += f" Of more than {MAX_POINTS}, an even selection is drawn."
    return render_panels("slice", all_panels, note=note)


def panels(sweep: SweepData) -> list[Panel]:
    """Returns a plot for each parameter. The trials that are not ranked are in a strip below the others."""
    if not sweep.ranked:
        return []
    means = [entry.mean for entry in sweep.ranked]
    y, _ = value_axis(means, sweep.metric, sweep.sign)
    if "range" not in y:  # the same in all panels, even where a parameter does not apply to the best configuration
        low, high = (math.log10(end) if y["type"] == "log" else end for end in (min(means), max(means)))
        margin = 0.08 * (high - low) or 0.05
        y["range"] = [low - margin, high + margin]
    return [_panel(sweep, parameter, y) for parameter in sweep.spec.space]


def _panel(sweep: SweepData, parameter: Parameter, y: dict[str, Any]) -> Panel:
    ranked = _even_selection([e for e in sweep.ranked if parameter.name in e.best_trial.params])
    others = _even_selection([trial for trial in sweep.unranked if parameter.name in trial.params])
    traces = [_ranked_markers(sweep, parameter, ranked[::-1]), *_strip_markers(sweep, parameter, others)]
    domain = {"domain": [0.12 if others else 0, 1]}
    strip = axis(domain=[0, 0.06], showticklabels=False, showgrid=False, range=[-1, 1], automargin=False)
    shown = [*(entry.best_trial for entry in ranked), *others]
    x = _parameter_axis(parameter, shown) | {"anchor": "y2" if others else "y"}
    figure = make_figure(traces, xaxis=x, yaxis=y | domain, **({"yaxis2": strip} if others else {}), showlegend=False)
    figure.update_layout(margin={"l": 56, "r": 10, "t": 8, "b": 36})
    when = " and ".join(
        f"{sweep.names[name]} is {' or '.join(map(format_value, options))}" for name, options in parameter.when.items()
    )
    title = parameter.name + (" (log)" if parameter.log else "")
    return Panel(figure, f"Only when {when}." if when else "", title, height=250)


def _even_selection(items: Sequence[T]) -> Sequence[T]:
    """Returns every n-th item, the first among them, such that at most `MAX_POINTS` are left."""
    return items[:: math.ceil(len(items) / MAX_POINTS) or 1]


def _ranked_markers(sweep: SweepData, parameter: Parameter, entries: Sequence[RankedConfiguration]) -> Any:
    is_best = [entry.best_trial.number in sweep.best_numbers for entry in entries]
    stds = [entry.std or 0.0 for entry in entries]
    size = 8 if len(entries) <= 300 else 5
    return go.Scatter(
        x=_positions(parameter, [entry.best_trial for entry in entries]),
        y=[entry.mean for entry in entries],
        error_y={"type": "data", "array": stds, "color": MUTED, "thickness": 1, "width": 0} if any(stds) else None,
        mode="markers",
        marker={
            "color": [BEST if best else marker_style("completed")[0] for best in is_best],
            "symbol": ["star" if best else "circle" for best in is_best],
            "size": [14 if best else size for best in is_best],
            "opacity": [1.0 if best else 0.65 for best in is_best],
            "line": {"width": 0},
        },
        text=[
            f"{brief_hover_text(sweep, entry.best_trial)}<br>{plot_text(sweep.metric)} {format_mean(entry)}"
            for entry in entries
        ],
        hovertemplate="%{text}<extra></extra>",
    )


def _strip_markers(sweep: SweepData, parameter: Parameter, trials: Sequence[TrialResult]) -> list[Any]:
    """Returns markers for trials that are not ranked: their parameter is informative, their value is not."""
    if not trials:
        return []
    colors, symbols = zip(*(marker_style(trial.outcome) for trial in trials), strict=True)
    return [
        go.Scatter(
            x=_positions(parameter, trials),
            y=[0] * len(trials),
            yaxis="y2",
            mode="markers",
            marker={"color": colors, "symbol": symbols, "size": 7, "opacity": 0.8},
            text=[brief_hover_text(sweep, trial) for trial in trials],
            hovertemplate="%{text}<extra></extra>",
        )
    ]


def _positions(parameter: Parameter, trials: Sequence[TrialResult]) -> list[float]:
    """Returns the positions of trials on the axis of a parameter. Those of one option are jittered.

    The jitter is a multiple of the golden ratio: neighbors in the list are far apart, and it is the same in every
    report of a sweep.
    """
    values = [trial.params[parameter.name] for trial in trials]
    if parameter.is_range:
        return [float(value) for value in values]
    options = parameter.options()
    jitter = [0.4 * (_GOLDEN_RATIO * index % 1 - 0.5) for index in range(len(values))]
    return [option_index(options, value) + shift for value, shift in zip(values, jitter, strict=True)]


def _parameter_axis(parameter: Parameter, trials: Sequence[TrialResult]) -> dict[str, Any]:
    """Returns an axis with the whole range or all options, and values of `runs` outside the range."""
    if not parameter.is_range:
        options = parameter.options()
        texts = [plot_text(format_value(option), max(6, 36 // len(options))) for option in options]
        ticks = list(range(len(options)))
        return axis(tickvals=ticks, ticktext=texts, range=[-0.5, len(options) - 0.5], showgrid=False)
    assert parameter.low is not None
    assert parameter.high is not None
    values = _positions(parameter, trials)
    low, high = min([parameter.low, *values]), max([parameter.high, *values])
    tick_values = axis_ticks(low, high, parameter.log, whole=parameter.type == "int")
    start, end = (math.log10(low), math.log10(high)) if parameter.log else (low, high)
    margin = 0.05 * (end - start) or 0.5
    return axis(
        type="log" if parameter.log else "linear",
        range=[start - margin, end + margin],
        tickvals=tick_values,
        ticktext=[format_value(tick, 3) for tick in tick_values],
    )
