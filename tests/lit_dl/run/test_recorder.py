"""What is recorded of a run and decided about it, without a Trainer and in one."""

from __future__ import annotations

import itertools
import math
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.loggers import Logger

from lit_dl.errors import ConfigError
from lit_dl.run.early_stopping import EarlyStopping, early_stopping
from lit_dl.run.epoch_rows import best_row, read_rows
from lit_dl.run.pruner import Moment
from lit_dl.run.recorder import RunRecorder
from lit_dl.run.recorder_callbacks import RecordEpoch
from lit_dl.run.run_config import EarlyStoppingConfig
from lit_dl.run.run_result import RunLocation

Config = dict[str, Any]
MakeConfig = Callable[..., Config]
Train = Callable[..., tuple[Any, Any]]


def test_a_recorder_needs_neither_lightning_nor_torch() -> None:
    code = "import sys, lit_dl.run.recorder, lit_dl.run.epoch_rows; print({'lightning', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# The best epoch


@pytest.mark.parametrize(
    ("figures", "mode", "best"),
    [
        ([3.0, 1.0, 2.0], "min", 1),
        ([3.0, 1.0, 4.0], "max", 2),
        ([1.0, 1.0], "min", 0),
        ([2.0, 2.0], "max", 0),
        ([math.nan, 2.0, -math.inf], "min", 1),
        ([math.inf, 2.0], "max", 1),
    ],
)
def test_the_best_row_is_the_first_best_finite_one(figures: list[float], mode: str, best: int) -> None:
    rows = [{"epoch": number, "score": figure} for number, figure in enumerate(figures)]
    assert best_row(rows, "score", mode) is rows[best]


def test_no_best_row_without_a_finite_figure() -> None:
    assert best_row([{"score": math.nan}, {"other": 1.0}], "score", "min") is None
    assert best_row([], "score", "max") is None


class Recorded:
    """A recorder that is given epochs by hand; a checkpoint is the number of its epoch.

    Args:
        folder: Where the run goes.
        config: Its config.
        monitor: The default metric to monitor.
    """

    def __init__(self, folder: Path, config: Config | None = None, monitor: str | None = "score") -> None:
        self.recorder = RunRecorder(
            {"tracking": {"wandb": "disabled"}, **(config or {})}, RunLocation(folder, "run"), monitor
        )
        self.folder = folder
        self.recorder.open()
        self.recorder.start()

    def end(self, score: float, complete: bool = True, **metrics: float) -> bool:
        epoch = len(self.recorder.rows) + 1

        def save(path: Path) -> None:
            path.parent.mkdir(exist_ok=True)
            temporary = path.with_name("new")  # renamed, as `AtomicCheckpointIO` does it: a backup is a link
            temporary.write_text(str(epoch))
            temporary.replace(path)

        must_stop = self.recorder.end_epoch(
            Moment(epoch, {"score": score, **metrics}, True, False, save, lambda value: value)
        )
        if complete:
            self.recorder.complete_epoch(save)
        return must_stop

    def files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted((self.folder / "checkpoints").iterdir())}


@pytest.mark.parametrize("mode", ["min", "max"])
def test_files_result_and_rule_name_one_epoch(tmp_path: Path, mode: str) -> None:
    draw = random.Random(1)
    for number in range(20):
        recorded = Recorded(
            tmp_path / f"{number}", {"checkpoint": {"mode": mode}, "early_stopping": {"patience": None}}
        )
        for _ in range(6):
            recorded.end(draw.choice([1.0, 2.0, 3.0, math.nan]))
        best = best_row(recorded.recorder.rows, "score", mode)
        result = recorded.recorder.result(6, 0, {}, 0)
        assert result.best_epoch == (best["epoch"] if best else None)
        assert recorded.files() == {"best.ckpt": str(best["epoch"] if best else 1), "last.ckpt": "6"}


def test_a_killed_epoch_is_rolled_back(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    recorded.end(2.0)
    recorded.end(1.0, complete=False)
    assert recorded.files() == {".best.ckpt.previous": "1", "best.ckpt": "2", "last.ckpt": "1"}
    again = Recorded(tmp_path)
    again.recorder.resume(read_rows(tmp_path / "metrics.csv")[:1], best_is_ahead=True)
    assert again.files() == {"best.ckpt": "1", "last.ckpt": "1"}
    assert [row["epoch"] for row in read_rows(tmp_path / "metrics.csv")] == [1]
    again.end(3.0)
    assert again.files() == {"best.ckpt": "1", "last.ckpt": "2"}
    assert again.recorder.best_checkpoint == tmp_path / "checkpoints" / "best.ckpt"


@pytest.mark.parametrize(
    ("trainer", "scores", "tells", "best"),
    [
        ({"val_check_interval": 0.5}, [3.0, 2.0, 0.5, 1.0, 9.0, 9.0], "score", 6),
        ({"val_check_interval": 0.5}, [3.0, 2.0, 1.0, 0.5, 9.0, 9.0], "score", 8),
        ({"val_check_interval": 3}, [3.0, 1.0, 2.0], "score", 7),
        ({"val_check_interval": 3, "check_val_every_n_epoch": None}, [3.0, 2.0, 2.5, 1.0], "score", 12),
        ({"val_check_interval": 0.5, "check_val_every_n_epoch": 2}, [3.0, 1.0, 2.0], "score", 8),
        ({"check_val_every_n_epoch": 2}, [1.0], "trained", 4),
    ],
)
def test_row_and_best_checkpoint_are_of_one_moment_however_often_is_validated(
    train: Train, tmp_path: Path, trainer: Config, scores: list[float], tells: str, best: int
) -> None:
    """`best` is the step of the best validation, of four an epoch."""
    config = {
        "model": {"class_path": "foreign.OftenValidated", "init_args": {"scores": scores}},
        "trainer": {"max_epochs": 3, "accelerator": "cpu", **trainer},
        "checkpoint": {"monitor": tells},
        "tracking": {"wandb": "disabled"},
    }
    run, result = train(config, tmp_path / "run")
    least = min(row[tells] for row in run.rows if tells in row)
    assert (result.best_epoch, result.metrics[tells]) == (-(-best // 4), least)
    saved = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    assert saved["state_dict"]["weight"] == run.module.weight == best
    row = next(row for row in run.rows if row.get(tells) == least)
    assert row.get("global_step", 4 * row["epoch"]) == best


def test_a_metric_that_is_never_logged_is_named(train: Train, tmp_path: Path) -> None:
    config = {
        "model": {"class_path": "foreign.Scripted", "init_args": {"figures": [1.0]}},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        "tracking": {"wandb": "disabled"},
    }
    for group in ("checkpoint", "early_stopping"):
        message = rf"^{group}\.monitor: 'scor' is never logged; logged are score; did you mean 'score'\?$"
        with pytest.raises(ConfigError, match=message):
            train({**config, group: {"monitor": "scor"}}, tmp_path / group)


# Early stopping, against Lightning's


def lightning_stops(values: Sequence[float], **options: Any) -> int | None:
    """After how many values Lightning's EarlyStopping stops."""
    theirs = callbacks.EarlyStopping("score", **options)
    for number, value in enumerate(values, 1):
        if theirs._evaluate_stopping_criteria(torch.tensor(value, dtype=torch.float64))[0]:
            return number
    return None


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("min_delta", [0.0, 0.15])
def test_it_stops_when_lightning_does(mode: Any, min_delta: float) -> None:
    draw = random.Random(2)
    seen = set()
    for patience, _ in itertools.product((1, 2, 4), range(60)):
        values = [draw.choice([0.1, 0.3, 0.5, 0.7]) + 0.01 * draw.randrange(9) for _ in range(8)]
        if draw.random() < 0.2:
            values[draw.randrange(8)] = draw.choice([math.nan, math.inf, -math.inf])
        ours = EarlyStopping(EarlyStoppingConfig("score", mode, patience, min_delta), "score", True)
        stops = next((number for number, value in enumerate(values, 1) if ours.check({"score": value})), None)
        assert stops == lightning_stops(values, mode=mode, patience=patience, min_delta=min_delta)
        assert ours.stopped == (stops is not None)
        seen.add(stops)
    assert {None, 2, 5} <= seen


def test_its_state_goes_on(tmp_path: Path) -> None:
    config = EarlyStoppingConfig("score", "min", 3)
    first, second = (EarlyStopping(config, "score", True) for _ in range(2))
    assert not any(first.check({"score": score}) for score in (1.0, 2.0, 2.0))
    second.load_state_dict(first.state_dict())
    assert second.check({"score": 1.0})
    assert second.stopped


def test_only_a_metric_that_was_asked_for_must_be_there() -> None:
    named = early_stopping(EarlyStoppingConfig("score"), None)
    default = early_stopping(EarlyStoppingConfig(), "val/loss")
    assert named is not None
    assert default is not None
    assert (named.is_required, default.is_required) == (True, False)
    assert not named.check({"other": 1.0})
    assert not default.check({"other": 1.0})


# Checkpoints of earlier versions


def test_the_state_of_an_earlier_version_is_taken_over() -> None:
    """As Lightning's callbacks and ReportAndPrune left it in `callbacks` of a checkpoint."""

    class Pruner:
        decision = None
        state: Any = None

        def load_state_dict(self, state: Any) -> None:
            self.state = state

    recorder = RunRecorder({}, RunLocation(Path("nowhere"), "run"), "val/loss")
    recorder.pruner = pruner = Pruner()  # type: ignore[assignment]
    stopping = {"wait_count": 2, "best_score": torch.tensor(0.25), "stopping_reason": 0, "patience": 5}
    saved = {
        "EarlyStopping{'monitor': 'val/loss', 'mode': 'min'}": stopping,
        "EarlyStopping{'monitor': 'val/acc', 'mode': 'max'}": {**stopping, "wait_count": 4},  # a callback of the user's
        "BestCheckpoint{'monitor': 'val/loss'}": {"seconds": 1.5},
        "LastCheckpoint{'monitor': None}": {"seconds": 2.0},
        "ReportAndPrune": {"verdict": None, "before": [0.5], "untold": {}},
    }
    RecordEpoch([recorder]).on_load_checkpoint(None, None, {"callbacks": saved})  # type: ignore[arg-type]
    assert recorder.early_stopping is not None
    assert recorder.early_stopping.state_dict() == {"best": 0.25, "wait_count": 2, "stopped": False}
    assert pruner.state == saved["ReportAndPrune"]
    assert recorder.files is not None
    assert recorder.files.seconds == 3.5


# What loggers are told


def test_a_logger_of_the_users_is_told_of_every_checkpoint(config: MakeConfig, tmp_path: Path) -> None:
    """Those of Lightning upload them where `log_model` is set."""
    from lit_dl.cli.lit_cli import build_run

    class Uploads(Logger):
        name = version = "uploads"

        def __init__(self) -> None:
            super().__init__()
            self.seen: list[tuple[str, str, float]] = []

        def log_metrics(self, metrics: Any, step: int | None = None) -> None: ...

        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None: ...

        def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
            seen = checkpoint_callback
            self.seen.append((Path(seen.best_model_path).name, Path(seen.last_model_path).name, seen.current_score))

    run = build_run(config(trainer__log_every_n_steps=1), RunLocation(tmp_path / "run", "run"))
    logger = Uploads()
    run.trainer.loggers = [logger]
    run.open()
    run.fit()
    losses = [row["val/loss"] for row in run.rows]
    assert losses[1] < losses[0]
    first, *others = logger.seen
    assert first == ("best.ckpt", "", losses[0])
    assert others == [("best.ckpt", "last.ckpt", loss) for loss in (losses[0], losses[1], losses[1])]


# Reading rows


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("epoch,a\n1,x\n", ValueError),
        ("epoch,a\n1,2,3\n", ValueError),
        ("a\n1\n", KeyError),
        ("epoch\nnan\n", ValueError),
    ],
)
def test_a_damaged_table_is_an_error(tmp_path: Path, text: str, error: type[Exception]) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    with pytest.raises(error):
        read_rows(path)


def test_empty_cells_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,elapsed_s,a,b\n1,0.5,,nan\n2,1.5,0.30000000000000004,\n")
    first, second = read_rows(path)
    assert (list(first), second) == (["epoch", "elapsed_s", "b"], {"epoch": 2, "elapsed_s": 1.5, "a": 0.1 + 0.2})
    assert math.isnan(first["b"])
