"""Figures of trials: configurations over seeds, history, learning curves, several objectives, where the time went."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any

import plotly.graph_objects as go

from sweeps.report.plot_style import (
    BEST,
    INK,
    MUTED,
    Panel,
    axis,
    figure,
    hover,
    is_wide,
    look,
    plain,
    shade,
    value_axis,
)
from sweeps.report.sweep_data import Curve, SweepData, duration, label, show
from sweeps.results import Row

MOST_CURVES = 100
MOST_BARS = 200
MOST_CONFIGURATIONS = 30
_SVG_POINTS = 4000
_PARTS = {
    "train": ("training", "#0072B2"),
    "validate": ("validation", "#56B4E9"),
    "data": ("data", "#E69F00"),
    "checkpoint": ("checkpoints", "#F0E442"),
    "tracking": ("tracking", "#CC79A7"),
    "waiting": ("waiting for a trial", "#9aa3af"),
}


def history(sweep: SweepData) -> Panel:
    """The value of every trial in order of finishing, and the best so far."""
    if not any("value" in row for row in sweep.rows):
        return Panel(None, f"No trial that ended has a value of {sweep.metric}.")
    ordered = list(enumerate(sweep.rows, start=1))
    bare = [entry for entry in ordered if "value" not in entry[1]]
    valued = [entry for entry in ordered if "value" in entry[1]]
    traces = [_best_so_far(sweep, ordered), *_by_outcome(sweep, valued, "y"), *_by_outcome(sweep, bare, "y2")]
    if sweep.ranked:
        traces.append(_best_marker(sweep, valued))
    values = [float(row["value"]) for _, row in valued]
    y, note = value_axis(values, sweep.metric, sweep.sign, domain=[0.14 if bare else 0, 1])
    strip = axis(domain=[0, 0.08], tickvals=[0], ticktext=["no value"], range=[-1, 1])
    x = axis("trials, in order of finishing", range=[0.5, len(ordered) + 0.5], anchor="y2" if bare else "y")
    whole: dict[str, Any] = {"tickformat": "d"} | ({"dtick": 1} if len(ordered) <= 20 else {})
    words = "A pruned trial stands at its best value until it was stopped; it is not ranked."
    drawn = figure([t for t in traces if t], xaxis=x | whole, yaxis=y, **({"yaxis2": strip} if bare else {}))
    return Panel(drawn, f"{words} {note}" if any(row["outcome"] == "pruned" for row in sweep.rows) else note)


def _best_so_far(sweep: SweepData, ordered: list[tuple[int, Row]]) -> Any:
    points = [(place, float(row["value"])) for place, row in ordered if row["state"] == "COMPLETE"]
    if not points:
        return None
    best = list(accumulate((value for _, value in points), min if sweep.sign > 0 else max))
    places = [place for place, _ in points] + [len(ordered)]
    line = {"shape": "hv", "color": MUTED, "width": 1.5}
    return go.Scatter(
        x=places, y=best + best[-1:], mode="lines", line=line, name="best single trial so far", hoverinfo="skip"
    )


def _by_outcome(sweep: SweepData, entries: list[tuple[int, Row]], yaxis: str) -> list[Any]:
    """One trace of markers for each outcome; those without a value lie in a strip of their own."""
    kind = go.Scattergl if len(sweep.rows) > _SVG_POINTS else go.Scatter
    traces = []
    for outcome in dict.fromkeys(row["outcome"] for _, row in entries):
        mine = [(place, row) for place, row in entries if row["outcome"] == outcome]
        color, symbol = look(outcome)
        size = 9 if len(sweep.rows) <= 300 else 5
        traces.append(
            kind(
                x=[place for place, _ in mine],
                y=[row["value"] if yaxis == "y" else 0 for _, row in mine],
                yaxis=yaxis,
                mode="markers",
                marker={"color": color, "symbol": symbol, "size": size, "opacity": 0.85},
                name=plain(f"{outcome.replace('_', ' ')}{'' if yaxis == 'y' else ', no value'} ({len(mine)})"),
                text=[hover(sweep, row) for _, row in mine],
                hovertemplate="%{text}<br>" + ("value %{y:.5g}" if yaxis == "y" else "") + "<extra></extra>",
            )
        )
    return traces


def _best_marker(sweep: SweepData, entries: list[tuple[int, Row]]) -> Any:
    numbers = sweep.ranked[0]["numbers"]
    mine = [(place, row) for place, row in entries if row["number"] in numbers]
    ring = {"color": "rgba(0,0,0,0)", "size": 17, "symbol": "circle", "line": {"color": BEST, "width": 3}}
    places, values = [place for place, _ in mine], [row["value"] for _, row in mine]
    return go.Scatter(x=places, y=values, mode="markers", marker=ring, name="best configuration", hoverinfo="skip")


def curves(sweep: SweepData) -> Panel:
    """The objective by epoch for every trial, or for the best hundred."""
    drawn, found = _chosen_curves(sweep)
    if not drawn:
        return Panel(None, f"No trial has logged {sweep.metric} by epoch in its metrics.csv.")
    light = sum(len(curve) for _, curve in drawn) <= _SVG_POINTS
    log = is_wide([float(row["value"]) for row in sweep.completed])
    values = [_scaled(row, log) for row in sweep.completed]
    best = set(sweep.ranked[0]["numbers"]) if sweep.ranked else set()
    drawn.reverse()  # drawn last is on top: the better, then what did not complete, as it is thin, then the best
    order = sorted(drawn, key=lambda item: (item[0]["number"] in best, item[0]["outcome"] != "completed"))
    traces = [_curve(sweep, row, curve, row["number"] in best, values, log, light) for row, curve in order]
    _name_groups(traces)
    # The first epochs of a good run are bad values too, so the axis need not fit the first quarter of a curve.
    late = [value for _, curve in drawn for _, value in curve[len(curve) // 4 :]]
    y, left_out = value_axis([v for _, curve in drawn for _, v in curve], sweep.metric, sweep.sign, late)
    last = max(epoch for _, curve in drawn for epoch, _ in curve)
    x = axis("epoch", tickformat="d", range=[0.5, last + 0.5], **({"dtick": 1} if last <= 20 else {}))
    note = f"The best {MOST_CURVES} of {found} trials are drawn. " if found > MOST_CURVES else ""
    note += "A dot marks the epoch whose value counts; a trial that was stopped ends in its marker. "
    note += "The darker, the better." if len(values) > 1 else ""
    return Panel(figure(traces, xaxis=x, yaxis=y), f"{note} {left_out}", height=440)


def _chosen_curves(sweep: SweepData) -> tuple[list[tuple[Row, Curve]], int]:
    """Curves to draw, completed trials before others and better before worse; and how many trials there were."""

    def badness(row: Row) -> tuple[bool, float]:
        return row["state"] != "COMPLETE", sweep.sign * float(row["value"]) if "value" in row else float("inf")

    chosen = sorted(sweep.rows, key=badness)[:MOST_CURVES]
    room = MOST_CURVES // 2
    pairs = [(row, sweep.curve(row["number"])) for row in [*chosen, *sweep.unfinished[:room]]]
    return [(row, curve) for row, curve in pairs if curve], len(sweep.rows) + len(sweep.unfinished)


def _scaled(row: Row, log: bool) -> float:
    return math.log10(float(row["value"])) if log else float(row["value"])


def _curve(sweep: SweepData, row: Row, curve: Curve, best: bool, values: list[float], log: bool, light: bool) -> Any:
    outcome = row["outcome"]
    color, symbol = look(outcome)
    width, dash = {"completed": 1.8, "pruned": 1.0}.get(outcome, 1.2), "solid"
    if best:
        color, width, symbol = BEST, 3.5, "star"
    elif outcome == "completed":
        color = shade(_scaled(row, log), values, sweep.sign)
    elif outcome in ("running", "interrupted"):
        dash = "dash"
    marked = row.get("best_epoch") if outcome == "completed" else curve[-1][0]
    sizes = [(12 if best else 6) if epoch == marked or len(curve) == 1 else 0 for epoch, _ in curve]
    return (go.Scatter if light or best else go.Scattergl)(
        x=[epoch for epoch, _ in curve],
        y=[value for _, value in curve],
        mode="lines+markers",
        line={"color": color, "width": width, "dash": dash},
        marker={"color": color, "symbol": symbol, "size": sizes, "line": {"width": 0}},
        legendgroup="best configuration" if best else outcome,
        hovertemplate=hover(sweep, row) + "<br>epoch %{x}: %{y:.5g}<extra></extra>",
    )


def _name_groups(traces: list[Any]) -> None:
    """One entry in the legend for each group; a click on it hides the group."""
    last = {trace.legendgroup: trace for trace in traces}
    for trace in traces:
        members = sum(other.legendgroup == trace.legendgroup for other in traces)
        trace.update(name=f"{plain(trace.legendgroup)} ({members})", showlegend=trace is last[trace.legendgroup])


def configurations(sweep: SweepData) -> Panel | None:
    """Every run of every configuration beside its mean; `None` where each has one run and no name."""
    named = any(entry.get("run") for entry in sweep.ranked)
    if not sweep.ranked or not (sweep.repeats or named):
        return None
    shown = sweep.ranked[:MOST_CONFIGURATIONS]
    places = {id(entry): len(shown) - place for place, entry in enumerate(shown)}
    runs = [(places[id(entry)], row) for entry in shown for row in sweep.completed if row["number"] in entry["numbers"]]
    ticks = [plain(entry.get("run") or f"trial {min(entry['numbers'])} …", 36) for entry in shown]
    x, note = value_axis([float(row["value"]) for _, row in runs], sweep.metric, sweep.sign)
    y = axis(tickvals=list(places.values()), ticktext=ticks, range=[0.3, len(shown) + 0.7], showgrid=True)
    words = (
        "Each dot is a run; the bar is the mean, with one standard deviation on both sides." if sweep.repeats else ""
    )
    words += f" The best {len(shown)} of {len(sweep.ranked)} configurations." if len(sweep.ranked) > len(shown) else ""
    drawn = figure([_dots(sweep, runs), *_means(shown, places)], xaxis=x, yaxis=y, showlegend=False)
    drawn.update_layout(margin_t=8)
    return Panel(drawn, f"{words} {note}".strip(), height=70 + 28 * max(len(shown), 3))


def _dots(sweep: SweepData, runs: list[tuple[int, Row]]) -> Any:
    return go.Scatter(
        x=[row["value"] for _, row in runs],
        y=[place for place, _ in runs],
        mode="markers",
        marker={"color": look("completed")[0], "size": 9, "opacity": 0.6},
        text=[hover(sweep, row) for _, row in runs],
        hovertemplate="%{text}<br>value %{x:.5g}<extra></extra>",
    )


def _means(shown: list[Row], places: dict[int, int]) -> list[Any]:
    several = [entry for entry in shown if entry["n"] > 1]
    if not several:
        return []
    spread = {"type": "data", "array": [entry["deviation"] for entry in several], "thickness": 1.5, "width": 0}
    return [
        go.Scatter(
            x=[entry["mean"] for entry in several],
            y=[places[id(entry)] for entry in several],
            mode="markers",
            marker={"symbol": "line-ns", "size": 18, "line": {"width": 3, "color": INK}},
            error_x={**spread, "color": INK},
            customdata=[[entry["deviation"], entry["n"]] for entry in several],
            hovertemplate="mean %{x:.5g} ± %{customdata[0]:.2g}, %{customdata[1]} runs<extra></extra>",
        )
    ]


def objectives(sweep: SweepData) -> Panel | None:
    """The first objective against each other one; `None` with one objective."""
    keys = [f"metrics.{objective.metric}" for objective in sweep.spec.objectives]
    entries = [entry for entry in sweep.ranked if all(key in entry for key in keys)]
    if len(keys) < 2 or not entries:
        return None
    front = {id(entry) for entry in sweep.front()}
    traces = []
    for name, chosen, color, symbol in (
        ("beaten by another in all", False, look("completed")[0], "circle"),
        ("beaten by none", True, BEST, "star"),
    ):
        mine = [entry for entry in entries if (id(entry) in front) == chosen]
        traces.append(
            go.Scatter(
                x=[entry[keys[0]] for entry in mine],
                y=[entry[keys[1]] for entry in mine],
                mode="markers",
                marker={"color": color, "symbol": symbol, "size": 12 if chosen else 8},
                name=f"{name} ({len(mine)})",
                text=[hover(sweep, entry) for entry in mine],
                hovertemplate="%{text}<br>%{x:.5g}, %{y:.5g}<extra></extra>",
            )
        )
    one, other = sweep.spec.objectives[:2]
    words = [axis(f"{goal.metric} ({goal.direction})") for goal in (one, other)]
    note = f"Points are the best run by {one.metric} of each configuration; who beats whom is by the mean over seeds."
    note += f" The first two of {len(keys)} objectives." if len(keys) > 2 else ""
    return Panel(figure(traces, xaxis=words[0], yaxis=words[1]), note)


def time_spent(sweep: SweepData) -> Panel:
    """Seconds of each trial by what they went to."""
    timed = [row for row in sweep.rows if float(row.get("total_s", 0)) > 0]
    if not timed:
        return Panel(None, "No trial has left its times.")
    longest = sorted(timed, key=lambda row: -float(row["total_s"]))[:MOST_BARS]
    shown = sorted(longest, key=lambda row: int(row["number"]))
    x = axis("trial", type="category", showgrid=False)
    traces = [_bars(shown, part) for part in (*_PARTS, "rest")]
    drawn = figure(traces, xaxis=x, yaxis=axis("seconds"), barmode="stack", bargap=0.15)
    note = f" The {MOST_BARS} longest of {len(timed)} trials are drawn." if len(timed) > MOST_BARS else ""
    return Panel(drawn, _shares(timed) + note)


def _seconds(row: Row, part: str) -> float:
    if part != "rest":
        return float(row.get(f"{part}_s", 0.0))
    return max(0.0, float(row["total_s"]) - sum(_seconds(row, other) for other in _PARTS))


def _bars(shown: list[Row], part: str) -> Any:
    name, color = _PARTS.get(part, ("the rest", "#d9dde3"))
    return go.Bar(
        x=[str(row["number"]) for row in shown],
        y=[_seconds(row, part) for row in shown],
        name=name,
        marker={"color": color, "line": {"width": 0}},
        text=[plain(f"{label(row)} ({row['outcome']}), {show(float(row['total_s']))} s in all") for row in shown],
        textposition="none",
        hovertemplate=f"%{{text}}<br>{name} %{{y:.3g}} s<extra></extra>",
    )


def _shares(timed: list[Row]) -> str:
    total = sum(float(row["total_s"]) for row in timed)
    shares = {part: sum(_seconds(row, part) for row in timed) / total for part in (*_PARTS, "rest")}
    others = sorted((part for part in shares if part != "train"), key=lambda part: -shares[part])
    rest = ", ".join(f"{_PARTS.get(p, ('the rest', ''))[0]} {shares[p]:.1%}" for p in others if shares[p] >= 0.001)
    return f"{duration(total)} in {len(timed)} trials; {shares['train']:.0%} of it was training. {rest.capitalize()}."
