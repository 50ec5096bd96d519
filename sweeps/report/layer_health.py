"""Layer health: gradients, updates and activations by layer, one line a configuration, from `diagnostics.csv`."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import plotly.graph_objects as go

from lit_dl.callbacks.gradient_health import (
    EXPLODING_ABOVE,
    VANISHING_BELOW,
    gradient_ratio,
    gradient_status,
    per_weight,
)
from sweeps.report.plot_style import Panel, axis, figure, plain
from sweeps.report.seed_curves import MOST_MEANS, look
from sweeps.report.sweep_data import SweepData, show
from sweeps.results import Row

MOST_LINES = MOST_MEANS
_VERDICTS = {"vanishing": "#B8420A", "exploding": "#9C2F77"}
_MOST_NAMES, _MOST_TICKS = 6, 25
_LABEL_PX = 18

Values = list[float | None]
"""Of a figure, by layer, first to last."""


@dataclass(frozen=True)
class _Kind:
    """One figure by layer: title, which of the figures at which end (`first` or `last`), what it means."""

    title: str
    at: str
    name: str
    note: str = ""

    @property
    def is_share(self) -> bool:
        return self.name in ("dead", "saturated")


_GRADIENT = _Kind("Gradient by layer, first epoch", "first", "gradient")
_OTHERS = (
    _Kind(
        "Update to weight ratio, first epoch",
        "first",
        "update_ratio",
        "Norm of a step's change over norm of the weights. Where a line is missing, all changes were lost in rounding.",
    ),
    _Kind("Dead units, last epoch", "last", "dead", "Never above zero on any validation sample."),
    _Kind("Saturated outputs, last epoch", "last", "saturated", "Within 5 % of the range from either end."),
    _Kind("Deviation of activations, last epoch", "last", "activation_std", "Over validation samples and units."),
)


@dataclass(frozen=True)
class Health:
    """What the layers of a configuration did, means over its seeds.

    Args:
        name: Of the configuration.
        place: Among those drawn, which says how its lines look.
        runs: How many trials it is the mean of.
        layers: Names, first to last.
        first: Figures at the first epoch by name, with `gradient` per weight.
        last: Figures at the last epoch of each trial.
    """

    name: str
    place: int
    runs: int
    layers: list[str]
    first: dict[str, Values]
    last: dict[str, Values]

    @property
    def verdict(self) -> str | None:
        """Whether its gradients vanish or explode in the first epoch."""
        return gradient_status(gradient_ratio(self.first["gradient"]))


def layer_health(sweep: SweepData) -> list[Panel]:
    """The gradient by layer, then what else is known; empty when no trial left diagnostics."""
    entries = _entries(sweep)
    chosen = entries[:: math.ceil(len(entries) / MOST_LINES) or 1]
    drawn = [health for place, entry in enumerate(chosen) if (health := _health(sweep, place, entry)) is not None]
    if not drawn:
        return []
    some = f" Of {len(entries)} configurations, an even selection is drawn, best to worst." if chosen != entries else ""
    others = [(kind, _drawing(kind, drawn)) for kind in _OTHERS]
    panels = [Panel(drawing, kind.note, kind.title, height=260) for kind, drawing in others if drawing is not None]
    return [_gradients(drawn, some), *panels]


def _entries(sweep: SweepData) -> list[list[Row]]:
    """The trials of each configuration that left diagnostics, ranked ones first."""
    ranks = {str(entry["config_id"]): rank for rank, entry in enumerate(sweep.ranked)}
    groups: dict[str, list[Row]] = {}
    for row in sweep.rows:
        if _file(sweep, row).is_file():
            groups.setdefault(str(row["config_id"]), []).append(row)
    return [groups[key] for key in sorted(groups, key=lambda key: ranks.get(key, len(ranks)))]


def _file(sweep: SweepData, row: Row) -> Path:
    return sweep.folder(row["number"]) / "diagnostics.csv"


def _health(sweep: SweepData, place: int, rows: list[Row]) -> Health | None:
    tables = [table for row in rows if (table := _read(_file(sweep, row)))]
    if not tables:
        return None
    layers = [line["layer"] for line in tables[0][0]]
    alike = [table for table in tables if [line["layer"] for line in table[0]] == layers]
    ends = [{name: _mean([_columns(table[end])[name] for table in alike]) for name in _NAMES} for end in (0, -1)]
    return Health(_name(sweep, rows[0]), place, len(alike), layers, *ends)


_NAMES = ("gradient", "update_ratio", "activation_std", "dead", "saturated")


def _read(path: Path) -> list[list[dict[str, str]]]:
    """The lines of the first and of the last epoch; nothing where there is none."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if line.get("epoch")]
    epochs = dict.fromkeys(line["epoch"] for line in lines)
    return [[line for line in lines if line["epoch"] == epoch] for epoch in (*list(epochs)[:1], *list(epochs)[-1:])]


def _columns(lines: list[dict[str, str]]) -> dict[str, Values]:
    columns = {name: [_number(line.get(name)) for line in lines] for name in (*_NAMES[1:], "gradient_norm")}
    weights = [int(line["weights"]) for line in lines]
    norms = zip(columns["gradient_norm"], weights, strict=True)
    return {**columns, "gradient": [None if norm is None else per_weight(norm, count) for norm, count in norms]}


def _number(text: str | None) -> float | None:
    value = float(text) if text else math.nan
    return value if math.isfinite(value) else None


def _mean(columns: Sequence[Values]) -> Values:
    """Layer by layer, over the trials that have a value."""
    known = [[value for value in layer if value is not None] for layer in zip(*columns, strict=True)]
    return [fmean(values) if values else None for values in known]


def _name(sweep: SweepData, row: Row) -> str:
    if row.get("run"):
        return str(row["run"])
    values = ", ".join(f"{sweep.names[name]} {show(value, 3)}" for name, value in sweep.values(row).items())
    return ": ".join(text for text in (f"trial {row['number']}", values) if text)


# Figures


def _gradients(drawn: list[Health], some: str) -> Panel:
    drawing = _drawing(_GRADIENT, drawn)
    if drawing is None:
        return Panel(None, "No layer had a gradient.", _GRADIENT.title)
    height = max(420, 60 + 20 * len(drawn))
    _mark(drawing, drawn, height)
    for trace, health in zip(drawing.data, _having(_GRADIENT, drawn), strict=True):
        trace.name += f", {health.verdict}" if health.verdict else ""
    legend = {"orientation": "v", "x": 1.01, "y": 1, "yanchor": "top", "font": {"size": 12}, "traceorder": "normal"}
    drawing.update_layout(legend=legend, showlegend=True)
    drawing.update_yaxes(title_text="gradient per weight")
    return Panel(drawing, f"{_words(drawn)}{some}", _GRADIENT.title, height, 920)


def _words(drawn: list[Health]) -> str:
    counts = {verdict: sum(health.verdict == verdict for health in drawn) for verdict in _VERDICTS}
    told = [f"{verdict} in {count} of {len(drawn)}" for verdict, count in counts.items() if count]
    return (
        "A layer learns from its gradient, which reaches it from the output, on the right, through all layers behind "
        f"it. Gradients count as vanishing when a weight of the first layer gets less than {VANISHING_BELOW:g} times "
        f"what one of the last gets (root mean square), so that the first layers hardly learn, and as exploding above "
        f"{EXPLODING_ABOVE:,.0f} times. Here they are {' and '.join(told) or 'neither in any'} of the configurations."
    )


def _having(kind: _Kind, drawn: list[Health]) -> list[Health]:
    return [health for health in drawn if any(value is not None for value in _values(kind, health))]


def _values(kind: _Kind, health: Health) -> Values:
    return (health.first if kind.at == "first" else health.last)[kind.name]


def _drawing(kind: _Kind, drawn: list[Health]) -> go.Figure | None:
    """A line for each configuration that has the figure; `None` where none has."""
    having = _having(kind, drawn)
    if not having:
        return None
    traces = [_line(health, _values(kind, health), not kind.is_share) for health in having]
    values = [value for health in having for value in _values(kind, health) if value is not None]
    y = _share_axis(values) if kind.is_share else _log_axis([value for value in values if value > 0])
    margin = {"l": 60, "r": 10, "t": 8, "b": 40}
    return figure(traces, xaxis=_layer_axis(having), yaxis=y, showlegend=False, margin=margin)


def _share_axis(values: Sequence[float]) -> dict[str, Any]:
    top = max(0.1, *values)
    return axis(tickformat=".0%", range=[-0.03 * top, 1.03 * top])


def _log_axis(values: Sequence[float]) -> dict[str, Any]:
    """Ticks at every so many powers of ten, or at 1, 2 and 5 where there are few."""
    decades = math.log10(max(values) / min(values)) if values else 0.0
    step: Any = "D2" if decades < 2 else math.ceil(decades / 8)
    return axis(type="log", dtick=step, tickformat="~g" if decades < 4 else ".0e")


def _line(health: Health, values: Values, is_log: bool) -> Any:
    color, dash = look(health.place)
    return go.Scatter(
        x=list(range(1, len(values) + 1)),
        y=[None if is_log and not value else value for value in values],  # a logarithm has no zero
        mode="lines+markers",
        line={"color": color, "dash": dash, "width": 2},
        marker={"color": color, "size": 4},
        name=plain(health.name, 32),
        text=[f"{plain(layer)}: {show(value, 3)}" for layer, value in zip(health.layers, values, strict=True)],
        hovertemplate=f"<b>{plain(health.name, 60)}</b>, {health.runs} runs<br>%{{text}}<extra></extra>",
    )


def _layer_axis(drawn: list[Health]) -> dict[str, Any]:
    """Layers by name where all configurations have the same ones, by number else."""
    layers = max((health.layers for health in drawn), key=len)
    settings = axis("layer, first to last", showgrid=False, range=[0.7, len(layers) + 0.3])
    numbers = range(1, len(layers) + 1, math.ceil(len(layers) / _MOST_TICKS))
    same = all(health.layers == layers for health in drawn) and len(layers) <= _MOST_NAMES
    return settings | {
        "tickvals": list(numbers),
        "ticktext": [plain(layers[number - 1], 12) if same else str(number) for number in numbers],
    }


def _mark(drawing: Any, drawn: list[Health], height: int) -> None:
    """Says which lines vanish or explode, at their left ends; lines that end side by side share a label."""
    ends = sorted(
        (math.log10(value), health.verdict)
        for health in drawn
        if health.verdict and (value := next((value for value in health.first["gradient"] if value), None))
    )
    values = [math.log10(value) for health in drawn for value in health.first["gradient"] if value]
    apart = _LABEL_PX / height * (max(values) - min(values))
    groups: list[list[tuple[float, str]]] = []
    for end in ends:
        if groups and groups[-1][0][1] == end[1] and end[0] - groups[-1][-1][0] < apart:
            groups[-1].append(end)
        else:
            groups.append([end])
    for group in groups:
        text = group[0][1] + (f" ({len(group)})" if len(group) > 1 else "")
        y = fmean(place for place, _ in group)
        words = {"text": f"<b>{text}</b>", "font": {"color": _VERDICTS[group[0][1]], "size": 13}}
        drawing.add_annotation(x=1, y=y, showarrow=False, xanchor="right", xshift=-8, **words)
    if groups:
        low, high = drawing.layout.xaxis.range
        drawing.update_xaxes(range=[low - 0.2 * (high - low), high])
