"""What all figures share: colours and markers of outcomes, axes, the look of the page, texts safe in a plot."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

import plotly.graph_objects as go

from sweeps.report.sweep_data import SweepData, label, shorten, show
from sweeps.results import Row

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
INK, MUTED, GRID = "#1c2430", "#5b6675", "#e6e9ee"

# Okabe and Ito's palette, told apart by all kinds of colour vision; markers differ too.
BEST = "#009E73"
OUTCOMES = {
    "completed": ("#0072B2", "circle"),
    "pruned": ("#E69F00", "triangle-down"),
    "diverged": ("#CC79A7", "diamond"),
    "out_of_memory": ("#000000", "square"),
    "failed": ("#D55E00", "x"),
    "running": ("#7b8594", "circle-open"),
    "interrupted": ("#7b8594", "circle-open"),
}
# Light is worse, dark is better: the many poor trials stay in the background.
WORSE_TO_BETTER = ((0.0, "#d5dfea"), (0.35, "#9dbfdc"), (0.7, "#3f86bd"), (1.0, "#08306b"))
_FENCE = 3.0
_WASTE = 3.0  # times the height that the values worth seeing need


@dataclass(frozen=True)
class Panel:
    """A figure and what must be said with it, or only the words.

    Args:
        figure: `None` where there is nothing to draw.
        note: Plain text.
        title: Plain text above it, where it stands among others.
        height: In CSS pixels.
        min_width: In CSS pixels; narrower screens scroll.
    """

    figure: go.Figure | None
    note: str = ""
    title: str = ""
    height: int = 380
    min_width: int = 0


def look(outcome: str) -> tuple[str, str]:
    """Colour and marker of an outcome."""
    return OUTCOMES.get(outcome, OUTCOMES["failed"])


def plain(text: object, most: int = 0) -> str:
    """A text for a figure: Plotly reads HTML and fills in what follows a percent sign.

    Args:
        text: Anything.
        most: Characters to keep; 0: all.
    """
    words = shorten(str(text), most) if most else str(text)
    return html.escape(words).replace("%", "&#37;")


def brief(row: Row) -> str:
    """What a trial is, in a line of a hover label."""
    return f"<b>{plain(label(row), 60)}</b> {plain(row['outcome'])}"


def hover(sweep: SweepData, row: Row) -> str:
    """What a trial is, for a hover label: name, outcome, params, what went wrong."""
    lines = [brief(row)]
    lines += [f"{plain(sweep.names[k])} = {plain(show(v), 60)}" for k, v in sweep.values(row).items()]
    if row["outcome"] not in ("completed", "pruned") and row.get("reason"):
        lines.append(plain(row["reason"], 90))
    return "<br>".join(lines)


def figure(traces: Sequence[Any], **layout: Any) -> go.Figure:
    """A figure in the look of the page."""
    base: dict[str, Any] = {
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 64, "r": 16, "t": 36, "b": 48},
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "bgcolor": "#ffffff", "font": {"family": FONT, "size": 12, "color": INK}},
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
            "font": {"size": 12},
            "traceorder": "normal",
        },
    }
    return go.Figure(list(traces), {**base, **layout})


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    """An axis with faint lines and a quiet title."""
    quiet = {"text": plain(title), "font": {"size": 12, "color": MUTED}, "standoff": 8}
    base = {"gridcolor": GRID, "linecolor": GRID, "zeroline": False, "automargin": True, "title": quiet}
    return {**base, "tickfont": {"size": 12, "color": MUTED}, **more}


def is_wide(values: Sequence[float]) -> bool:
    """Whether values are read better on a logarithmic scale, as losses are."""
    return bool(values) and min(values) > 0 and max(values) / min(values) > 50


def value_axis(
    values: Sequence[float], title: str, sign: float, counted: Sequence[float] = (), **more: Any
) -> tuple[dict[str, Any], str]:
    """An axis of objective values on which a few very bad ones do not press the others together.

    Args:
        values: What is drawn.
        title: Of the axis.
        sign: Of the sweep.
        counted: What the axis must fit; all that is drawn when empty.
        more: Further settings of the axis.

    Returns:
        The axis, and a sentence for the reader if it leaves values out.
    """
    log = is_wide(values)
    scaled, fitted = ([sign * (math.log10(v) if log else v) for v in group] for group in (values, counted or values))
    settings = axis(title, type="log" if log else "linear", **more)
    if not values:
        return settings, ""
    best, worst = min(scaled), _fence(fitted)
    wide = max(scaled) - best > _WASTE * (worst - best)
    height = worst - best if wide else max(scaled) - best
    if log:
        settings |= {"dtick": "D2" if height < 2 else 1, "tickformat": "~g"}
    if not wide:
        return settings, ""
    ends = sorted((sign * (best - 0.08 * height), sign * (worst + 0.08 * height)))
    outside = sum(value > worst + 0.08 * height for value in scaled)
    return settings | {"range": ends}, f"Far worse values ({outside}) lie outside; double-click to see all."


def _fence(values: Sequence[float]) -> float:
    """The greatest value that is no outlier by Tukey's far fence; infinite for values that have no spread."""
    low, _, high = quantiles(values, n=4) if len(values) > 4 else (0.0, 0.0, math.inf)
    inside = max(value for value in values if value <= high + _FENCE * (high - low))
    return inside if inside > min(values) else math.inf


def worth(values: Sequence[float], sign: float) -> dict[str, Any]:
    """Settings of a colour scale over objective values on which dark is better and outliers do not eat the range."""
    ordered = sorted(values, key=lambda value: sign * value)
    best, worst = ordered[0], ordered[int(0.9 * (len(ordered) - 1)) if len(ordered) > 4 else -1]
    if best == worst:
        worst = best + sign * (abs(best) or 1.0) * 0.01
    return {
        "cmin": min(best, worst),
        "cmax": max(best, worst),
        "colorscale": WORSE_TO_BETTER if sign < 0 else tuple((1 - at, color) for at, color in WORSE_TO_BETTER[::-1]),
    }


def shade(value: float, values: Sequence[float], sign: float) -> str:
    """The colour of one value on the scale of `worth`."""
    scale = worth(values, sign)
    low, high, stops = (scale[name] for name in ("cmin", "cmax", "colorscale"))
    share = (min(max(value, low), high) - low) / (high - low)
    right = next(i for i, (at, _) in enumerate(stops) if share <= at)
    if right == 0:
        return str(stops[0][1])
    (start, one), (end, other) = stops[right - 1], stops[right]
    part = (share - start) / (end - start)
    pairs = [(int(one[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + part * (b - a)):02x}" for a, b in pairs)


def ends(low: float, high: float) -> list[float]:
    """The ends of an axis; some room around a single value."""
    return [low, high] if high > low else [low - 0.5, low + 0.5]


def ticks_of(low: float, high: float, log: bool, whole: bool = False) -> list[float]:
    """About five round values of a range, and its ends."""
    if high <= low:
        return [low]
    if log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        digits = (1, 2, 5) if math.log10(high / low) < 2 else (1,)
        inner = [digit * 10.0**decade for decade in decades for digit in digits]
        near = 0.08 * math.log10(high / low)
        inner = [t for t in inner if low < t < high and min(math.log10(t / low), math.log10(high / t)) > near]
    else:
        step = _round_step((high - low) / 4, whole)
        inner = [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
        inner = [t for t in inner if min(t - low, high - t) > 0.08 * (high - low)]
    return [low, *[float(f"{tick:.10g}") for tick in inner], high]


def _round_step(rough: float, whole: bool) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(digit * power for digit in (1, 2, 5, 10) if rough <= digit * power * 1.0001)
    return max(1.0, step) if whole else step


def index_of(options: list[Any], value: Any) -> int:
    """The place of an option; by its text, as True is 1 and 1.0 too."""
    return [str(option) for option in options].index(str(value))
