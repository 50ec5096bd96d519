"""What is drawn of a run's epochs, and that no run fails for it."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lit_dl import learning_curve
from lit_dl.learning_curve import MAX_PANELS, draw, panels_of, save_learning_curve

Config = dict[str, Any]
OURS = ("train/loss", "val/loss", "train/acc", "val/acc")


def rows(**metrics: list[float]) -> list[dict[str, Any]]:
    """Rows of metrics by epoch; `__` in a name is a slash."""
    epochs = zip(*metrics.values(), strict=True)
    names = [name.replace("__", "/") for name in metrics]
    return [{"epoch": n, "elapsed_s": 1.0, **dict(zip(names, row, strict=True))} for n, row in enumerate(epochs, 1)]


def curves(figure: Figure) -> list[Line2D]:
    """The lines of metrics: those that do not mark the best epoch."""
    return [line for axes in figure.axes for line in axes.lines if line.get_linestyle() == "-"]


def legend(figure: Figure) -> list[str]:
    (found,) = figure.legends
    return [text.get_text() for text in found.get_texts()]


def is_png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") and path.read_bytes().endswith(b"IEND\xaeB`\x82")


# What is drawn


@pytest.mark.parametrize(
    ("names", "panels"),
    [
        (OURS, {"loss": ["train", "validation"], "acc": ["train", "validation"]}),
        (("train_loss", "valid_loss", "valid_error"), {"loss": ["train", "validation"], "error": ["validation"]}),
        (("loss/train", "loss/val"), {"loss": ["train", "validation"]}),
        (("train_loss_step", "train_loss_epoch", "val_loss"), {"loss": ["train", "validation"]}),
        (("my_loss", "lr"), {"my_loss": [""], "lr": [""]}),
        (("score", "train/loss", "val/loss"), {"loss": ["train", "validation"], "score": [""]}),
        (("train", "val"), {"train": [""], "val": [""]}),
        (("valley", "trainer.x"), {"valley": [""], "trainer.x": [""]}),
        (("gradient_ratio",), {}),
    ],
)
def test_metrics_are_paired_by_what_they_measure(names: tuple[str, ...], panels: dict[str, list[str]]) -> None:
    found = panels_of([{"epoch": 1, "elapsed_s": 0.1, **dict.fromkeys(names, 0.5)}])
    assert {quantity: list(series) for quantity, series in found.items()} == panels
    assert list(found) == list(panels)


def test_pairs_come_first_where_there_are_too_many() -> None:
    many = {f"m{number}": 0.5 for number in range(20)} | {"train/f1": 0.5, "val/f1": 0.5}
    found = panels_of([{"epoch": 1, **many}])
    assert len(found) == MAX_PANELS
    assert next(iter(found)) == "f1"


def test_lines_have_the_values_at_their_epochs() -> None:
    table = rows(train__loss=[0.9, 0.5, 0.1], val__loss=[0.8, 0.6, 0.4])
    figure = draw([1, 2, 3], panels_of(table), best_epoch=2)
    train, validation = curves(figure)
    assert [list(train.get_xdata()), list(train.get_ydata())] == [[1, 2, 3], [0.9, 0.5, 0.1]]
    assert [list(validation.get_xdata()), list(validation.get_ydata())] == [[1, 2, 3], [0.8, 0.6, 0.4]]
    (best,) = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert list(best.get_xdata()) == [2, 2]
    assert legend(figure) == ["train", "validation", "best epoch 2"]
    assert (figure.axes[0].get_title("left"), figure.axes[0].get_xlabel()) == ("loss", "epoch")
    assert train.get_color() != validation.get_color()


def test_a_wide_range_is_logarithmic() -> None:
    figure = draw([1, 2, 3], panels_of(rows(loss=[100.0, 1.0, 0.01])), None)
    assert figure.axes[0].get_yscale() == "log"
    low, high = figure.axes[0].get_ylim()
    assert 0 < low < 0.01 < 100 < high
    assert legend(figure) == []


def test_one_epoch_is_a_point_and_has_its_number_once(tmp_path: Path) -> None:
    figure = draw([1], panels_of(rows(train__loss=[0.5], val__loss=[0.5])), 1)
    assert all(line.get_marker() == "o" for line in curves(figure))
    figure.canvas.draw()  # type: ignore[attr-defined]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()].count("1") == 1
    save_learning_curve(tmp_path / "one.png", rows(a=[3.0]), 1)
    assert is_png(tmp_path / "one.png")


def test_nothing_of_an_earlier_figure_is_left(tmp_path: Path) -> None:
    """Figures are drawn over."""
    first = {"train__loss": [100.0, 1.0, 0.01], "val__loss": [90.0, 2.0, 0.02]}
    second = {"val__loss": [0.71, 0.6, 0.3]}
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, metrics, best in zip(paths, (second, first, second), (None, 2, None), strict=True):
        save_learning_curve(path, rows(**metrics), best)
    assert paths[0].read_bytes() == paths[2].read_bytes() != paths[1].read_bytes()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_figures_that_are_not_finite_are_gaps(tmp_path: Path, bad: float) -> None:
    table = rows(train__loss=[0.5, bad, 0.3], val__loss=[bad, bad, bad], other=[bad, bad, bad])
    (line,) = curves(draw([1, 2, 3], panels_of(table), None))
    assert [math.isnan(value) for value in line.get_ydata()] == [False, True, False]
    save_learning_curve(tmp_path / "gaps.png", table, 1)
    assert is_png(tmp_path / "gaps.png")


def test_a_metric_that_comes_later_starts_later() -> None:
    table = [{"epoch": 1, "train/loss": 0.5}, {"epoch": 2, "train/loss": 0.4, "val/loss": 0.6}]
    assert panels_of(table)["loss"]["validation"] == [None, 0.6]


def test_names_are_no_formulas(tmp_path: Path) -> None:
    save_learning_curve(tmp_path / "names.png", rows(**{"my$loss_{": [1.0], "$x$": [2.0]}), None)
    assert is_png(tmp_path / "names.png")


# In a run


def test_every_run_has_one(config: Callable[..., Config], train: Callable[..., Any], tmp_path: Path) -> None:
    train(config(), tmp_path / "run")
    assert is_png(tmp_path / "run" / "learning_curve_plot.png")
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]


def test_also_one_that_failed_after_an_epoch(config: Callable[..., Config], tmp_path: Path) -> None:
    from lit_dl.cli.lit_cli import build_run
    from lit_dl.run.run_result import RunLocation

    run = build_run(config(), RunLocation(tmp_path / "run", "run"))
    run.open()
    run.fit()
    run.close(failed=True)
    assert is_png(tmp_path / "run" / "learning_curve_plot.png")


def test_without_an_epoch_there_is_none(config: Callable[..., Config], tmp_path: Path) -> None:
    from lit_dl.cli.lit_cli import build_run
    from lit_dl.run.run_result import RunLocation

    run = build_run(config(), RunLocation(tmp_path / "run", "run"))
    run.open()
    run.close(failed=True)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.yaml"]


def test_a_run_does_not_fail_for_its_picture(
    config: Callable[..., Config],
    train: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("no ink")

    monkeypatch.setattr(learning_curve, "draw", broken)
    _, result = train(config(), tmp_path / "run")
    assert result.stopped == "max_epochs"
    assert "learning_curve_plot.png: not drawn (ValueError: no ink)" in caplog.text


def test_matplotlib_comes_when_it_draws_and_pyplot_never(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\nfrom lit_dl.learning_curve import save_learning_curve\n"
        "print('matplotlib' in sys.modules)\n"
        f"save_learning_curve(pathlib.Path({str(tmp_path / 'x.png')!r}), [{{'epoch': 1, 'a': 1.0}}], None)\n"
        "print('matplotlib' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False"]
