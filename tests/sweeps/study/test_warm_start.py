"""A sampler that learns from trials of older sweeps, which are no trials of its study."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
import pytest
from studies import claimed, complete, create_study, study_spec

from lit_dl.errors import ConfigError
from sweeps.results.files import write_results
from sweeps.results.older_trials import read_older_sweeps
from sweeps.results.trial_result import finished_results
from sweeps.study.rehearsal import dry_run_sampler
from sweeps.study.storage import open_storage
from sweeps.study.study import SharedStudy
from sweeps.study.warm_start import OlderTrial

SPACE = {
    "x": {"low": 0.0, "high": 1.0, "type": "float"},
    "kind": {"choices": ["a", "b"]},
    "depth": {"low": 1, "high": 4, "type": "int", "when": {"kind": ["b"]}},
}
OLDER = [OlderTrial({"x": n / 40, "kind": "a"}, [1 - abs(n / 40 - 0.7)]) for n in range(40)]
OLDER += [OlderTrial({"x": 0.7, "kind": "b", "depth": 2}, [0.2])] * 10


def study_with(folder: Path, older: list[OlderTrial], **changes: Any) -> SharedStudy:
    study = create_study(folder, **{"space": SPACE, "n_trials": 8, "warm_start": ["older"], **changes})
    study.warm_start(older)
    return study


def sampled(study: SharedStudy) -> list[Any]:
    """Values of all trials of a study, which are bad without exception, so that nothing is learned from them."""
    values = []
    while claim := study.claim(0):
        values.append(claim.values)
        assert complete(study, claim, 0.0)
    return values


def test_tpe_starts_from_what_older_trials_have_shown(tmp_path: Path) -> None:
    tpe = {"class_path": "TPESampler", "init_args": {"seed": 1}}
    warm = sampled(study_with(tmp_path / "warm", OLDER, sampler=tpe))
    cold = sampled(study_with(tmp_path / "cold", [], sampler=tpe))
    near = [fmean(abs(values["x"] - 0.7) for values in found) for found in (warm, cold)]
    assert near[0] < 0.1 < near[1]


SAMPLERS = ["TPESampler", "RandomSampler", "QMCSampler", "CmaEsSampler", "NSGAIISampler", "GPSampler"]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_older_trial_is_a_trial_of_the_study(tmp_path: Path, sampler: str) -> None:
    space = {"x": SPACE["x"], "y": {"low": 0.0, "high": 1.0, "type": "float"}}
    older = [OlderTrial({"x": n / 12, "y": 0.5}, [n / 12]) for n in range(12)]
    study = study_with(tmp_path, older, space=space, sampler=sampler, n_trials=4)
    assert len(sampled(study)) == 4
    assert [trial.number for trial in study.trials()] == [0, 1, 2, 3]
    assert study.is_finished()
    assert len(finished_results(study.spec, study.trials(), {})) == 4
    (plain,) = optuna.get_all_study_summaries(open_storage(tmp_path, None))
    assert plain.n_trials == 4


def test_workers_read_older_trials_from_the_study_and_a_launch_replaces_them(tmp_path: Path) -> None:
    study = study_with(tmp_path, OLDER)
    worker = SharedStudy(tmp_path, study.spec)
    trials = worker._queue._older_trials
    assert [trial.number for trial in trials] == list(range(-50, 0))
    assert sorted(trial.params["x"] for trial in trials)[:2] == [0.0, 0.025]
    study.warm_start(OLDER[:3])
    assert len(SharedStudy(tmp_path, study.spec)._queue._older_trials) == 3


def older_folder(folder: Path, values: list[float], **changes: Any) -> Path:
    study = create_study(folder, **{"space": SPACE, "n_trials": 20, **changes})
    for value in values:
        assert complete(study, claimed(study), value)
    write_results(folder, finished_results(study.spec, study.trials(), {}))
    return folder


def test_trials_fit_where_they_could_have_been_sampled_from_the_space_of_now(tmp_path: Path) -> None:
    folder = older_folder(tmp_path / "old", [0.1 * n for n in range(8)])
    old = create_study(folder, space=SPACE, n_trials=20).trials()
    assert {len(trial.params) for trial in old} == {2, 3}

    def fitting(**changes: Any) -> set[float]:
        spec = study_spec(space={**SPACE, **changes}, warm_start=[str(folder)])
        (found,) = read_older_sweeps(spec, tmp_path / "new")
        assert found.completed == 8
        assert str(found).startswith(
            f"warm start: {len(found.fitting)} of 8 completed trials in {folder} fit the space"
        )
        return {trial.values[0] for trial in found.fitting}

    assert len(fitting()) == 8
    half = {"low": 0.0, "high": 0.5, "type": "float"}
    assert fitting(x=half) == {trial.values[0] for trial in old if trial.params["x"] <= 0.5}
    assert fitting(kind={"choices": ["b", "c"]}) == {t.values[0] for t in old if t.params["kind"] == "b"}
    assert fitting(more={"choices": [1, 2]}) == set()
    only_a = {"low": 1, "high": 4, "type": "int", "when": {"kind": ["a"]}}
    assert fitting(depth=only_a) == set()


@pytest.mark.parametrize(
    ("folder", "changes", "says"),
    [
        ("nowhere", {}, r"^warm_start\[0\]: must be the run folder of a sweep"),
        (
            "old",
            {"objective": {"metric": "val/loss", "direction": "minimize"}},
            "minimize val/loss; .* maximize val/acc",
        ),
        ("old", {"objective": {"metric": "val/acc", "direction": "minimize"}}, "minimize val/acc; .* maximize val/acc"),
        ("new", {}, r"^warm_start\[0\]: must be the run folder of another sweep; got "),
    ],
)
def test_folders_that_cannot_be_learned_from_are_refused(
    tmp_path: Path, folder: str, changes: dict[str, Any], says: str
) -> None:
    older_folder(tmp_path / "old", [0.5])
    spec = study_spec(space=SPACE, warm_start=[str(tmp_path / folder)], **changes)
    with pytest.raises(ConfigError, match=says):
        read_older_sweeps(spec, tmp_path / "new")


@pytest.mark.parametrize("sampler", ["GridSampler", "BruteForceSampler"])
def test_samplers_that_go_through_all_points_have_nothing_to_learn(sampler: str) -> None:
    space = {"kind": {"choices": ["a", "b"]}}
    with pytest.raises(ConfigError, match=f"^warm_start: does not go with {sampler}"):
        dry_run_sampler(study_spec(space=space, sampler=sampler, warm_start=["old"]))
