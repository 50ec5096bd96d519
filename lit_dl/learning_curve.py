"""`learning_curve_plot.png`: training and validation metrics by epoch, the best epoch marked."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_dl.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Series = dict[str, list[float]]
"""Values by epoch, by split: train, validation, or an empty text for a metric that names none."""

MOST_PANELS = 6
_SPLITS = {"train": "train", "training": "train", "trn": "train"} | dict.fromkeys(
    ("val", "valid", "validation", "dev"), "validation"
)
_COLORS = {"train": "#0072B2", "validation": "#D55E00", "": "#0072B2"}
_BEST, _INK, _MUTED, _GRID = "#009E73", "#1c2430", "#5b6675", "#e1e5ea"
_PANEL_INCHES = (4.6, 3.2)

_log = logging.getLogger(__name__)


def save_learning_curve(path: Path, rows: Sequence[Mapping[str, Any]], best_epoch: int | None = None) -> None:
    """Draws the metrics of a run's epochs; one line in the log where that fails, as no run should for its picture.

    Args:
        path: The PNG file, there whole or not at all.
        rows: One an epoch, with `epoch` and metrics by name; nothing is drawn without any.
        best_epoch: The epoch to mark; `None`: there is no best one.
    """
    try:
        panels = panels_of(rows)
        if panels:
            figure = draw([int(row["epoch"]) for row in rows], panels, best_epoch)
            picture = BytesIO()
            figure.savefig(picture, format="png", pil_kwargs={"compress_level": 1})
            write_bytes(path, picture.getbuffer(), durable=True)
    except Exception as error:
        _log.warning("%s: not drawn (%s: %s)", path, type(error).__name__, error)


def panels_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Series]:
    """What is drawn in each panel: those with training and validation first, others after, no more than fit.

    `train/loss` and `val_loss` are the quantity `loss` of two splits. What a module logs at every step is left out
    where it logs the mean of the epoch too.
    """
    names = dict.fromkeys(name for row in rows for name in row if name not in ("epoch", "elapsed_s", "gradient_ratio"))
    panels: dict[str, Series] = {}
    for name in names:
        if name.endswith("_step") and f"{name.removesuffix('_step')}_epoch" in names:
            continue
        quantity, split = _quantity_and_split(name.removesuffix("_epoch"))
        values = [float(row.get(name, math.nan)) for row in rows]
        if any(math.isfinite(value) for value in values):
            panels.setdefault(quantity, {})[split] = values
    order = sorted(panels, key=lambda quantity: (len(panels[quantity]) < 2, "loss" not in quantity))
    return {quantity: panels[quantity] for quantity in order[:MOST_PANELS]}


def _quantity_and_split(name: str) -> tuple[str, str]:
    words = re.split(r"([/_.\-])", name)
    for at, rest in ((0, words[2:]), (-1, words[:-2])):  # `val_loss`, `loss/val`
        if rest and words[at].lower() in _SPLITS:
            return "".join(rest), _SPLITS[words[at].lower()]
    return name, ""


def draw(epochs: Sequence[int], panels: Mapping[str, Series], best_epoch: int | None) -> Figure:
    """A figure with a panel for each quantity, up to three in a line.

    Lines and texts are put on the figure itself: Axes with their ticks, title and legend take nearly three times as
    long (LOG.md), and a sweep draws one figure a trial. Nothing of pyplot's is touched.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = len(panels) if len(panels) < 4 else math.ceil(len(panels) / 2)
    lines = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(columns * _PANEL_INCHES[0], lines * _PANEL_INCHES[1]), dpi=100)
    FigureCanvasAgg(figure)
    for number, (quantity, series) in enumerate(panels.items()):
        line, column = divmod(number, columns)
        box = _Box(
            (column + 0.13) / columns,
            (lines - line - 1 + 0.15) / lines,
            0.83 / columns,
            0.68 / lines,
            (epochs[0] - 0.5, epochs[-1] + 0.5),
            _scaled_ends(series),
            _is_wide(series),
        )
        _draw_panel(figure, box, quantity, epochs, series, best_epoch)
    return figure


@dataclass(frozen=True)
class _Box:
    """Where a panel lies, in shares of the figure, and the values at its ends, as logarithms where it `is_log`."""

    left: float
    bottom: float
    width: float
    height: float
    epochs: tuple[float, float]
    values: tuple[float, float]
    is_log: bool

    def x(self, epoch: float) -> float:
        return self.left + self.width * (epoch - self.epochs[0]) / (self.epochs[1] - self.epochs[0])

    def y(self, value: float) -> float:
        if not math.isfinite(value):
            return math.nan
        scaled = math.log10(value) if self.is_log else value
        return self.bottom + self.height * (scaled - self.values[0]) / (self.values[1] - self.values[0])


def _draw_panel(
    figure: Figure, box: _Box, quantity: str, epochs: Sequence[int], series: Series, best_epoch: int | None
) -> None:
    _draw_grid(figure, box)
    heading = [(quantity[:40], _INK, "bold"), *((split, _COLORS[split], "normal") for split in sorted(series) if split)]
    if best_epoch is not None:
        _line(figure, [box.x(best_epoch)] * 2, [box.bottom, box.bottom + box.height], _BEST, 1.2, linestyle="--")
        heading.append((f"best epoch {best_epoch}", _BEST, "normal"))
    for split in sorted(series):
        marker = "o" if len(epochs) <= 30 or sum(map(math.isfinite, series[split])) == 1 else ""
        heights = [box.y(value) for value in series[split]]
        _line(figure, [box.x(epoch) for epoch in epochs], heights, _COLORS[split], 1.8, marker=marker, markersize=4)
    _write_heading(figure, box, heading)


def _draw_grid(figure: Figure, box: _Box) -> None:
    for tick in _ticks(*box.values, box.is_log):
        height = box.y(tick)
        _line(figure, [box.left, box.left + box.width], [height, height], _GRID, 0.8)
        figure.text(box.left, height, f"{tick:.6g} ", ha="right", va="center", fontsize=9, color=_MUTED)
    below = box.bottom - 0.03 * box.height
    for tick in _ticks(*box.epochs, is_log=False, is_whole=True):
        figure.text(box.x(tick), below, f"{tick:.0f}", ha="center", va="top", fontsize=9, color=_MUTED)
    figure.text(
        box.left + box.width, below - 0.09 * box.height, "epoch", ha="right", va="top", fontsize=9, color=_MUTED
    )


def _write_heading(figure: Figure, box: _Box, words: list[tuple[str, str, str]]) -> None:
    """The quantity and, each in its colour, what the lines are: a legend that never lies on a curve."""
    left = box.left
    for text, color, weight in words:
        y = box.bottom + 1.06 * box.height
        drawn = figure.text(left, y, text, color=color, fontsize=10, fontweight=weight, parse_math=False)
        left += (drawn.get_window_extent().width + 12) / figure.bbox.width


def _line(figure: Figure, xs: Sequence[float], ys: Sequence[float], color: str, width: float, **more: Any) -> None:
    from matplotlib.lines import Line2D

    figure.add_artist(Line2D(xs, ys, color=color, linewidth=width, **more))


def _ticks(low: float, high: float, is_log: bool, is_whole: bool = False) -> list[float]:
    """About five round values of a range, which is one of logarithms where `is_log`."""
    from matplotlib.ticker import MaxNLocator

    if is_log and high - low < 2:
        decades = range(math.floor(low), math.ceil(high) + 1)
        ticks = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
        return [tick for tick in ticks if low <= math.log10(tick) <= high]
    ticks = [float(tick) for tick in MaxNLocator(nbins=6, steps=[1, 2, 5, 10]).tick_values(low, high)]
    if is_log or is_whole:
        ticks = [tick for tick in ticks if tick.is_integer()]
    return [10.0**tick if is_log else tick for tick in ticks if low <= tick <= high]


def _finite(series: Series) -> list[float]:
    return [value for values in series.values() for value in values if math.isfinite(value)]


def _scaled_ends(series: Series) -> tuple[float, float]:
    """The ends of the value axis, with some room beyond the values."""
    values = [math.log10(value) for value in _finite(series)] if _is_wide(series) else _finite(series)
    room = 0.06 * (max(values) - min(values)) or 0.05 * abs(max(values)) or 0.5
    return min(values) - room, max(values) + room


def _is_wide(series: Series) -> bool:
    """Whether values are read better on a logarithmic scale, as falling losses are."""
    values = _finite(series)
    return min(values) > 0 and max(values) / min(values) > 50
