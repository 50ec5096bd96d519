"""The plot of configurations over seeds: each run, and the mean with its standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from sweeps.report.plot_style import (
    TEXT_COLOR,
    Panel,
    axis,
    hover_text,
    make_figure,
    marker_style,
    plot_text,
    value_axis,
)
from sweeps.report.sweep_data import SweepData
from sweeps.results.ranking import RankedConfiguration

MAX_CONFIGURATIONS = 30


def panel(sweep: SweepData) -> Panel | None:
    """Returns the plot, best configuration on top; `None` where each configuration has one run and no name."""
    is_named = any(entry.run for entry in sweep.ranked)
    if not sweep.ranked or not (sweep.has_repeats or is_named):
        return None
    shown = sweep.ranked[:MAX_CONFIGURATIONS]
    values = [trial.value for entry in shown for trial in entry.trials if trial.value is not None]
    x, axis_note = value_axis(values, sweep.metric, sweep.sign)
    names = [plot_text(entry.run or f"trial {min(entry.numbers)} …", 36) for entry in shown]
    heights = list(range(len(shown), 0, -1))
    y = axis(tickvals=heights, ticktext=names, range=[0.3, len(shown) + 0.7], showgrid=True)
    note = "Each dot is a run; the bar is the mean, with one standard deviation on both sides."
    note = note if sweep.has_repeats else ""
    note += f" The best {len(shown)} of {len(sweep.ranked)} configurations." if len(sweep.ranked) > len(shown) else ""
    figure = make_figure([_dots(sweep, shown, heights), *_means(shown, heights)], xaxis=x, yaxis=y, showlegend=False)
    figure.update_layout(margin_t=8)
    return Panel(figure, f"{note} {axis_note}".strip(), height=70 + 28 * max(len(shown), 3))


def _dots(sweep: SweepData, shown: Sequence[RankedConfiguration], heights: Sequence[int]) -> Any:
    runs = [(y, trial) for entry, y in zip(shown, heights, strict=True) for trial in entry.trials]
    return go.Scatter(
        x=[trial.value for _, trial in runs],
        y=[y for y, _ in runs],
        mode="markers",
        marker={"color": marker_style("completed")[0], "size": 9, "opacity": 0.6},
        text=[hover_text(sweep, trial) for _, trial in runs],
        hovertemplate="%{text}<br>value %{x:.5g}<extra></extra>",
    )


def _means(shown: Sequence[RankedConfiguration], heights: Sequence[int]) -> list[Any]:
    repeated = [(entry, y) for entry, y in zip(shown, heights, strict=True) if entry.std is not None]
    if not repeated:
        return []
    stds = [entry.std for entry, _ in repeated]
    return [
        go.Scatter(
            x=[entry.mean for entry, _ in repeated],
            y=[y for _, y in repeated],
            mode="markers",
            marker={"symbol": "line-ns", "size": 18, "line": {"width": 3, "color": TEXT_COLOR}},
            error_x={"type": "data", "array": stds, "thickness": 1.5, "width": 0, "color": TEXT_COLOR},
            customdata=[[entry.std, len(entry.trials)] for entry, _ in repeated],
            hovertemplate="mean %{x:.5g} ± %{customdata[0]:.2g}, %{customdata[1]} runs<extra></extra>",
        )
    ]
