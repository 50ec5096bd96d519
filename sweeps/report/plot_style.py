"""The style that all plots share: colors and markers of outcomes, axes, color scale, hover texts."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

import plotly.graph_objects as go

from sweeps.report.formatting import format_value, shorten, trial_label
from sweeps.report.sweep_data import SweepData
from sweeps.results.trial_result import TrialResult

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
TEXT_COLOR, MUTED, GRID = "#1c2430", "#5b6675", "#e6e9ee"

# The palette of Okabe and Ito, which all kinds of color vision can tell apart. The markers differ too.
BEST = "#009E73"
OUTCOMES = {
    "completed": ("#0072B2", "circle"),
    "pruned": ("#E69F00", "triangle-down"),
    "diverged": ("#CC79A7", "diamond"),
    "out_of_memory": ("#000000", "square"),
    "infeasible": ("#B8860B", "hexagon"),
    "failed": ("#D55E00", "x"),
    "running": ("#7b8594", "circle-open"),
    "interrupted": ("#7b8594", "circle-open"),
    "extended": ("#9dbfdc", "circle-open"),
}
# Light is worse, dark is better, so that many poor trials stay in the background.
WORSE_TO_BETTER = ((0.0, "#d5dfea"), (0.35, "#9dbfdc"), (0.7, "#3f86bd"), (1.0, "#08306b"))
MAX_SVG_POINTS = 4000  # with more points, WebGL draws faster
_MAX_FULL_HOVER_TEXTS = 300
_LOG_SCALE_ABOVE = 50.0  # ratio of the greatest to the least value
_FENCE = 3.0  # interquartile ranges above the third quartile: Tukey's outer fence
_MAX_EMPTY = 3.0  # an axis is cut where outliers stretch it to more than this times the range of the other values
_MARGIN = 0.08  # of the range of an axis


@dataclass(frozen=True)
class Panel:
    """A plot with a note, or only a note.

    Args:
        figure: The plot; `None` where there is nothing to plot.
        note: Plain text below the plot.
        title: Plain text above the plot, where several plots share a section.
        height: Height in CSS pixels.
        min_width: Minimum width in CSS pixels. On a narrower screen the plot scrolls.
        alt: What the plot shows, for those who cannot see it; empty: its title and its note say it.
    """

    figure: go.Figure | None
    note: str = ""
    title: str = ""
    height: int = 380
    min_width: int = 0
    alt: str = ""


def marker_style(outcome: str) -> tuple[str, str]:
    """Returns color and marker symbol of an outcome."""
    return OUTCOMES.get(outcome, OUTCOMES["failed"])


def plot_text(text: object, length: int = 0) -> str:
    """Returns a text that Plotly shows as it is. Plotly interprets HTML, and replaces what follows a percent sign.

    Args:
        text: Anything.
        length: Maximum number of characters; 0: no limit.
    """
    words = shorten(str(text), length) if length else str(text)
    return html.escape(words).replace("%", "&#37;")


def hover_title(result: TrialResult) -> str:
    """Returns the first line of a trial's hover text: name and outcome."""
    return f"<b>{plot_text(trial_label(result), 60)}</b> {plot_text(result.outcome)}"


def hover_text(sweep: SweepData, result: TrialResult) -> str:
    """Returns the hover text of a trial: name, outcome, parameters, and the reason of a failure."""
    lines = [hover_title(result)]
    for name, value in sweep.params(result).items():
        lines.append(f"{plot_text(sweep.names[name])} = {plot_text(format_value(value), 60)}")
    if result.outcome not in ("completed", "pruned") and result.reason:
        lines.append(plot_text(result.reason, 90))
    if result.infeasible:
        lines.append(plot_text(f"infeasible: {result.infeasible}", 90))
    return "<br>".join(lines)


def brief_hover_text(sweep: SweepData, result: TrialResult) -> str:
    """Returns the full hover text in a small sweep. In a large one it would be most of the page."""
    return hover_text(sweep, result) if len(sweep.results) <= _MAX_FULL_HOVER_TEXTS else hover_title(result)


def make_figure(traces: Sequence[Any], **layout: Any) -> go.Figure:
    """Returns a figure in the style of the page."""
    base: dict[str, Any] = {
        "font": {"family": FONT, "size": 13, "color": TEXT_COLOR},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 64, "r": 16, "t": 36, "b": 48},
        "hovermode": "closest",
        "hoverlabel": {
            "align": "left",
            "bgcolor": "#ffffff",
            "font": {"family": FONT, "size": 12, "color": TEXT_COLOR},
        },
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


def side_legend() -> dict[str, Any]:
    """Returns a legend on the right of a plot, for many entries."""
    return {"orientation": "v", "x": 1.01, "y": 1, "yanchor": "top", "font": {"size": 12}, "traceorder": "normal"}


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    """Returns an axis with a light grid and a muted title."""
    heading = {"text": plot_text(title), "font": {"size": 12, "color": MUTED}, "standoff": 8}
    base = {"gridcolor": GRID, "linecolor": GRID, "zeroline": False, "automargin": True, "title": heading}
    return {**base, "tickfont": {"size": 12, "color": MUTED}, **more}


def epoch_axis(last: float) -> dict[str, Any]:
    """Returns an axis of the epochs 1 to `last`."""
    last = math.ceil(last)
    return axis("epoch", tickformat="d", range=[0.5, last + 0.5], **({"dtick": 1} if last <= 20 else {}))


def use_log_scale(values: Sequence[float]) -> bool:
    """Returns whether values, such as losses, are easier to read on a logarithmic scale."""
    return bool(values) and min(values) > 0 and max(values) / min(values) > _LOG_SCALE_ABOVE


def value_axis(
    values: Sequence[float], title: str, sign: float, fitted: Sequence[float] = (), **more: Any
) -> tuple[dict[str, Any], str]:
    """Returns an axis for values of the objective. A few very bad values do not compress the others.

    Args:
        values: Values that are plotted.
        title: Title of the axis.
        sign: Factor that makes less better.
        fitted: Values that the axis must hold, unless they are outliers; all plotted ones when empty.
        more: Further settings of the axis.

    Returns:
        The axis, and a sentence for the reader when values lie outside of it.
    """
    log = use_log_scale(values)
    settings = axis(title, type="log" if log else "linear", **more)
    if not values:
        return settings, ""
    costs, fitted_costs = (  # less is better, in units of the axis
        [sign * (math.log10(value) if log else value) for value in group] for group in (values, fitted or values)
    )
    best, worst, fence = min(costs), max(costs), _upper_fence(fitted_costs)
    is_cut = worst - best > _MAX_EMPTY * (fence - best)
    height = (fence if is_cut else worst) - best
    if log:
        settings |= {"dtick": "D2" if height < 2 else 1, "tickformat": "~g"}
    if not is_cut:
        return settings, ""
    margin = _MARGIN * height
    ends = sorted((sign * (best - margin), sign * (fence + margin)))
    outside = sum(cost > fence + margin for cost in costs)
    return settings | {"range": ends}, f"Far worse values ({outside}) lie outside; double-click to see all."


def _upper_fence(values: Sequence[float]) -> float:
    """Returns the greatest value that is no outlier by Tukey's outer fence; infinity where the others are all equal."""
    low, _, high = quantiles(values, n=4) if len(values) > 4 else (0.0, 0.0, math.inf)
    inside = max(value for value in values if value <= high + _FENCE * (high - low))
    return inside if inside > min(values) else math.inf


def color_scale(values: Sequence[float], sign: float) -> dict[str, Any]:
    """Returns a Plotly color scale for values of the objective: dark is better, and the worst tenth shares one color.

    Args:
        values: Values of the objective.
        sign: Factor that makes less better.
    """
    ordered = sorted(values, key=lambda value: sign * value)
    best, worst = ordered[0], ordered[int(0.9 * (len(ordered) - 1)) if len(ordered) > 4 else -1]
    if best == worst:
        worst = best + sign * (abs(best) or 1.0) * 0.01
    return {
        "cmin": min(best, worst),
        "cmax": max(best, worst),
        "colorscale": WORSE_TO_BETTER if sign < 0 else tuple((1 - at, color) for at, color in WORSE_TO_BETTER[::-1]),
    }


def color_of(value: float, values: Sequence[float], sign: float) -> str:
    """Returns the color of a value on the color scale of `values`, linear between its stops."""
    scale = color_scale(values, sign)
    low, high, stops = (scale[name] for name in ("cmin", "cmax", "colorscale"))
    share = (min(max(value, low), high) - low) / (high - low)
    right = next(i for i, (at, _) in enumerate(stops) if share <= at)
    if right == 0:
        return str(stops[0][1])
    (start, first), (end, second) = stops[right - 1], stops[right]
    part = (share - start) / (end - start)
    channels = zip(rgb(first), rgb(second), strict=True)
    return "#" + "".join(f"{round(a + part * (b - a)):02x}" for a, b in channels)


def rgb(color: str) -> tuple[int, int, int]:
    """Returns the channels of a color such as `#0072B2`, each from 0 to 255."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def widened(low: float, high: float) -> list[float]:
    """Returns the range of an axis; a single value gets some room on both sides."""
    return [low, high] if high > low else [low - 0.5, low + 0.5]


def axis_ticks(low: float, high: float, log: bool, whole: bool = False) -> list[float]:
    """Returns both ends of a range and about five round values between.

    Args:
        low: Lower end; above 0 for a logarithmic axis.
        high: Upper end.
        log: Whether the axis is logarithmic.
        whole: Whether the ticks must be whole numbers.
    """
    if high <= low:
        return [low]
    # A tick too near to an end is left out, because its label would overlap that of the end.
    if log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        digits = (1, 2, 5) if math.log10(high / low) < 2 else (1,)
        inner = [digit * 10.0**decade for decade in decades for digit in digits]
        near = _MARGIN * math.log10(high / low)
        inner = [t for t in inner if low < t < high and min(math.log10(t / low), math.log10(high / t)) > near]
    else:
        step = _round_step((high - low) / 4, whole)
        inner = [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
        inner = [t for t in inner if min(t - low, high - t) > _MARGIN * (high - low)]
    return [low, *[float(f"{tick:.10g}") for tick in inner], high]


def _round_step(rough: float, whole: bool) -> float:
    """Returns the next 1, 2, 5 or 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(digit * power for digit in (1, 2, 5, 10) if rough <= digit * power * 1.0001)
    return max(1.0, step) if whole else step
