"""Layer health: gradients, updates and activations by layer, one line a configuration, from `diagnostics.csv`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from lit_dl.callbacks.gradient_health import (
    EXPLODING_ABOVE,
    VANISHING_BELOW,
    gradient_ratio,
    gradient_status,
    per_weight,
)
from sweeps.report.formatting import format_value
from sweeps.report.plot_style import Panel, axis, make_figure, plot_text, side_legend
from sweeps.report.seed_curves import MAX_LINES, line_style
from sweeps.report.sweep_data import SweepData
from sweeps.report.templating import render_panels
from sweeps.results.trial_result import TrialResult
from sweeps.trial_folder import TrialFolder

_STATUS_COLORS = {"vanishing": "#B8420A", "exploding": "#9C2F77"}
_MAX_NAMED_LAYERS, _MAX_TICKS = 6, 25
_LABEL_HEIGHT_PX = 18
_QUANTITIES = ("gradient", "update_ratio", "activation_std", "dead", "saturated")

Values = list[float | None]
"""A quantity by layer, first to last; `None` where a layer does not have it."""


@dataclass(frozen=True)
class _Plot:
    """A plot of one quantity by layer.

    Args:
        title: Title above the plot.
        at: The epoch: `first` or `last`.
        quantity: One of `_QUANTITIES`.
        note: Text below the plot.
    """

    title: str
    at: str
    quantity: str
    note: str = ""

    @property
    def is_share(self) -> bool:
        """Whether the values are from 0 to 1; others are on a logarithmic axis."""
        return self.quantity in ("dead", "saturated")


_GRADIENT = _Plot("Gradient by layer, first epoch", "first", "gradient")
_OTHERS = (
    _Plot(
        "Update to weight ratio, first epoch",
        "first",
        "update_ratio",
        "Norm of a step's change over norm of the weights. Where a line is missing, all changes were lost in rounding.",
    ),
    _Plot("Dead units, last epoch", "last", "dead", "Never above zero on any validation sample."),
    _Plot("Saturated outputs, last epoch", "last", "saturated", "Within 5 % of the range from either end."),
    _Plot("Deviation of activations, last epoch", "last", "activation_std", "Over validation samples and units."),
)


@dataclass(frozen=True)
class LayerHealth:
    """The quantities of a configuration by layer, means over its seeds.

    Args:
        name: Name of the configuration.
        index: Index among the plotted configurations; gives the line style.
        runs: Number of trials in the mean.
        layers: Names of the layers, first to last.
        first: Values of the first epoch by quantity.
        last: Values of the last epoch of each trial.
    """

    name: str
    index: int
    runs: int
    layers: list[str]
    first: dict[str, Values]
    last: dict[str, Values]

    @property
    def gradient_status(self) -> str | None:
        """Whether the gradients are `vanishing` or `exploding` in the first epoch."""
        return gradient_status(gradient_ratio(self.first["gradient"]))

    def values(self, plot: _Plot) -> Values:
        """Returns the values of a plot."""
        return (self.first if plot.at == "first" else self.last)[plot.quantity]


def section(sweep: SweepData) -> Markup:
    """Returns the section as HTML; empty when no trial left diagnostics."""
    all_panels = panels(sweep)
    if not all_panels:
        return Markup("")
    return render_panels("health", all_panels[1:], first=all_panels[0], min_width=420)


def panels(sweep: SweepData) -> list[Panel]:
    """Returns the plot of the gradients, then those of the other quantities that were logged."""
    groups = _trials_with_diagnostics(sweep)
    chosen = groups[:: math.ceil(len(groups) / MAX_LINES) or 1]
    shown = [health for index, trials in enumerate(chosen) if (health := _read(sweep, index, trials)) is not None]
    if not shown:
        return []
    selection = ""
    if chosen != groups:
        selection = f" Of {len(groups)} configurations, an even selection is drawn, best to worst."
    others = [(plot, _figure(plot, shown)) for plot in _OTHERS]
    return [
        _gradient_panel(shown, selection),
        *(Panel(figure, plot.note, plot.title, height=260) for plot, figure in others if figure is not None),
    ]


def _trials_with_diagnostics(sweep: SweepData) -> list[list[TrialResult]]:
    """Returns the trials that left diagnostics, grouped by configuration, in the order of the ranking."""
    ranks = {entry.config_id: rank for rank, entry in enumerate(sweep.ranked)}
    groups: dict[str, list[TrialResult]] = {}
    for trial in sweep.newest:
        if sweep.folder(trial.number).diagnostics.is_file():
            groups.setdefault(trial.config_id, []).append(trial)
    return [groups[key] for key in sorted(groups, key=lambda key: ranks.get(key, len(ranks)))]


def _read(sweep: SweepData, index: int, trials: Sequence[TrialResult]) -> LayerHealth | None:
    """Returns the means over the trials of a configuration that have the same layers; `None` without an epoch."""
    tables = [table for trial in trials if (table := _first_and_last_epoch(sweep.folder(trial.number))) is not None]
    if not tables:
        return None
    layers = [line["layer"] for line in tables[0][0]]
    alike = [table for table in tables if [line["layer"] for line in table[0]] == layers]
    first, last = (
        {name: _means([_columns(table[end])[name] for table in alike]) for name in _QUANTITIES} for end in (0, 1)
    )
    return LayerHealth(_name(sweep, trials[0]), index, len(alike), layers, first, last)


def _first_and_last_epoch(folder: TrialFolder) -> tuple[list[dict[str, str]], list[dict[str, str]]] | None:
    """Returns the lines of `diagnostics.csv` of the first and of the last epoch, one a layer."""
    lines = folder.read_diagnostics()
    if not lines:
        return None
    first, last = lines[0]["epoch"], lines[-1]["epoch"]
    return [line for line in lines if line["epoch"] == first], [line for line in lines if line["epoch"] == last]


def _columns(lines: Sequence[dict[str, str]]) -> dict[str, Values]:
    """Returns the quantities of an epoch. The gradient is per weight, so that layers of different sizes compare."""
    columns = {name: [_number(line.get(name)) for line in lines] for name in (*_QUANTITIES[1:], "gradient_norm")}
    weights = [int(line["weights"]) for line in lines]
    norms = zip(columns["gradient_norm"], weights, strict=True)
    return {**columns, "gradient": [None if norm is None else per_weight(norm, count) for norm, count in norms]}


def _number(text: str | None) -> float | None:
    value = float(text) if text else math.nan
    return value if math.isfinite(value) else None


def _means(columns: Sequence[Values]) -> Values:
    """Returns the mean of each layer over the trials that have a value."""
    known = [[value for value in layer if value is not None] for layer in zip(*columns, strict=True)]
    return [fmean(values) if values else None for values in known]


def _name(sweep: SweepData, trial: TrialResult) -> str:
    if trial.run:
        return trial.run
    params = ", ".join(f"{sweep.names[name]} {format_value(value, 3)}" for name, value in sweep.params(trial).items())
    return ": ".join(text for text in (f"trial {trial.number}", params) if text)


def _gradient_panel(shown: Sequence[LayerHealth], selection: str) -> Panel:
    figure = _figure(_GRADIENT, shown)
    if figure is None:
        return Panel(None, "No layer had a gradient.", _GRADIENT.title)
    height = max(420, 60 + 20 * len(shown))
    _label_statuses(figure, shown, height)
    for trace, health in zip(figure.data, _with_values(_GRADIENT, shown), strict=True):
        trace.name += f", {health.gradient_status}" if health.gradient_status else ""
    figure.update_layout(legend=side_legend(), showlegend=True)
    figure.update_yaxes(title_text="gradient per weight")
    return Panel(figure, f"{_gradient_note(shown)}{selection}", _GRADIENT.title, height, 920)


def _gradient_note(shown: Sequence[LayerHealth]) -> str:
    counts = {status: sum(health.gradient_status == status for health in shown) for status in _STATUS_COLORS}
    texts = [f"{status} in {count} of {len(shown)}" for status, count in counts.items() if count]
    return (
        "A layer learns from its gradient, which reaches it from the output, on the right, through all layers behind "
        f"it. Gradients count as vanishing when a weight of the first layer gets less than {VANISHING_BELOW:g} times "
        f"what one of the last gets (root mean square), so that the first layers hardly learn, and as exploding above "
        f"{EXPLODING_ABOVE:,.0f} times. Here they are {' and '.join(texts) or 'neither in any'} of the configurations."
    )


def _with_values(plot: _Plot, shown: Sequence[LayerHealth]) -> list[LayerHealth]:
    return [health for health in shown if any(value is not None for value in health.values(plot))]


def _figure(plot: _Plot, shown: Sequence[LayerHealth]) -> go.Figure | None:
    """Returns a line for each configuration that has the quantity; `None` where none has."""
    chosen = _with_values(plot, shown)
    if not chosen:
        return None
    traces = [_line(health, health.values(plot), log=not plot.is_share) for health in chosen]
    values = [value for health in chosen for value in health.values(plot) if value is not None]
    y = _share_axis(values) if plot.is_share else _log_axis([value for value in values if value > 0])
    margin = {"l": 60, "r": 10, "t": 8, "b": 40}
    return make_figure(traces, xaxis=_layer_axis(chosen), yaxis=y, showlegend=False, margin=margin)


def _share_axis(values: Sequence[float]) -> dict[str, Any]:
    top = max(0.1, *values)
    return axis(tickformat=".0%", range=[-0.03 * top, 1.03 * top])


def _log_axis(values: Sequence[float]) -> dict[str, Any]:
    """Returns an axis with ticks at powers of ten, or at 1, 2 and 5 times these where the range is small."""
    decades = math.log10(max(values) / min(values)) if values else 0.0
    step: Any = "D2" if decades < 2 else math.ceil(decades / 8)
    return axis(type="log", dtick=step, tickformat="~g" if decades < 4 else ".0e")


def _line(health: LayerHealth, values: Values, log: bool) -> Any:
    color, dash = line_style(health.index)
    labels = zip(health.layers, values, strict=True)
    return go.Scatter(
        x=list(range(1, len(values) + 1)),
        y=[None if log and not value else value for value in values],  # a logarithmic axis has no zero
        mode="lines+markers",
        line={"color": color, "dash": dash, "width": 2},
        marker={"color": color, "size": 4},
        name=plot_text(health.name, 32),
        text=[f"{plot_text(layer)}: {format_value(value, 3)}" for layer, value in labels],
        hovertemplate=f"<b>{plot_text(health.name, 60)}</b>, {health.runs} runs<br>%{{text}}<extra></extra>",
    )


def _layer_axis(shown: Sequence[LayerHealth]) -> dict[str, Any]:
    """Returns an axis with the names of the layers where all configurations have the same few, else with numbers."""
    layers = max((health.layers for health in shown), key=len)
    settings = axis("layer, first to last", showgrid=False, range=[0.7, len(layers) + 0.3])
    numbers = range(1, len(layers) + 1, math.ceil(len(layers) / _MAX_TICKS))
    is_named = all(health.layers == layers for health in shown) and len(layers) <= _MAX_NAMED_LAYERS
    names = [plot_text(layers[number - 1], 12) if is_named else str(number) for number in numbers]
    return settings | {"tickvals": list(numbers), "ticktext": names}


def _label_statuses(figure: go.Figure, shown: Sequence[LayerHealth], height: int) -> None:
    """Labels the left ends of the lines that vanish or explode. Lines that end close together share a label."""
    values = [math.log10(value) for health in shown for value in health.first["gradient"] if value]
    min_distance = _LABEL_HEIGHT_PX / height * (max(values) - min(values))
    groups: list[list[tuple[float, str]]] = []
    for end in _left_ends(shown):
        if groups and groups[-1][0][1] == end[1] and end[0] - groups[-1][-1][0] < min_distance:
            groups[-1].append(end)
        else:
            groups.append([end])
    for group in groups:
        status = group[0][1]
        figure.add_annotation(
            x=1,
            y=fmean(y for y, _ in group),
            text=f"<b>{status}{f' ({len(group)})' if len(group) > 1 else ''}</b>",
            font={"color": _STATUS_COLORS[status], "size": 13},
            showarrow=False,
            xanchor="right",
            xshift=-8,
        )
    if groups:
        low, high = figure.layout.xaxis.range
        figure.update_xaxes(range=[low - 0.2 * (high - low), high])


def _left_ends(shown: Sequence[LayerHealth]) -> list[tuple[float, str]]:
    """Returns logarithm of the first gradient, and status, of each line that vanishes or explodes, in rising order."""
    ends = []
    for health in shown:
        first = next((value for value in health.first["gradient"] if value), None)
        if health.gradient_status and first:
            ends.append((math.log10(first), health.gradient_status))
    return sorted(ends)
