"""A worker in this process: claim, run, finish; every outcome; the files that a trial leaves."""

from __future__ import annotations

import csv
import errno
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
import yaml
from optuna.trial import TrialState
from sweep_specs import tiny_spec
from worker_sweeps import sweep

import sweeps.worker.run_trial
from lit_dl import Classifier
from lit_dl.cli.lit_cli import build_run
from lit_dl.config.yaml_io import load_yaml
from lit_dl.run.run import Run
from sweeps.replay import replay_trial
from sweeps.study.attributes import StudyAttributes
from sweeps.study.records import TrialOutcome
from sweeps.study.study import SharedStudy


def test_a_sweep_leaves_rows_files_and_one_evaluation(tmp_path: Path) -> None:
    study, rows = sweep(tmp_path, n_trials=3)
    assert [row["state"] for row in rows] == ["COMPLETE"] * 3
    folder = tmp_path / "run" / "trials" / "00001"
    tables = {"metrics.csv", "diagnostics.csv", "learning_curve_plot.png"}
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "checkpoints", "log.txt"} | tables
    with (folder / "metrics.csv").open() as file:
        epochs = [float(line["val/acc"]) for line in csv.DictReader(file)]
    row = rows[1]
    assert row["value"] == max(epochs) == row["best.val/acc"]
    assert row["best_epoch"] == epochs.index(max(epochs)) + 1
    assert row["epochs"] == len(epochs) == 3
    assert row["last.val/acc"] == epochs[-1]
    assert row["parameters"] == 65 * row["params.model.network.width"] * 1 + sum_of_rest(row)
    parts = [row[f"{name}_s"] for name in ("train", "validate", "data", "checkpoint", "tracking", "waiting")]
    assert all(part >= 0 for part in parts)
    assert sum(parts) <= row["total_s"]
    winner = max(rows, key=lambda r: r["value"])["number"]
    assert [row["number"] for row in rows if "best.test/acc" in row] == [winner]
    assert set(study.attributes.evaluations()) == {winner}


def sum_of_rest(row: dict[str, Any]) -> int:
    """Second hidden layer and output of an MLP of depth 2 on two classes."""
    width = int(row["params.model.network.width"])
    return (width + 1) * width + (width + 1) * 2


def test_a_trial_is_a_config_file_that_repeats_it(tmp_path: Path) -> None:
    sweep(tmp_path, n_trials=1)
    assert replay_trial(tmp_path / "run", 0) == 0
    config = load_yaml(tmp_path / "run" / "trials" / "00000" / "config.yaml")
    text = yaml.safe_dump(config)
    assert str(tmp_path / "run") not in text
    assert config["threads"] == 1
    config["seed_everything"] += 1
    (tmp_path / "run" / "trials" / "00000" / "config.yaml").write_text(yaml.safe_dump(config))
    assert replay_trial(tmp_path / "run", 0) == 1


def test_the_best_checkpoint_loads_plainly_and_gives_what_was_reported(tmp_path: Path) -> None:
    _, rows = sweep(tmp_path, n_trials=1)
    folder = tmp_path / "run" / "trials" / "00000"
    module = Classifier.load_from_checkpoint(folder / "checkpoints" / "best.ckpt", weights_only=True)
    run = build_run(load_yaml(folder / "config.yaml"))
    run.module.load_state_dict(module.state_dict())
    assert run.test()["test/acc"] == rows[0]["best.test/acc"]


class FirstEpochPruner(optuna.pruners.BasePruner):
    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        return trial.number > 0


def test_a_pruned_trial_ends_after_its_epoch_and_is_not_ranked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.study.storage.build_pruner", lambda spec: FirstEpochPruner())
    study, rows = sweep(tmp_path, n_trials=2, pruner="MedianPruner")
    assert [(row["state"], row["outcome"], row["epochs"]) for row in rows] == [
        ("COMPLETE", "completed", 3),
        ("PRUNED", "pruned", 1),
    ]
    assert set(study.trials()[1].intermediate_values) == {1}
    assert replay_trial(tmp_path / "run", 1) == 0


def test_divergence_is_an_outcome_that_the_sampler_learns_from(tmp_path: Path) -> None:
    space = {"model.optimizer.lr": {"choices": [1e30]}, "model.optimizer.name": {"choices": ["sgd"]}}
    study, rows = sweep(tmp_path, n_trials=1, space=space, objective={"metric": "val/loss", "direction": "minimize"})
    assert (rows[0]["state"], rows[0]["outcome"]) == ("PRUNED", "diverged")
    assert study.trials()[0].constraints == {"diverged": 1.0}


@pytest.mark.parametrize(
    ("error", "state", "outcome"),
    [
        (ValueError("no such <thing>"), "FAIL", "failed"),
        (torch.OutOfMemoryError("CUDA out of memory"), "PRUNED", "out_of_memory"),
        (SystemExit(1), "FAIL", "failed"),
    ],
)
def test_what_a_run_raises_ends_its_trial_and_no_more(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    state: str,
    outcome: str,
) -> None:
    fit, calls = Run.fit, iter([True, False])

    def fails_once(self: Run, resume: bool) -> None:
        if next(calls, False):
            raise error
        fit(self, resume)

    monkeypatch.setattr(Run, "fit", fails_once)
    _, rows = sweep(tmp_path, n_trials=2)
    assert [(row["state"], row["outcome"]) for row in rows] == [(state, outcome), ("COMPLETE", "completed")]
    assert rows[0]["reason"] == f"{type(error).__name__}: {error}"
    assert ("Traceback" in capsys.readouterr().err) == (outcome == "failed")


def test_an_interrupted_trial_waits_and_the_same_total_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class AfterSome:
        def __init__(self, looks: int) -> None:
            self.looks = looks

        def is_set(self) -> bool:
            self.looks -= 1
            return self.looks < 0

    study, rows = sweep(tmp_path, stop=AfterSome(25), n_trials=3)
    assert {trial.state.name for trial in study.trials()} == {"COMPLETE", "WAITING"}
    interrupted = next(trial for trial in study.trials() if trial.state.name == "WAITING")
    study, rows = sweep(tmp_path, n_trials=3)
    assert [row["state"] for row in rows] == ["COMPLETE"] * 3
    assert [row["attempt"] for row in rows] == [2 if row["number"] == interrupted.number else 1 for row in rows]
    uninterrupted = tmp_path / "other"
    uninterrupted.mkdir()
    _, expected = sweep(uninterrupted, n_trials=3)
    assert [row["value"] for row in rows] == [row["value"] for row in expected]


def test_all_trials_are_evaluated_when_the_spec_says_so(tmp_path: Path) -> None:
    _, rows = sweep(tmp_path, n_trials=2, evaluate_test="all")
    assert all("best.test/acc" in row for row in rows)


def test_a_result_that_comes_late_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_trial = sweeps.worker.run_trial.run_trial
    taken: list[Any] = []

    def steal(spec: Any, claim: Any, *rest: Any) -> Any:
        verdict = run_trial(spec, claim, *rest)
        other = SharedStudy(tmp_path / "run", spec)
        if not taken:
            other.release(claim)  # as a launcher does that takes this worker for dead
            taken.append(other.claim(1))
        else:
            other.finish(taken[0], TrialOutcome(TrialState.COMPLETE, [0.125], None, {**verdict.row, "slot": 1}))
        return verdict

    monkeypatch.setattr("sweeps.worker.loop.run_trial", steal)
    _, rows = sweep(tmp_path, n_trials=2)
    assert [(row["state"], row["slot"]) for row in rows] == [("COMPLETE", 1), ("COMPLETE", 0)]
    assert rows[0]["value"] == 0.125


class EveryEpochPruner(optuna.pruners.BasePruner):
    """Would stop each trial at each epoch but the first."""

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        return max(trial.intermediate_values) > 1


def test_a_verdict_stands_while_min_epochs_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.study.storage.build_pruner", lambda spec: EveryEpochPruner())
    given = tiny_spec(tmp_path)
    given["base"]["trainer"] |= {"min_epochs": 4, "max_epochs": 6}
    study, rows = sweep(tmp_path, n_trials=1, base=given["base"], pruner="MedianPruner")
    assert (rows[0]["state"], rows[0]["outcome"]) == ("PRUNED", "pruned")
    assert set(study.trials()[0].intermediate_values) == {1, 2}


def test_what_reached_its_last_epoch_is_not_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.study.storage.build_pruner", lambda spec: EveryEpochPruner())
    given = tiny_spec(tmp_path)
    given["base"]["trainer"]["max_epochs"] = 2
    _, rows = sweep(tmp_path, n_trials=1, base=given["base"], pruner="MedianPruner")
    assert (rows[0]["state"], rows[0]["epochs"]) == ("COMPLETE", 2)


def test_only_epochs_with_a_validation_are_reported(tmp_path: Path) -> None:
    given = tiny_spec(tmp_path)
    given["base"]["trainer"] |= {"check_val_every_n_epoch": 2, "max_epochs": 5}
    given["base"]["early_stopping"] = {"patience": None}
    study, rows = sweep(tmp_path, n_trials=1, base=given["base"])
    assert set(study.trials()[0].intermediate_values) == {2, 4}
    last = torch.load(tmp_path / "run" / "trials" / "00000" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] + 1 == rows[0]["epochs"] == 5


def test_mixed_precision_takes_clipped_gradients(tmp_path: Path) -> None:
    given = tiny_spec(tmp_path)
    given["base"]["trainer"] |= {"precision": "bf16-mixed", "gradient_clip_val": 1.0}
    _, rows = sweep(tmp_path, n_trials=1, base=given["base"])
    assert rows[0]["outcome"] == "completed"


@pytest.mark.parametrize("evaluated_by", ["us", "another"])
def test_the_winner_keeps_its_checkpoint_until_it_is_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluated_by: str
) -> None:
    if evaluated_by == "another":  # which is at it
        monkeypatch.setattr(StudyAttributes, "claim_evaluation", lambda attributes, number: False)
    study, rows = sweep(tmp_path, n_trials=3, keep="none")
    winner = max(rows, key=lambda row: row["value"])["number"]
    left = [int(path.parent.name) for path in (tmp_path / "run").glob("trials/*/checkpoints")]
    assert left == ([] if evaluated_by == "us" else [winner])
    assert set(study.attributes.evaluations()) == ({winner} if evaluated_by == "us" else set())


def test_a_disk_that_is_full_when_a_trial_begins_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    touch, calls = Path.touch, iter([True, True, False])

    def full_at_first(path: Path, *words: Any) -> None:
        if path.name == "log.txt" and next(calls, False):
            raise OSError(errno.ENOSPC, "No space left on device")
        touch(path, *words)

    monkeypatch.setattr(Path, "touch", full_at_first)
    monkeypatch.setattr("lit_dl.files.sleep", lambda _: None)
    _, rows = sweep(tmp_path, n_trials=1)
    assert [(row["outcome"], row["attempt"]) for row in rows] == [("completed", 1)]
    assert capsys.readouterr().out.count("log.txt: no space left on the device; waiting for space") == 1


def test_epochs_that_the_storage_could_not_be_told_are_told_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, calls = SharedStudy._report, iter([True, False, True, True, False, False])

    def away_at_times(self: SharedStudy, *news: Any) -> str | None:
        if not next(calls):
            raise OSError(errno.ENOSPC, "no space left on device")
        return report(self, *news)

    monkeypatch.setattr(SharedStudy, "_report", away_at_times)
    study, rows = sweep(tmp_path, n_trials=2)
    assert [set(trial.intermediate_values) for trial in study.trials()] == [{1, 2, 3}] * 2
    for trial in study.trials():
        with (tmp_path / "run" / "trials" / f"{trial.number:05d}" / "metrics.csv").open() as file:
            table = {int(line["epoch"]): float(line["val/acc"]) for line in csv.DictReader(file)}
        assert trial.intermediate_values == table
    assert [row["outcome"] for row in rows] == ["completed"] * 2
