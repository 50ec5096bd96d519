"""A small figure for each parameter: its value against the objective."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go

from sweeps.report.plot_style import (
    BEST,
    MUTED,
    Panel,
    axis,
    brief,
    figure,
    hover,
    index_of,
    look,
    plain,
    ticks_of,
    value_axis,
)
from sweeps.report.sweep_data import SweepData, show, show_mean
from sweeps.results import Row
from sweeps.spec.space import Parameter

MOST_IN_A_PANEL = 1000
_MOST_FULL_LABELS = 300


def slices(sweep: SweepData) -> list[Panel]:
    """For each parameter: its value against the objective, and where trials lie that are not ranked."""
    if not sweep.ranked:
        return []
    means = [entry["mean"] for entry in sweep.ranked]
    y, _ = value_axis(means, sweep.metric, sweep.sign)
    if "range" not in y:  # the same in all panels, also where a parameter is not set in the best
        low, high = (math.log10(end) if y["type"] == "log" else end for end in (min(means), max(means)))
        margin = 0.08 * (high - low) or 0.05
        y["range"] = [low - margin, high + margin]
    return [_slice(sweep, parameter, y) for parameter in sweep.spec.space]


def _slice(sweep: SweepData, parameter: Parameter, y: dict[str, Any]) -> Panel:
    def has(row: Row) -> bool:
        return parameter.name in sweep.values(row)

    ranked = _selection([entry for entry in sweep.ranked if has(entry)])
    others = _selection([row for row in sweep.unranked if has(row)])
    traces = [_points(sweep, parameter, ranked[::-1]), *_strip(sweep, parameter, others)]
    domain = {"domain": [0.12 if others else 0, 1]}
    strip = axis(domain=[0, 0.06], showticklabels=False, showgrid=False, range=[-1, 1], automargin=False)
    x = _slice_axis(sweep, parameter, [*ranked, *others]) | {"anchor": "y2" if others else "y"}
    drawn = figure(traces, xaxis=x, yaxis=y | domain, **({"yaxis2": strip} if others else {}), showlegend=False)
    drawn.update_layout(margin={"l": 56, "r": 10, "t": 8, "b": 36})
    when = " and ".join(
        f"{sweep.names[name]} is {' or '.join(map(show, options))}" for name, options in parameter.when.items()
    )
    title = parameter.name + (" (log)" if parameter.log else "")
    return Panel(drawn, f"Only when {when}." if when else "", title, height=250)


def _selection(rows: list[Row]) -> list[Row]:
    """Evenly chosen rows, the first among them, where there are too many to draw in every panel."""
    return rows[:: math.ceil(len(rows) / MOST_IN_A_PANEL) or 1]


def _points(sweep: SweepData, parameter: Parameter, entries: list[Row]) -> Any:
    best = sweep.ranked[0]["numbers"]
    stars = [entry["numbers"] == best for entry in entries]
    spread = [entry["deviation"] or 0.0 for entry in entries]
    size = 8 if len(entries) <= 300 else 5
    return go.Scatter(
        x=_places(sweep, parameter, entries),
        y=[entry["mean"] for entry in entries],
        error_y={"type": "data", "array": spread, "color": MUTED, "thickness": 1, "width": 0} if any(spread) else None,
        mode="markers",
        marker={
            "color": [BEST if star else look("completed")[0] for star in stars],
            "symbol": ["star" if star else "circle" for star in stars],
            "size": [14 if star else size for star in stars],
            "opacity": [1.0 if star else 0.65 for star in stars],
            "line": {"width": 0},
        },
        text=[f"{_words(sweep, entry)}<br>{plain(sweep.metric)} {show_mean(entry)}" for entry in entries],
        hovertemplate="%{text}<extra></extra>",
    )


def _strip(sweep: SweepData, parameter: Parameter, rows: list[Row]) -> list[Any]:
    """Trials that are not ranked, below the others: where they are says something, their value does not."""
    if not rows:
        return []
    colors, symbols = zip(*(look(row["outcome"]) for row in rows), strict=True)
    return [
        go.Scatter(
            x=_places(sweep, parameter, rows),
            y=[0] * len(rows),
            yaxis="y2",
            mode="markers",
            marker={"color": colors, "symbol": symbols, "size": 7, "opacity": 0.8},
            text=[_words(sweep, row) for row in rows],
            hovertemplate="%{text}<extra></extra>",
        )
    ]


def _words(sweep: SweepData, row: Row) -> str:
    """Params too, unless they would be most of the file: every trial is in every panel."""
    return hover(sweep, row) if len(sweep.rows) <= _MOST_FULL_LABELS else brief(row)


def _places(sweep: SweepData, parameter: Parameter, rows: list[Row]) -> list[float]:
    values = [sweep.values(row)[parameter.name] for row in rows]
    if parameter.is_range:
        return [float(value) for value in values]
    # Golden-ratio jitter: neighbours in the list lie apart, and every report of a sweep is the same.
    return [index_of(parameter.options(), v) + 0.4 * (0.618 * i % 1 - 0.5) for i, v in enumerate(values)]


def _slice_axis(sweep: SweepData, parameter: Parameter, rows: list[Row]) -> dict[str, Any]:
    """The whole range or all options, also where no trial has been; and values of `runs` outside the range."""
    if not parameter.is_range:
        options = parameter.options()
        texts = [plain(show(option), max(6, 36 // len(options))) for option in options]
        return axis(
            tickvals=list(range(len(options))), ticktext=texts, range=[-0.5, len(options) - 0.5], showgrid=False
        )
    assert parameter.low is not None
    assert parameter.high is not None
    values = [float(place) for place in _places(sweep, parameter, rows)]
    low, high = min([parameter.low, *values]), max([parameter.high, *values])
    ticks = ticks_of(low, high, parameter.log, whole=parameter.type == "int")
    places = [math.log10(low), math.log10(high)] if parameter.log else [low, high]
    margin = 0.05 * (places[1] - places[0]) or 0.5
    shown = [places[0] - margin, places[1] + margin]
    kind = "log" if parameter.log else "linear"
    return axis(type=kind, range=shown, tickvals=ticks, ticktext=[show(tick, 3) for tick in ticks])
