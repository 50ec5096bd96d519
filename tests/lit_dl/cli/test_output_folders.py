"""What the user's loggers, callbacks and profiler write lies in the folder of the run, or is gone with it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import run_python

from lit_dl.callbacks.resume_state import ResumeState
from lit_dl.cli.command import command
from lit_dl.cli.lit_cli import build_run
from lit_dl.config.yaml_io import dump_yaml
from lit_dl.run.run_result import RunLocation
from lit_dl.tracking import logged_rows

Config = dict[str, Any]
pytestmark = pytest.mark.filterwarnings("ignore:Starting from v1.9.0, `tensorboardX`", "ignore:.*num_workers")
CHECKPOINT = "lightning.pytorch.callbacks.ModelCheckpoint"


def part(path: str, **arguments: Any) -> Config:
    return {"class_path": path, "init_args": arguments}


def settings(**trainer: Any) -> Config:
    """A run of two epochs whose best is the last one."""
    return {
        "model": part("tested.SameStep"),
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "log_every_n_steps": 1, **trainer},
        "checkpoint": {"monitor": "score"},
        "tracking": {"wandb": "disabled"},
    }


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def trained(config: Config, folder: Path | None) -> Any:
    run = build_run(config, RunLocation(folder, folder.name) if folder else None)
    run.open()
    run.fit()
    return run, run.close()


@pytest.fixture(autouse=True)
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, which stays empty."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


OURS = {"config.yaml", "metrics.csv", "learning_curve_plot.png", "checkpoints/best.ckpt", "checkpoints/last.ckpt"}
THEIRS: dict[str, tuple[Config, set[str]]] = {
    "a checkpoint": ({"callbacks": [part(CHECKPOINT)]}, {"checkpoints/ModelCheckpoint/epoch=1-step=2.ckpt"}),
    "a checkpoint named as ours, in a folder named as ours": (
        {"callbacks": [part(CHECKPOINT, dirpath="checkpoints", filename="best", save_last=True)]},
        {"checkpoints/ModelCheckpoint/best.ckpt", "checkpoints/ModelCheckpoint/last.ckpt"},
    ),
    "a checkpoint in a folder": (
        {"callbacks": [part(CHECKPOINT, dirpath="a/b", filename="{epoch}")]},
        {"a/b/epoch=1.ckpt"},
    ),
    "the default logger": ({"logger": True, "max_epochs": 1}, set()),
    "a logger": (
        {"logger": part("lightning.pytorch.loggers.CSVLogger", save_dir="logs", name="n")},
        {"logs/n/version_0/metrics.csv"},
    ),
    "loggers and a checkpoint": (
        {
            "logger": [part("lightning.pytorch.loggers.CSVLogger", save_dir=".", name="n", version=3)],
            "callbacks": [part(CHECKPOINT, filename="{epoch}")],
        },
        {"n/version_3/metrics.csv", "n/version_3/checkpoints/epoch=1.ckpt"},
    ),
    "a profiler": (
        {"profiler": part("lightning.pytorch.profilers.SimpleProfiler", dirpath="p", filename="f")},
        {"p/fit-f.txt"},
    ),
    "a profiler without a folder": (
        {"profiler": part("lightning.pytorch.profilers.SimpleProfiler", filename="f")},
        {"fit-f.txt"},
    ),
    "a root": ({"default_root_dir": "root", "callbacks": [part(CHECKPOINT)]}, {"root/checkpoints/epoch=1-step=2.ckpt"}),
}


@pytest.mark.parametrize("name", THEIRS)
def test_two_trials_from_one_folder_write_into_their_own(tmp_path: Path, cwd: Path, name: str) -> None:
    trainer, theirs = THEIRS[name]
    for trial in ("0", "1"):
        _, result = trained(settings(**trainer), tmp_path / trial)
        written = files(tmp_path / trial)
        assert written >= OURS | theirs
        if theirs:
            assert written == OURS | theirs
        for checkpoint in ("best", "last"):
            saved = torch.load(tmp_path / trial / "checkpoints" / f"{checkpoint}.ckpt", weights_only=True)
            assert (saved["epoch"] + 1, ResumeState.STATE_KEY in saved["callbacks"]) == (result.epochs, True)
    assert list(cwd.iterdir()) == []


@pytest.mark.parametrize("name", THEIRS)
def test_a_run_that_leaves_no_file_leaves_none(
    tmp_path: Path, cwd: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Such as the check before trial 0, the evaluation of the winner, and `sweeps replay`."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    trainer, _ = THEIRS[name]
    trained(settings(**trainer), None)
    build_run(settings(**trainer)).test()
    assert [list(folder.iterdir()) for folder in (cwd, tmp_path / "tmp")] == [[], []]


def test_absolute_folders_are_the_users(tmp_path: Path, cwd: Path) -> None:
    given = {"default_root_dir": str(tmp_path / "root"), "callbacks": [part(CHECKPOINT, dirpath=str(tmp_path / "c"))]}
    run, _ = trained(settings(**given), tmp_path / "run")
    assert run.trainer.default_root_dir == str(tmp_path / "root")
    assert files(tmp_path / "c") == {"epoch=1-step=2.ckpt"}
    assert files(tmp_path / "run") == OURS
    for path in (tmp_path / "c").iterdir():
        path.unlink()
    trained(settings(**given), None)
    assert files(tmp_path / "c") == set()


def test_the_place_of_a_run_is_not_in_its_config(tmp_path: Path) -> None:
    run, _ = trained(settings(**THEIRS["a logger"][0]), tmp_path / "run")
    assert run.trainer.default_root_dir == str(tmp_path / "run")
    assert str(tmp_path / "run") not in (tmp_path / "run" / "config.yaml").read_text()


@pytest.mark.parametrize("name", ["a checkpoint", "a profiler without a folder"])
def test_tracking_moves_no_file(tmp_path: Path, cwd: Path, name: str) -> None:
    trainer, theirs = THEIRS[name]
    trained({**settings(**trainer), "tracking": {"wandb": "offline"}}, tmp_path / "run")
    assert files(tmp_path / "run") >= OURS | theirs
    assert list(cwd.iterdir()) == []


def test_a_command_puts_the_root_into_its_folder(tmp_path: Path, cwd: Path) -> None:
    (cwd / "run.yaml").write_text(dump_yaml(settings()))
    command(["fit", "-c", "run.yaml", "--run_dir", "a", "--trainer.profiler=simple", "--trainer.logger=true"])
    assert {path.name for path in cwd.iterdir()} == {"run.yaml", "a"}
    assert (cwd / "a" / "lightning_logs").is_dir()
    options = ["--trainer.default_root_dir=c", "--trainer.logger=true"]
    command(["fit", "-c", "run.yaml", "--run_dir", "b", *options])
    assert (cwd / "c" / "lightning_logs").is_dir()


def test_a_profiler_prints_its_table(tmp_path: Path, cwd: Path) -> None:
    (cwd / "run.yaml").write_text(dump_yaml(settings(profiler="simple")))
    words: list[Any] = ["-m", "lit_dl.cli.command", "fit", "-c", "run.yaml", "--run_dir", "a"]
    paths = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(Path(__file__).parents[2] / "support")])
    done = run_python(words, cwd, {**os.environ, "PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr
    printed = done.stdout + done.stderr
    assert "FIT Profiler Report" in printed
    assert "run_training_epoch" in printed
    assert "GPU available" not in printed


@pytest.mark.parametrize("batches", [3, 60])
@pytest.mark.filterwarnings("ignore:The number of training batches")
def test_what_is_logged_at_a_step_reaches_wandb(tmp_path: Path, batches: int) -> None:
    config = settings(log_every_n_steps=None, max_epochs=2)
    config |= {"model": part("tested.Stepwise", batches=batches), "tracking": {"wandb": "offline"}}
    trained(config, tmp_path / "run")
    (path,) = (tmp_path / "run").glob("wandb/offline-run-*/run-*.wandb")
    rows = [row for row in logged_rows(path) if "batch" in row]
    logged = {3: [(1, 2.0), (2, 2.0)], 60: [(1, 49.0), (2, 39.0)]}
    assert [(row["epoch"], row["batch"]) for row in rows] == logged[batches]
