"""The learning curves of named configurations: the mean over seeds by epoch, with a band for its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from sweeps.report.plot_style import Panel, epoch_axis, make_figure, plot_text, rgb, side_legend, value_axis
from sweeps.report.statistics import Interval, mean_interval
from sweeps.report.sweep_data import SweepData
from sweeps.report.templating import render_panel
from sweeps.results.ranking import RankedConfiguration

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4d4d4d", "#8C6D31")
_DASHES = ("solid", "dash", "dot")
MAX_LINES = len(_COLORS) * len(_DASHES)
_TOTAL_OPACITY = 0.9  # of all bands together, so that twenty bands look as light as a few
_MAX_OPACITY = 0.18

Points = list[tuple[float, Interval]]
"""The mean at each epoch."""


def section(sweep: SweepData) -> Markup:
    """Returns the section as HTML; empty in a sweep without named configurations."""
    curves = panel(sweep)
    return render_panel("mean-curves", curves) if curves else Markup("")


def panel(sweep: SweepData) -> Panel | None:
    """Returns the curves of the named configurations, at most `MAX_LINES`; `None` without any."""
    named = [(entry, _points(sweep, entry)) for entry in sweep.ranked if entry.run]
    with_points = [(entry, points) for entry, points in named if points]
    if not with_points:
        return None
    shown = with_points[:MAX_LINES]
    opacity = min(_MAX_OPACITY, _TOTAL_OPACITY / len(shown))
    bands = [_band(index, points, opacity) for index, (_, points) in enumerate(shown)]
    lines = [_line(index, entry, points) for index, (entry, points) in enumerate(shown)]
    y, axis_note = _axis(sweep, [[interval.mean for _, interval in points] for _, points in shown])
    x = epoch_axis(max(points[-1][0] for _, points in shown))
    figure = make_figure([*bands, *lines], xaxis=x, yaxis=y, legend=side_legend())
    figure.update_layout(margin_t=8)
    height = max(440, 60 + 20 * len(shown))
    note = f"{_note(len(shown), len(with_points))} {axis_note}".strip()
    return Panel(figure, note, height=height, min_width=760)


def _points(sweep: SweepData, entry: RankedConfiguration) -> Points:
    """Returns mean and interval at each epoch that all completed runs of a configuration reached."""
    curves = [dict(sweep.curve(number)) for number in entry.numbers]
    epochs = sorted(set.intersection(*map(set, curves)))
    return [(epoch, mean_interval([curve[epoch] for curve in curves])) for epoch in epochs]


def line_style(index: int) -> tuple[str, str]:
    """Returns color and dash of a line. All of the first `MAX_LINES` differ."""
    return _COLORS[index % len(_COLORS)], _DASHES[index // len(_COLORS)]


def _band(index: int, points: Points, opacity: float) -> Any:
    """Returns the intervals as one closed shape, in the legend group of its line; empty for a single seed."""
    red, green, blue = rgb(line_style(index)[0])
    bounds = [
        (epoch, interval.mean - interval.half_width, interval.mean + interval.half_width)
        for epoch, interval in points
        if interval.half_width is not None
    ]
    epochs = [epoch for epoch, _, _ in bounds]
    return go.Scatter(
        x=[*epochs, *reversed(epochs)],
        y=[*(upper for _, _, upper in bounds), *(lower for _, lower, _ in reversed(bounds))],
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},{opacity:.3g})",
        legendgroup=str(index),
        showlegend=False,
        hoverinfo="skip",
    )


def _line(index: int, entry: RankedConfiguration, points: Points) -> Any:
    color, dash = line_style(index)
    return go.Scatter(
        x=[epoch for epoch, _ in points],
        y=[interval.mean for _, interval in points],
        mode="lines+markers" if len(points) == 1 else "lines",
        line={"color": color, "width": 2, "dash": dash},
        name=plot_text(entry.run, 32),
        legendgroup=str(index),
        text=["" if i.half_width is None else f" ± {i.half_width:.2g}" for _, i in points],
        hovertemplate=f"<b>{plot_text(entry.run, 60)}</b>, {len(entry.trials)} runs<br>"
        "epoch %{x}: %{y:.5g}%{text}<extra></extra>",
    )


def _axis(sweep: SweepData, means: Sequence[Sequence[float]]) -> tuple[dict[str, Any], str]:
    """Returns an axis that holds the means. The bands of two or three seeds can be far wider, and may be cut."""
    late = [value for values in means for value in values[len(values) // 4 :]]
    values = [value for curve in means for value in curve]
    settings, note = value_axis(values, sweep.metric, sweep.sign, late)
    if "range" not in settings:
        low, high = (math.log10(v) if settings["type"] == "log" else v for v in (min(values), max(values)))
        margin = 0.06 * (high - low) or 0.01
        settings["range"] = [low - margin, high + margin]
    return settings, note


def _note(shown: int, total: int) -> str:
    selection = f"The best {shown} of {total} configurations are drawn. " if total > shown else ""
    return (
        f"{selection}Best first. Lines are means over completed seeds, up to the last epoch that all of them reached; "
        "bands are 95 % intervals of the mean. A click on a name hides it, a double click leaves only it."
    )
