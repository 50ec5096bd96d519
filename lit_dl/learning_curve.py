"""`learning_curve_plot.png`: training and validation metrics by epoch, the best epoch marked."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_dl.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Series = dict[str, list[float | None]]
"""Values by row, by split: train, validation, or an empty text for a metric that names no split. `None`: the row does
not have the metric, and the line passes by."""

MAX_PANELS = 6
_SPLITS = {"train": "train", "training": "train", "trn": "train"} | dict.fromkeys(
    ("val", "valid", "validation", "dev"), "validation"
)
_COLORS = {"train": "#0072B2", "validation": "#D55E00", "": "#0072B2"}
_BEST_COLOR = "#009E73"
_PANEL_INCHES = (4.6, 3.2)
_LOG_SCALE_ABOVE = 50
"""Ratio of the greatest to the least value from which the axis is logarithmic, as for a falling loss."""

_log = logging.getLogger(__name__)


def save_learning_curve(path: Path, rows: Sequence[Mapping[str, Any]], best_epoch: float | None = None) -> None:
    """Plots the metrics of a run by epoch. An error is only logged, because no run should fail for its plot.

    Args:
        path: The PNG file, written atomically. Nothing is written without rows or metrics.
        rows: With `epoch`, which is a fraction for a moment within an epoch, and the metrics by name.
        best_epoch: The epoch to mark; `None`: there is no best one.
    """
    try:
        panels = panels_of(rows)
        if panels:
            figure = draw([row["epoch"] for row in rows], panels, best_epoch)
            image = BytesIO()
            # `savefig` would draw twice, the first time for the layout alone.
            figure.canvas.print_png(image, pil_kwargs={"compress_level": 1})  # type: ignore[attr-defined]
            write_bytes(path, image.getbuffer(), durable=True)
    except Exception as error:
        _log.warning("%s: not drawn (%s: %s)", path, type(error).__name__, error)


def panels_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Series]:
    """Returns the series of each panel, at most `MAX_PANELS`. Quantities with training and validation come first.

    `train/loss` and `val_loss` are the quantity `loss` of two splits. A metric that is logged at every step is left out
    when its mean over the epoch is logged too.
    """
    ignored = ("epoch", "elapsed_s", "global_step", "gradient_ratio")
    names = dict.fromkeys(name for row in rows for name in row if name not in ignored)
    panels: dict[str, Series] = {}
    for name in names:
        if name.endswith("_step") and f"{name.removesuffix('_step')}_epoch" in names:
            continue
        quantity, split = _quantity_and_split(name.removesuffix("_epoch"))
        values = [row.get(name) for row in rows]
        if any(value is not None and math.isfinite(value) for value in values):
            panels.setdefault(quantity, {})[split] = values
    order = sorted(panels, key=lambda quantity: (len(panels[quantity]) < 2, "loss" not in quantity))
    return {quantity: panels[quantity] for quantity in order[:MAX_PANELS]}


def _quantity_and_split(name: str) -> tuple[str, str]:
    words = re.split(r"([/_.\-])", name)
    for at, rest in ((0, words[2:]), (-1, words[:-2])):  # `val_loss`, `loss/val`
        if rest and words[at].lower() in _SPLITS:
            return "".join(rest), _SPLITS[words[at].lower()]
    return name, ""


def draw(epochs: Sequence[float], panels: Mapping[str, Series], best_epoch: float | None) -> Figure:
    """Returns a figure with a panel for each quantity. pyplot is not used, because it has global state.

    The figure of an earlier call with as many panels is drawn over: making Axes and ticks costs nearly as much as
    drawing them, and a sweep draws one figure a trial.
    """
    figure = _empty_figure(len(panels))
    for axes, (quantity, series) in zip(figure.axes, panels.items(), strict=True):
        _draw_panel(axes, quantity, epochs, series, best_epoch)
    entries = {
        label: line for axes in figure.axes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legends.clear()
    figure.legend(entries.values(), entries.keys(), loc="upper right", ncols=3, frameon=False, fontsize=9)
    return figure


@cache
def _empty_figure(panels: int) -> Figure:
    """Returns a figure with empty panels, up to three in a row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    columns = panels if panels < 4 else math.ceil(panels / 2)
    lines = math.ceil(panels / columns)
    figure = Figure(figsize=(columns * _PANEL_INCHES[0], lines * _PANEL_INCHES[1]), dpi=100)
    FigureCanvasAgg(figure)
    for number in range(panels):
        axes = figure.add_subplot(lines, columns, number + 1)
        axes.grid(True, axis="y", color="#e1e5ea")
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
        axes.locator_params(axis="y", nbins=5)
        axes.set_xlabel("epoch")
        axes.xaxis.set_label_coords(0.5, -0.12)  # fixed positions: to find free ones, all texts are measured again
        axes.yaxis.set_label_coords(-0.1, 0.5)
    figure.subplots_adjust(0.13 / columns, 0.15 / lines, 1 - 0.04 / columns, 1 - 0.17 / lines, 0.18, 0.4)
    return figure


def _draw_panel(axes: Axes, quantity: str, epochs: Sequence[float], series: Series, best_epoch: float | None) -> None:
    for line in [*axes.lines]:
        line.remove()
    scale = "log" if _use_log_scale(series) else "linear"
    if axes.get_yscale() != scale:  # setting a scale makes all ticks anew
        axes.set_yscale(scale)
        axes.minorticks_off()
        if scale == "linear":
            axes.locator_params(axis="y", nbins=5)
    for split, values in sorted(series.items()):
        points = {epoch: value for epoch, value in zip(epochs, values, strict=True) if value is not None}
        finite = [value if math.isfinite(value) else math.nan for value in points.values()]
        marker = "o" if len(points) <= 30 or sum(map(math.isfinite, finite)) == 1 else ""
        axes.plot([*points], finite, color=_COLORS[split], marker=marker, markersize=4, label=split or "_")
    if best_epoch is not None:
        axes.axvline(best_epoch, color=_BEST_COLOR, linestyle="--", linewidth=1.2, label=f"best epoch {best_epoch:.4g}")
    axes.set_title(quantity[:40], loc="left", y=1.02, fontsize=10, fontweight="bold", parse_math=False)
    axes.relim()
    axes.autoscale_view(scalex=False)
    axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)


def _use_log_scale(series: Series) -> bool:
    values = [value for values in series.values() for value in values if value is not None and math.isfinite(value)]
    return min(values) > 0 and max(values) / min(values) > _LOG_SCALE_ABOVE
