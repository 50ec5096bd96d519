"""Samplers in a shared study: enumeration, sampling in parallel or in turn, and lost trials."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from studies import claimed, complete, create_study, study_spec

from sweeps.spec.spec import SweepSpec
from sweeps.study.deferred_suggest import DeferredSuggestion
from sweeps.study.records import TrialClaim
from sweeps.study.sampling import build_sampler
from sweeps.study.study import SharedStudy


@pytest.mark.parametrize("sampler", ["GridSampler", "BruteForceSampler"])
def test_a_sampler_that_has_tried_everything_ends_the_study(tmp_path: Path, sampler: str) -> None:
    space = {
        "model.network.depth": {"low": 1, "high": 2, "type": "int"},
        "model.network.bias": {"choices": [True, False]},
    }
    study = create_study(tmp_path, space=space, sampler=sampler, n_trials=10)
    assert study.attributes.total == 4
    seen = set()
    while claim := study.claim(0):
        seen.add(tuple(sorted(claim.values.items())))
        assert complete(study, claim)
    assert len(seen) == 4
    assert study.is_finished()


GRID = {"model.network.width": {"low": 4, "high": 16, "step": 6, "type": "int"}}


@pytest.mark.parametrize("more", [{"seeds": 2, "n_trials": 6}, {"runs": {"one": {}}, "n_trials": 4}])
def test_a_grid_is_gone_through_beside_trials_that_are_none_of_its_points(tmp_path: Path, more: dict[str, Any]) -> None:
    study = create_study(tmp_path, space=GRID, sampler="GridSampler", **more)
    running: list[TrialClaim] = []
    while claim := study.claim(0):
        running.append(claim)
        if len(running) > 1:  # so that the last point but one ends while others run
            assert complete(study, running.pop(0))
    assert complete(study, running.pop(0))
    assert study.is_finished()
    assert {trial.params.get("model.network.width") for trial in study.trials()} >= {4, 10, 16}


@pytest.mark.parametrize(
    ("name", "in_turn"),
    [("GridSampler", True), ("BruteForceSampler", True), ("GPSampler", True), ("TPESampler", False), ("", False)],
)
def test_samplers_that_would_give_two_workers_the_same_draw_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, in_turn: bool
) -> None:
    spec = study_spec(space=GRID, **({"sampler": name} if name else {}))
    study, others_could_claim = create_study(tmp_path, spec), []

    class Draw(DeferredSuggestion):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            with study._handle._lock_path.open("w") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    others_could_claim.append(True)
                except BlockingIOError:
                    others_could_claim.append(False)

    monkeypatch.setattr("sweeps.study.trial_queue.DeferredSuggestion", Draw)
    assert study.claim(0) is not None
    assert others_could_claim == [not in_turn]


@pytest.mark.parametrize("sampler", ["RandomSampler", "TPESampler", "CmaEsSampler"])
def test_a_trial_that_another_ended_while_its_values_were_drawn_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    given = {"class_path": sampler, "init_args": {} if sampler == "RandomSampler" else {"n_startup_trials": 1}}
    spec = study_spec(sampler=given, n_trials=5)
    late, other = create_study(tmp_path, spec), SharedStudy(tmp_path, spec)
    for value in (0.1, 0.2, 0.3):
        assert complete(late, claimed(late), value)

    def build_slowly(spec: SweepSpec, number: int) -> Any:
        monkeypatch.undo()
        (running,) = other.trials([TrialState.RUNNING])
        other._handle.storage.set_trial_state_values(running._trial_id, TrialState.WAITING)  # its lease is over
        assert complete(other, claimed(other))
        return build_sampler(spec, number)

    monkeypatch.setattr("sweeps.study.deferred_suggest.build_sampler", build_slowly)
    assert late.claim(0) is None
    claim = claimed(late)
    assert (claim.number, claim.attempt) == (4, 1)
