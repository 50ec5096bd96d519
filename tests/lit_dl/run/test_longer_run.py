"""A run that goes on from the last epoch of a shorter run is one of the new length, to the last digit."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import scheduled
from lightning.pytorch import Callback, Trainer
from resumable import SETTINGS, At, Interrupted, compare, foreign, run_in

from lit_dl.cli.lit_cli import parse_config
from lit_dl.config.overlay import merge
from lit_dl.run.longer_run import go_on_from
from lit_dl.run.resume import NotResumableError

Config = dict[str, Any]
MakeConfig = Callable[..., Config]


def with_epochs(config: Config, epochs: int) -> Config:
    return merge(config, {"trainer": {"max_epochs": epochs}})


def extended(config: Config, folder: Path, *lengths: int) -> Config:
    """What a run leaves that was extended from one of these lengths to the next."""
    left = run_in(with_epochs(config, lengths[0]), folder / f"{lengths[0]}")
    for before, after in pairwise(lengths):
        longer = with_epochs(config, after)
        go_on_from(folder / f"{before}", folder / f"{after}", parse_config(longer))
        left = run_in(longer, folder / f"{after}")
        assert left["resumed_from"] == before
    return left


CONSTANT = [name for name in SETTINGS if name not in ("a limit of steps", "warm-up and cosine")]


@pytest.mark.parametrize("name", CONSTANT)
def test_it_is_what_a_run_of_the_new_length_is(name: str, tmp_path: Path, config: MakeConfig) -> None:
    given = config(**SETTINGS[name])
    epochs = given["trainer"]["max_epochs"]
    compare(extended(given, tmp_path, 2, epochs), run_in(given, tmp_path / "whole"))


@pytest.mark.parametrize("name", ["plateau", "two moons", "no validation", "own generator"])
def test_it_is_so_for_modules_of_others(name: str, tmp_path: Path) -> None:
    compare(extended(foreign(name), tmp_path, 2, 3, 5), run_in(foreign(name), tmp_path / "whole"))


@pytest.mark.parametrize("name", scheduled.SCHEDULES)
def test_the_rate_is_that_of_the_new_length_from_there_on(name: str, tmp_path: Path) -> None:
    config = merge(foreign(""), {"model": {"class_path": "scheduled.Scheduled", "init_args": {"schedule": name}}})
    long, whole = extended(config, tmp_path, 3, 7), run_in(with_epochs(config, 7), tmp_path / "whole")
    for metric in ("lr", "momentum"):
        rates, expected = ([row[metric] for row in left["rows"]] for left in (long, whole))
        assert rates[3:] == expected[3:]
        if metric == "lr":
            assert (rates[:3] != expected[:3]) == (name in scheduled.DEPEND_ON_LENGTH)


class Rates(Callback):
    """Notes the learning rate of each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_the_rate_of_our_models_is_that_of_the_new_length_too(tmp_path: Path, config: MakeConfig) -> None:
    given = config(**{**SETTINGS["warm-up and cosine"], "model__steps_per_execution": 1})
    run_in(with_epochs(given, 2), tmp_path / "2")
    go_on_from(tmp_path / "2", tmp_path / "4", parse_config(given))
    long, whole = Rates(), Rates()
    run_in(given, tmp_path / "4", [long])
    run_in(given, tmp_path / "whole", [whole])
    assert len(whole.seen) == 2 * len(long.seen)
    assert long.seen == whole.seen[len(long.seen) :]


def test_it_goes_on_when_it_is_interrupted_itself(tmp_path: Path, config: MakeConfig) -> None:
    given = config(**SETTINGS["adam, one step at a time"])
    run_in(with_epochs(given, 2), tmp_path / "2")
    longer, ours = with_epochs(given, 4), tmp_path / "4"
    for epoch in (3, 4):  # before and after its first own last.ckpt
        go_on_from(tmp_path / "2", ours, parse_config(longer))
        with pytest.raises(Interrupted):
            run_in(longer, ours, [At("on_train_batch_start", epoch, 1)])
    go_on_from(tmp_path / "2", ours, parse_config(longer))
    left = run_in(longer, ours)
    assert left["resumed_from"] == 3
    compare(left, run_in(longer, tmp_path / "whole"))


def test_a_copy_that_was_cut_short_is_made_again(
    tmp_path: Path, config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = config(**SETTINGS["adam, one step at a time"])
    run_in(with_epochs(given, 2), tmp_path / "2")

    def killed(*_: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr("torch.save", killed)
        with pytest.raises(Interrupted):
            go_on_from(tmp_path / "2", tmp_path / "4", parse_config(given))
    (tmp_path / "4" / "metrics.csv").write_text("half a")
    compare(extended(given, tmp_path, 2, 4), run_in(given, tmp_path / "whole"))


def test_another_run_is_refused(tmp_path: Path, config: MakeConfig) -> None:
    given = config(trainer__max_epochs=1)
    run_in(given, tmp_path / "1")
    other = parse_config(with_epochs(merge(given, {"data": {"batch_size": 8}}), 2))
    with pytest.raises(NotResumableError, match=r"last\.ckpt is of a run with another config"):
        go_on_from(tmp_path / "1", tmp_path / "2", other)
    with pytest.raises(NotResumableError, match=r"last\.ckpt is not there"):
        go_on_from(tmp_path / "none", tmp_path / "2", other)
    (tmp_path / "1" / "checkpoints" / "last.ckpt").write_bytes(b"half")
    with pytest.raises(NotResumableError, match=r"last\.ckpt cannot be loaded"):
        go_on_from(tmp_path / "1", tmp_path / "2", parse_config(with_epochs(given, 2)))
    assert not (tmp_path / "2").exists()
