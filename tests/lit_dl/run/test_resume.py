"""A run that is ended at any moment and resumed leaves what the uninterrupted run leaves, to the last digit."""

from __future__ import annotations

import os
import random
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from resumable import SETTINGS, At, Interrupted, Stopper, compare, foreign, outcome, run_in

from lit_dl.cli.lit_cli import build_run
from lit_dl.config.overlay import merge
from lit_dl.randomness import global_states, set_global_states
from lit_dl.run.epoch_rows import read_rows
from lit_dl.run.run_result import RunLocation

Config = dict[str, Any]
MakeConfig = Callable[..., Config]


class Before(Checkpoint):
    """Ends a run at the end of an epoch, when all is done but its `last` checkpoint."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch + 1 == self.epoch:
            raise Interrupted


INTERRUPTIONS: dict[str, Callable[[], Callback]] = {
    "first epoch": lambda: At("on_train_batch_start", 1),
    "second epoch, second batch": lambda: At("on_train_batch_start", 2, 1),
    "third epoch, last validation": lambda: At("on_validation_end", 3),
    "between best and last": lambda: Before(3),
    "before the third epoch": lambda: At("on_train_epoch_start", 3),
}


def interrupted(config: Config, folder: Path, *interruptions: Callback) -> dict[str, Any]:
    """What a run leaves that is ended again and again, and resumed each time."""
    for interruption in interruptions:
        with pytest.raises(Interrupted):
            run_in(config, folder, [interruption])
        torch.rand(7)
        random.random()
    return run_in(config, folder)


# Every part of a run


@pytest.mark.parametrize("name", SETTINGS)
def test_a_resumed_run_equals_the_uninterrupted_one(config: MakeConfig, tmp_path: Path, name: str) -> None:
    settings = config(**SETTINGS[name])
    whole = run_in(settings, tmp_path / "whole")
    ends = [At("on_train_batch_start", 2), Before(3)]
    parts = interrupted(settings, tmp_path / "parts", *ends)
    assert parts["resumed_from"] == 2
    compare(parts, whole)


@pytest.mark.parametrize("name", INTERRUPTIONS)
def test_it_does_not_matter_where_a_run_ends(config: MakeConfig, tmp_path: Path, name: str) -> None:
    settings = config(**SETTINGS["momentum, dropout, noise, batch norm"])
    compare(interrupted(settings, tmp_path / "parts", INTERRUPTIONS[name]()), run_in(settings, tmp_path / "whole"))


@pytest.mark.parametrize("name", ["two moons", "plateau", "own generator", "new loaders", "workers", "no validation"])
def test_a_foreign_module_with_a_shuffling_dataloader_resumes_to_the_last_digit(tmp_path: Path, name: str) -> None:
    settings = foreign(name)
    whole = run_in(settings, tmp_path / "whole")
    parts = interrupted(settings, tmp_path / "parts", At("on_train_batch_start", 2, 1), Before(4))
    assert parts["resumed_from"] == 3
    compare(parts, whole)
    assert len({row["train_loss"] for row in whole["rows"]}) == len(whole["rows"])


# The last epoch


def ended_before_close(config: Config, folder: Path, *callbacks: Callback) -> None:
    """A run that is killed when it has trained and before it is closed."""
    run = build_run(config, RunLocation(folder, folder.name), list(callbacks))
    run.open()
    run.fit(resume=True)


@pytest.mark.parametrize("limit", [{"max_epochs": 3}, {"max_steps": 30}, {"max_epochs": 3, "max_steps": 36}])
def test_a_run_that_had_trained_to_its_end_is_only_closed(config: MakeConfig, tmp_path: Path, limit: Config) -> None:
    settings = merge(config(), {"trainer": limit})
    whole = run_in(settings, tmp_path / "whole")
    ended_before_close(settings, tmp_path / "parts")
    trained = Stopper(0)
    parts = run_in(settings, tmp_path / "parts", [trained])
    assert trained.epochs == 0
    compare(parts, whole)


@pytest.mark.parametrize("patience", [1, 2])
def test_a_run_that_had_stopped_early_trains_no_epoch_more(config: MakeConfig, tmp_path: Path, patience: int) -> None:
    settings = config(model__optimizer__lr=2.0, trainer__max_epochs=30, early_stopping__patience=patience)
    whole = run_in(settings, tmp_path / "whole")
    ended_before_close(settings, tmp_path / "parts")
    parts = run_in(settings, tmp_path / "parts")
    assert parts["result"]["stopped"] == "early_stopping"
    assert parts["resumed_from"] == parts["result"]["epochs"] < 30
    compare(parts, whole)


def test_early_stopping_goes_on_counting(config: MakeConfig, tmp_path: Path) -> None:
    settings = config(model__optimizer__lr=2.0, trainer__max_epochs=30, early_stopping__patience=3)
    whole = run_in(settings, tmp_path / "whole")
    last = whole["result"]["epochs"]
    parts = interrupted(settings, tmp_path / "parts", Before(last - 1), Before(last))
    compare(parts, whole)


def test_a_stop_that_waits_for_min_epochs_still_stands(config: MakeConfig, tmp_path: Path) -> None:
    settings = config(
        model__optimizer__lr=2.0, trainer__max_epochs=30, trainer__min_epochs=12, early_stopping__patience=1
    )
    whole = run_in(settings, tmp_path / "whole")
    assert (whole["result"]["stopped"], whole["result"]["epochs"]) == ("early_stopping", 12)
    compare(interrupted(settings, tmp_path / "parts", Before(11)), whole)


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint need to be provided.*")
def test_a_callback_of_the_caller_decides_again(config: MakeConfig, tmp_path: Path) -> None:
    settings = config(trainer__max_epochs=6)
    whole = run_in(settings, tmp_path / "whole", [Stopper(3)])
    assert (whole["result"]["stopped"], whole["result"]["epochs"]) == ("stopped", 3)
    ended_before_close(settings, tmp_path / "parts", Stopper(3))
    compare(run_in(settings, tmp_path / "parts", [Stopper(3)]), whole)
    ended_before_close(settings, tmp_path / "other", Stopper(3))
    assert run_in(settings, tmp_path / "other")["result"]["epochs"] == 6


def test_a_callback_of_the_config_need_not_decide_again(config: MakeConfig, tmp_path: Path) -> None:
    stopper = {"class_path": "resumable.Forgetful", "init_args": {"epoch": 3}}
    settings = config(trainer__max_epochs=6, trainer__callbacks=[stopper])
    whole = run_in(settings, tmp_path / "whole")
    ended_before_close(settings, tmp_path / "parts")
    compare(run_in(settings, tmp_path / "parts"), whole)


# Files


def test_last_is_written_after_everything_else(config: MakeConfig, tmp_path: Path) -> None:
    seen: list[tuple[int, int, int]] = []

    class Look(Checkpoint):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            files = [tmp_path / "run" / "checkpoints" / f"{name}.ckpt" for name in ("best", "last")]
            saved = [torch.load(file)["epoch"] + 1 if file.exists() else 0 for file in files]
            seen.append((len(read_rows(tmp_path / "run" / "metrics.csv")), *saved))

    run_in(config(trainer__max_epochs=3), tmp_path / "run", [Look()])
    assert seen == [(1, 1, 0), (2, 2, 1), (3, 3, 2)]


def test_a_checkpoint_callback_of_the_module_comes_before_last(tmp_path: Path) -> None:
    from foreign import Scripted

    class Own(Checkpoint):
        epochs = 0

        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            self.epochs += 1

        def state_dict(self) -> dict[str, Any]:
            return {"epochs": self.epochs}

    class Configuring(Scripted):
        def configure_callbacks(self) -> list[Callback]:
            return [Own()]

    from lit_dl.run.run import Run

    trainer = {"max_epochs": 2, "accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    location = RunLocation(tmp_path / "run", "run", wandb="disabled")
    run = Run(Configuring([1.0, 2.0]), None, {**trainer, "enable_model_summary": False}, {}, location)
    run.open()
    run.fit()
    states = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt")["callbacks"]
    assert [state["epochs"] for key, state in states.items() if key.endswith("Own")] == [2]


def test_the_best_of_an_epoch_that_is_made_again_is_not_kept(tmp_path: Path) -> None:
    """The resumed run gives other figures here, as on a GPU: the file must still be that of the best epoch."""

    def scripted(figures: list[float]) -> Config:
        model = {"class_path": "foreign.Scripted", "init_args": {"figures": figures}}
        trainer = {"max_epochs": 4, "accelerator": "cpu"}
        return {
            "model": model,
            "trainer": trainer,
            "tracking": {"wandb": "disabled"},
            "checkpoint": {"monitor": "score"},
        }

    class Changed(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
            pl_module.figures = [3.0, 2.0, 9.0, 8.0]

    settings = scripted([3.0, 2.0, 1.0, 4.0])
    with pytest.raises(Interrupted):
        run_in(settings, tmp_path / "run", [Before(3)])
    assert torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt")["epoch"] + 1 == 3
    parts = run_in(settings, tmp_path / "run", [Changed()])
    assert (parts["resumed_from"], parts["result"]["best_epoch"]) == (2, 2)
    assert float(parts["best"]["weight"]) == 2
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]

    with pytest.raises(Interrupted):
        run_in(settings, tmp_path / "first", [Before(1)])
    build = build_run(settings, RunLocation(tmp_path / "first", "first"))
    build.open()
    build.fit(resume=True)
    assert build.resumed_from is None


def test_a_folder_that_was_moved_goes_on(config: MakeConfig, tmp_path: Path) -> None:
    settings = config(model__optimizer__lr=2.0, trainer__max_epochs=6)
    whole = run_in(settings, tmp_path / "whole")
    with pytest.raises(Interrupted):
        run_in(settings, tmp_path / "parts", [Before(5)])
    (tmp_path / "parts").rename(tmp_path / "moved")
    parts = run_in(settings, tmp_path / "moved")
    assert parts["result"]["best_checkpoint"] == tmp_path / "moved" / "checkpoints" / "best.ckpt"
    compare(parts, whole)


@pytest.mark.filterwarnings("ignore:.*leave out hyperparameters", "ignore:Attribute '(loss|scale)'")
def test_a_module_whose_hyperparameters_are_objects_goes_on(tmp_path: Path) -> None:
    settings = {"model": {"class_path": "tested.Objects"}, "trainer": {"max_epochs": 4, "accelerator": "cpu"}}
    settings |= {"checkpoint": {"monitor": "score"}, "tracking": {"wandb": "disabled"}}
    parts = interrupted(settings, tmp_path / "parts", At("on_train_batch_start", 3))
    assert parts["resumed_from"] == 2
    compare(parts, run_in(settings, tmp_path / "whole"))
    for name in ("best", "last"):
        saved = torch.load(tmp_path / "parts" / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert saved["hyper_parameters"] == {"step": 1.0}


def test_the_checkpoints_of_the_user_are_left_alone(tmp_path: Path) -> None:
    settings = {"model": {"class_path": "tested.Objects"}, "trainer": {"max_epochs": 1, "accelerator": "cpu"}}
    theirs = ModelCheckpoint(dirpath=tmp_path / "theirs", filename="theirs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_in({**settings, "tracking": {"wandb": "disabled"}}, tmp_path / "run", [theirs])
    saved = torch.load(tmp_path / "theirs" / "theirs.ckpt", weights_only=False)
    assert saved["hyper_parameters"]["folder"] == Path("a")


def test_rows_after_the_checkpoint_are_dropped_and_time_goes_on(config: MakeConfig, tmp_path: Path) -> None:
    settings = config(trainer__max_epochs=4)
    with pytest.raises(Interrupted):
        run_in(settings, tmp_path / "run", [Before(3)])
    before = read_rows(tmp_path / "run" / "metrics.csv")
    assert [row["epoch"] for row in before] == [1, 2, 3]
    run = build_run(settings, RunLocation(tmp_path / "run", "run"), [At("on_train_batch_start", 3)])
    run.open()
    with pytest.raises(Interrupted):
        run.fit(resume=True)
    rows = read_rows(tmp_path / "run" / "metrics.csv")
    assert rows == before[:2]
    epochs = [int(line.split(",")[0]) for line in (tmp_path / "run" / "diagnostics.csv").read_text().splitlines()[1:]]
    assert sorted(set(epochs)) == [1, 2]
    result = run_in(settings, tmp_path / "run")
    times = [row["elapsed_s"] for row in read_rows(tmp_path / "run" / "metrics.csv")]
    assert times == sorted(times)
    assert times[:2] == [row["elapsed_s"] for row in before[:2]]
    seconds = result["seconds"]
    assert seconds["train"] + seconds["validate"] + seconds["data"] <= seconds["total"]


def test_times_are_those_of_all_attempts(config: MakeConfig, tmp_path: Path) -> None:
    settings = config(trainer__max_epochs=3)
    with pytest.raises(Interrupted):
        run_in(settings, tmp_path / "run", [Before(3)])
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path)
    checkpoint["callbacks"]["RunTiming"].update(train_s=100.0, validate_s=200.0, data_s=300.0, peak_memory_bytes=10**15)
    torch.save(checkpoint, path)
    run = build_run(settings, RunLocation(tmp_path / "run", "run"))
    run.open()
    run.fit(resume=True)
    result = run.close()
    assert [result.seconds[part] // 100 for part in ("train", "validate", "data")] == [1, 2, 3]
    assert result.peak_memory_bytes == 10**15


# Generators


def test_generator_states_load_without_unpickling_and_give_the_same_numbers(tmp_path: Path) -> None:
    def draw() -> list[float]:
        return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), float(torch.rand(()))]

    draw()
    torch.save(global_states(), tmp_path / "states")
    expected = draw()
    draw()
    set_global_states(torch.load(tmp_path / "states", weights_only=True))
    assert draw() == expected


# Killed for real


def kill(config: Config, folder: Path, epochs: int, delay_s: float) -> None:
    """Starts or goes on with a run in a process of its own, and kills it some time after so many epochs more."""
    table = folder / "metrics.csv"
    before = len(read_rows(table)) if table.exists() else 0
    child = os.fork()  # and not a new interpreter: importing takes longer than all the rest
    if child == 0:
        with suppress(BaseException):
            run_in(config, folder)
        os._exit(0)
    while epochs and not (table.exists() and len(read_rows(table)) >= before + epochs):
        time.sleep(0.001)
    time.sleep(delay_s)
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def test_a_run_killed_again_and_again_equals_the_uninterrupted_one(config: MakeConfig, tmp_path: Path) -> None:
    settings = config(**{**SETTINGS["momentum, dropout, noise, batch norm"], "trainer__max_epochs": 60})
    whole = run_in(settings, tmp_path / "whole")
    moments = random.Random(4)
    for epochs in (0, 2, 3, 2, 3, 2):
        kill(settings, tmp_path / "parts", epochs, moments.uniform(0.0, 0.03))
    parts = run_in(settings, tmp_path / "parts")
    assert parts["resumed_from"] > 5
    compare(parts, whole)
    assert outcome(tmp_path / "parts").keys() == outcome(tmp_path / "whole").keys()
    assert not [path for path in (tmp_path / "parts").rglob(".*") if path.is_file()]
