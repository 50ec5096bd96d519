"""Trials of modules that validate within epochs, or log their objective now and then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from irregular import irregular_sweep
from worker_sweeps import sweep

from lit_dl.files import csv_text
from sweeps.replay import replay_trial
from sweeps.study.study import SharedStudy
from sweeps.trial_folder import TrialFolder

NAN: Any = None


def run(folder: Path, spec: dict[str, Any]) -> tuple[SharedStudy, list[dict[str, Any]]]:
    return sweep(folder, **spec)


def weight_of(folder: Path, number: int = 0) -> float:
    """The weight of the best checkpoint, which is the number of its step."""
    path = TrialFolder(folder / "run", number).checkpoints / "best.ckpt"
    return float(torch.load(path, weights_only=True)["state_dict"]["weight"])


def check_one_moment(folder: Path, row: dict[str, Any], value: float, step: int) -> None:
    """The value that the study has, the row and the best checkpoint are of one moment."""
    rows = TrialFolder(folder / "run", 0).read_metrics()
    best = next(each for each in rows if each.get("score") == value)
    assert (row["state"], row["value"], row["best_epoch"]) == ("COMPLETE", value, best["epoch"])
    assert best.get("global_step", best["epoch"]) == weight_of(folder) == step


def test_a_metric_of_every_second_epoch_is_an_objective(tmp_path: Path) -> None:
    arguments = {"figures": [0.0, 3.0, 0.0, 1.0, 0.0, 2.0, 0.0]}
    trainer = {"max_epochs": 7}
    for base in ({}, {"checkpoint": {"monitor": "val_loss"}}, {"early_stopping": {"patience": 2}}):
        folder = tmp_path / "-".join(["plain", *base])
        folder.mkdir()
        spec = irregular_sweep("EverySecond", arguments, trainer)
        spec["base"] |= base
        study, rows = run(folder, spec)
        assert study.trials()[0].intermediate_values == {2: 3.0, 4: 1.0, 6: 2.0}
        value, step = (3.0, 2) if "checkpoint" in base else (1.0, 4)
        check_one_moment(folder, rows[0], value, step)
        assert rows[0]["epochs"] == 7


@pytest.mark.parametrize(
    ("name", "trainer", "scores", "told", "step"),
    [
        ("foreign.OftenValidated", {"max_epochs": 2, "val_check_interval": 0.5}, [3.0, 1.0, 2.0, 4.0], 4, 4),
        ("foreign.OftenValidated", {"max_epochs": 2, "val_check_interval": 3}, [3.0, 1.0], 2, 7),
        ("irregular.Endless", {"max_epochs": -1, "max_steps": 12}, [3.0, 1.0, 2.0, 4.0], 4, 6),
        ("irregular.Endless", {"max_epochs": -1, "max_steps": 14}, [3.0, 1.0, 2.0, 0.5], 4, 12),
    ],
)
def test_each_validation_is_told_and_kept(
    tmp_path: Path, name: str, trainer: dict[str, Any], scores: list[float], told: int, step: int
) -> None:
    every = {"val_check_interval": 3, "check_val_every_n_epoch": None} if "Endless" in name else {}
    spec = irregular_sweep("", {"scores": scores}, {**trainer, **every})
    spec["base"]["model"]["class_path"] = name
    study, rows = run(tmp_path, spec)
    assert study.trials()[0].intermediate_values == dict(enumerate(scores[:told], 1))
    check_one_moment(tmp_path, rows[0], min(scores[:told]), step)
    assert replay_trial(tmp_path / "run", 0) == 0


class ThirdValuePruner(optuna.pruners.BasePruner):
    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        return max(trial.intermediate_values) == 3


def test_a_trial_is_pruned_within_an_epoch_and_replayed_to_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.study.storage.build_pruner", lambda spec: ThirdValuePruner())
    spec = irregular_sweep("", {"scores": [1.0]}, {"max_epochs": 9, "val_check_interval": 0.5}, pruner="MedianPruner")
    spec["base"]["model"]["class_path"] = "foreign.OftenValidated"
    _, rows = run(tmp_path, spec)
    assert (rows[0]["outcome"], rows[0]["epochs"]) == ("pruned", 2)
    left = TrialFolder(tmp_path / "run", 0).read_metrics()
    assert [(row["epoch"], row["global_step"]) for row in left] == [(1, 2), (1, 4), (2, 6)]
    assert left[-1].keys() >= {"score", "trained"}
    assert replay_trial(tmp_path / "run", 0) == 0


@pytest.mark.parametrize(
    ("limit", "epochs"),
    [
        ({"max_epochs": -1, "max_steps": 4}, [1, 1, 1, 1]),
        ({"max_epochs": 1}, [1, 1, 1, 1]),
        ({"max_epochs": -1, "max_steps": 8}, [2, 1, 1, 1]),
        ({"max_epochs": 2}, [2, 1, 1, 1]),
    ],
)
def test_what_is_over_is_never_pruned_by_whichever_limit(
    tmp_path: Path, limit: dict[str, Any], epochs: list[int]
) -> None:
    runs = {f"run{number}": {"model.scores": [float(number)]} for number in range(4)}
    spec = irregular_sweep(
        "", {"scores": [0.0]}, limit, runs=runs, n_trials=4,
        pruner={"class_path": "MedianPruner", "init_args": {"n_startup_trials": 1}},
    )  # fmt: skip
    spec["base"]["model"]["class_path"] = "foreign.OftenValidated"
    _, rows = run(tmp_path, spec)
    assert [row["epochs"] for row in rows] == epochs
    assert [row["state"] for row in rows] == ["COMPLETE" if count == epochs[0] else "PRUNED" for count in epochs]


@pytest.mark.parametrize(
    ("figures", "breaks", "divergence", "outcome"),
    [
        ([NAN, 2.0, 1.0], [], "loss", "completed"),
        ([NAN, 2.0, 1.0], [], "objective", "diverged"),
        ([NAN, 2.0, 1.0], [], None, "diverged"),
        ([NAN, 2.0, 1.0], [1], "loss", "diverged"),
        ([3.0, NAN, 1.0], [], "loss", "completed"),
        ([NAN, NAN, NAN], [], "loss", "diverged"),
        ([3.0, 2.0, 1.0], [1, 2], "loss", "completed"),
    ],
)
@pytest.mark.parametrize("stopping", [{"patience": None}, {"patience": 3}])
def test_an_objective_that_is_not_finite_is_a_divergence_by_rule(
    tmp_path: Path,
    figures: list[Any],
    breaks: list[int],
    divergence: str | None,
    outcome: str,
    stopping: dict[str, Any],
) -> None:
    spec = irregular_sweep("EarlyNaN", {"figures": figures, "breaks": breaks}, {"max_epochs": 3}, divergence=divergence)
    spec["base"]["early_stopping"] = stopping
    study, rows = run(tmp_path, spec)
    assert rows[0]["outcome"] == outcome
    if outcome == "completed":
        assert (rows[0]["value"], rows[0]["epochs"]) == (1.0, 3)
        finite = {epoch: figure for epoch, figure in enumerate(figures, 1) if figure is not None}
        assert study.trials()[0].intermediate_values == finite


@pytest.mark.parametrize("epochs", [1, 2])
def test_rows_of_an_earlier_version_are_replayed(tmp_path: Path, epochs: int) -> None:
    """They were one an epoch, without a step, and held what was last logged; a trial may have gone on with this one."""
    spec = irregular_sweep("", {"scores": [3.0, 1.0]}, {"max_epochs": 3, "val_check_interval": 3})
    spec["base"]["model"]["class_path"] = "foreign.OftenValidated"
    run(tmp_path, spec)
    folder = TrialFolder(tmp_path / "run", 0)
    earlier: list[dict[str, Any]] = []
    seen: dict[str, Any] = {}
    for row in folder.read_metrics():
        seen |= row
        if row["epoch"] > epochs:
            earlier.append(row)
        elif "trained" in row:  # the end of an epoch
            earlier.append({name: value for name, value in seen.items() if name != "global_step"})
    folder.metrics.write_text(csv_text(earlier))
    assert len(earlier) < 6
    assert replay_trial(tmp_path / "run", 0) == 0
