"""Learning curves of named configurations: the mean over seeds by epoch, with a band for its interval."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go

from sweeps.report.plot_style import Panel, axis, figure, plain, value_axis
from sweeps.report.statistics import Interval, mean_interval
from sweeps.report.sweep_data import SweepData
from sweeps.results import Row

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4d4d4d", "#8C6D31")
_DASHES = ("solid", "dash", "dot")
MOST_MEANS = len(_COLORS) * len(_DASHES)
_INK_OF_BANDS = 0.9  # shared by all bands, so that twenty stay as light as a few

Points = list[tuple[int, Interval]]


def mean_curves(sweep: SweepData) -> Panel | None:
    """The objective by epoch for each named configuration, or for the best of them; `None` in a sweep without names."""
    named = [(entry, _points(sweep, entry)) for entry in sweep.ranked if entry.get("run")]
    drawn = [(entry, points) for entry, points in named if points]
    if not drawn:
        return None
    shown = drawn[:MOST_MEANS]
    opacity = min(0.18, _INK_OF_BANDS / len(shown))
    bands = [_band(place, points, opacity) for place, (_, points) in enumerate(shown)]
    lines = [_line(place, entry, points) for place, (entry, points) in enumerate(shown)]
    y, left_out = _axis(sweep, [[interval.mean for _, interval in points] for _, points in shown])
    last = max(points[-1][0] for _, points in shown)
    x = axis("epoch", tickformat="d", range=[0.5, last + 0.5], **({"dtick": 1} if last <= 20 else {}))
    legend = {"orientation": "v", "x": 1.01, "y": 1, "yanchor": "top", "font": {"size": 12}, "traceorder": "normal"}
    drawing = figure([*bands, *lines], xaxis=x, yaxis=y, legend=legend)
    drawing.update_layout(margin_t=8)
    height = max(440, 60 + 20 * len(shown))
    return Panel(drawing, f"{_words(len(shown), len(drawn))} {left_out}".strip(), height=height, min_width=760)


def _points(sweep: SweepData, entry: Row) -> Points:
    """Mean and interval at each epoch that all completed runs of a configuration reached."""
    curves = [dict(sweep.curve(number)) for number in entry["numbers"]]
    epochs = sorted(set.intersection(*map(set, curves)))
    return [(epoch, mean_interval([curve[epoch] for curve in curves])) for epoch in epochs]


def look(place: int) -> tuple[str, str]:
    return _COLORS[place % len(_COLORS)], _DASHES[place // len(_COLORS)]


def _band(place: int, points: Points, opacity: float) -> Any:
    """The intervals as one closed shape, which comes and goes with its line; nothing around a single seed."""
    color, _ = look(place)
    banded = [(epoch, interval.mean, interval.half) for epoch, interval in points if interval.half is not None]
    upper, lower = ([mean + end * half for _, mean, half in banded] for end in (1, -1))
    epochs = [epoch for epoch, _, _ in banded]
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return go.Scatter(
        x=[*epochs, *reversed(epochs)],
        y=[*upper, *reversed(lower)],
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},{opacity:.3g})",
        legendgroup=str(place),
        showlegend=False,
        hoverinfo="skip",
    )


def _line(place: int, entry: Row, points: Points) -> Any:
    color, dash = look(place)
    spreads = ["" if i.half is None else f" ± {i.half:.2g}" for _, i in points]
    return go.Scatter(
        x=[epoch for epoch, _ in points],
        y=[interval.mean for _, interval in points],
        mode="lines+markers" if len(points) == 1 else "lines",
        line={"color": color, "width": 2, "dash": dash},
        name=plain(entry["run"], 32),
        legendgroup=str(place),
        text=spreads,
        hovertemplate=f"<b>{plain(entry['run'], 60)}</b>, {entry['n']} runs<br>"
        "epoch %{x}: %{y:.5g}%{text}<extra></extra>",
    )


def _axis(sweep: SweepData, means: list[list[float]]) -> tuple[dict[str, Any], str]:
    """An axis that fits the means: bands around two or three seeds can be far wider than all that is to be seen."""
    late = [value for values in means for value in values[len(values) // 4 :]]
    values = [value for curve in means for value in curve]
    settings, left_out = value_axis(values, sweep.metric, sweep.sign, late)
    if "range" not in settings:
        low, high = (math.log10(v) if settings["type"] == "log" else v for v in (min(values), max(values)))
        room = 0.06 * (high - low) or 0.01
        settings["range"] = [low - room, high + room]
    return settings, left_out


def _words(shown: int, drawn: int) -> str:
    some = f"The best {shown} of {drawn} configurations are drawn. " if drawn > shown else ""
    return (
        f"{some}Best first. Lines are means over completed seeds, up to the last epoch that all of them reached; bands "
        "are 95 % intervals of the mean. A click on a name hides it, a double click leaves only it."
    )
