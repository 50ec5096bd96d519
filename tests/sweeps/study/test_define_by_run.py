"""A space that a function defines: what is sampled, recorded, repeated and requeued."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import define_by_run
import optuna
import pytest
from optuna.trial import TrialState
from studies import claim_and_die, claimed, complete, create_study, study_spec

from lit_dl.errors import ConfigError
from sweeps.results.files import write_results
from sweeps.results.older_trials import read_older_sweeps
from sweeps.results.trial_result import finished_results
from sweeps.spec.define_by_run import FunctionSpace
from sweeps.spec.explore_function import explored
from sweeps.spec.parse_spec import load_spec
from sweeps.spec.spec import SweepSpec, check_continues
from sweeps.study.rehearsal import dry_run_sampler
from sweeps.study.sampling import grid_size
from sweeps.study.study import SharedStudy
from sweeps.trial_folder import TrialFolder


def spec_by(function: str, **changes: Any) -> SweepSpec:
    """A spec with the space of a function, as the check before trial 0 returns it."""
    spec = study_spec(space={"function": f"define_by_run.{function}"}, **changes)
    assert isinstance(spec.space, FunctionSpace)
    return replace(spec, space=explored(spec.space, spec.n_trials))


def test_the_calls_before_trial_0_find_all_that_is_suggested(tmp_path: Path) -> None:
    spec = spec_by("layers")
    found = {parameter.name: parameter.dump() for parameter in spec.space}
    assert found["depth"] == {"low": 1, "high": 3, "type": "int"}
    assert found["batch_size"] == {"choices": [16, 20]}
    assert found["lr_per_sample"] == {"low": 1e-5, "high": 1e-3, "log": True, "type": "float"}
    assert {name for name in found if name.startswith("width")} == {"width_0", "width_1", "width_2"}
    (tmp_path / "spec.yaml").write_text(spec.dump())
    assert load_spec(tmp_path / "spec.yaml").space.dump() == spec.space.dump()
    assert spec_by("growing").space.parameters["x"].dump() == {"low": 0, "high": 9, "type": "int"}


def test_each_choice_and_both_bounds_are_tried(tmp_path: Path) -> None:
    tried = dict(spec_by("conditional").space.branches())
    assert [*tried.values()][:4] == [{"model.b": 1}, {"model.d": 0.5}, {"model.b": 3}, {"model.d": 1.0}]
    assert [*tried][1] == "in what define_by_run.conditional returned with kind='c', d=0.5"


def test_what_the_function_returns_is_the_overlay_and_params_are_what_it_suggested(tmp_path: Path) -> None:
    study = create_study(tmp_path, spec_by("layers"))
    claim = claimed(study)
    (trial,) = study.trials()
    depth, batch_size = trial.params["depth"], trial.params["batch_size"]
    assert claim.values["model.network.width"] == [trial.params[f"width_{number}"] for number in range(depth)]
    assert claim.values["model.optimizer.lr"] == batch_size * trial.params["lr_per_sample"]
    assert study.spec.configuration(claim.values, None, 0)["data"]["batch_size"] == batch_size
    complete(study, claim)
    (result,) = finished_results(study.spec, study.trials(), {})
    assert result.params == trial.params
    assert trial.user_attrs["overlay"] == claim.values


def test_texts_of_enums_numbers_of_numpy_and_tuples_are_written_as_plain_ones() -> None:
    keys = spec_by("enums").space.first()
    assert repr(keys) == "{'model.act': 'tanh', 'model.size': [1, 2], 'model.y': 0.5}"


def test_a_requeued_trial_has_what_is_recorded_and_not_what_another_call_returns(tmp_path: Path) -> None:
    study = create_study(tmp_path, spec_by("moody"))
    claim = claimed(study)
    study.release(claim)
    again = claimed(study)
    assert (again.number, again.attempt, again.values) == (claim.number, 2, claim.values)
    other = claimed(study)
    assert other.values["model.step"] != claim.values["model.step"]


def test_a_trial_whose_claim_was_cut_short_keeps_what_was_suggested(tmp_path: Path) -> None:
    study = create_study(tmp_path, spec_by("moody"))
    with study._handle.lock():
        claim = study._queue.take(0)
        assert claim is not None
        suggestion = study._queue.suggest(claim)
        assert suggestion is not None
        suggestion.attrs = {}
        suggestion.write()
    again = claimed(study)  # the next claim of this process requeues it
    assert again.number == claim.number
    assert again.values["model.x"] == suggestion.params["x"]


def test_a_worker_that_dies_leaves_the_overlay_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    study = create_study(tmp_path, spec_by("moody"))
    assert claim_and_die(tmp_path) == 0
    (before,) = study.trials()
    assert study.reclaim() == [0]
    assert study.trials()[0].user_attrs["deaths"]["count"] == 1  # so the claim counts as complete
    assert claimed(study).values == before.user_attrs["overlay"]


def test_repeats_over_seeds_have_the_values_of_their_configuration(tmp_path: Path) -> None:
    study = create_study(tmp_path, spec_by("moody", seeds=2, n_trials=4))
    claims = [claimed(study) for _ in range(4)]
    assert [claim.config_id for claim in claims] == ["0", "0", "2", "2"]
    assert claims[0].values == claims[1].values != claims[2].values == claims[3].values
    trials = study.trials()
    assert trials[1].params == trials[0].params
    assert trials[1].distributions == trials[0].distributions


def test_an_enqueued_trial_is_suggested_its_values(tmp_path: Path) -> None:
    study = create_study(tmp_path, spec_by("layers"))
    study._handle.study.enqueue_trial({"depth": 2, "width_1": 5, "no_such": 3})
    study._handle.study.enqueue_trial({"batch_size": 17})
    assert claimed(study).values["model.network.width"][1] == 5
    assert study.claim(0) is None
    assert "batch_size" not in study.trials()[1].params
    assert "17" in study.trials()[1].user_attrs["result"]["reason"]


def test_an_error_in_a_later_trial_fails_that_trial_with_its_traceback(tmp_path: Path) -> None:
    study = create_study(tmp_path, replace(study_spec(space={"function": "define_by_run.late_error"}), n_trials=3))
    assert claimed(study).number == 0
    assert study.claim(0) is None
    trial = study.trials()[1]
    assert trial.state == TrialState.FAIL
    reason = trial.user_attrs["result"]["reason"]
    assert reason.startswith("space.function: define_by_run.late_error must return the keys of a trial; it raised Run")
    log = TrialFolder(tmp_path, 1).log.read_text()
    assert "Traceback" in log
    assert 'raise RuntimeError(f"no model for {x!r}")' in log
    assert claimed(study).number == 2


def test_choices_that_change_between_trials_fail_the_trial_and_not_the_worker(tmp_path: Path) -> None:
    study = create_study(tmp_path, study_spec(space={"function": "define_by_run.other_choices"}))
    assert claimed(study).number == 0
    assert study.claim(0) is None
    assert "do not go with those of other trials" in study.trials()[1].user_attrs["result"]["reason"]
    assert claimed(study).number == 2
    assert SharedStudy(tmp_path, study.spec).trials()[1].state == TrialState.FAIL


SAMPLERS = ["TPESampler", "RandomSampler", "QMCSampler", "CmaEsSampler", "NSGAIISampler", "GPSampler"]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.filterwarnings("ignore")
def test_samplers_of_optuna_take_it(tmp_path: Path, sampler: str) -> None:
    spec = spec_by("layers", sampler=sampler, n_trials=14)
    dry_run_sampler(spec)
    study = create_study(tmp_path, spec)
    for number in range(14):
        assert complete(study, claimed(study), number / 14)
    assert study.is_finished()


def test_tpe_groups_what_is_suggested_together(tmp_path: Path) -> None:
    study = create_study(tmp_path, spec_by("conditional", sampler="TPESampler"))
    claimed(study)
    sampler = study._handle.study.sampler
    assert isinstance(sampler, optuna.samplers.TPESampler)
    assert sampler._multivariate
    assert sampler._group


def test_brute_force_tries_all_that_is_suggested_once(tmp_path: Path) -> None:
    spec = spec_by("conditional", sampler="BruteForceSampler", n_trials=20)
    assert grid_size(spec) == 5
    study = create_study(tmp_path, spec)
    tried = []
    while claim := study.claim(0):
        tried.append(claim.values)
        complete(study, claim)
    assert sorted(map(str, tried)) == [
        "{'model.b': 1}",
        "{'model.b': 2}",
        "{'model.b': 3}",
        "{'model.d': 0.5}",
        "{'model.d': 1.0}",
    ]
    with pytest.raises(ConfigError, match=r"space\.x: must have a step"):
        grid_size(spec_by("moody", sampler="BruteForceSampler"))


def test_a_grid_is_refused_with_the_reason() -> None:
    with pytest.raises(
        ConfigError, match=r"^sampler: must not be GridSampler with space\.function, .* BruteForceSampler"
    ):
        grid_size(spec_by("conditional", sampler="GridSampler"))


def test_named_runs_need_no_function(tmp_path: Path) -> None:
    spec = spec_by("layers", runs={"small": {"model.network.width": 4, "depth": 2}}, n_trials=2)
    study = create_study(tmp_path, spec)
    claim = claimed(study)
    assert (claim.run, claim.values) == ("small", {})
    assert study.spec.configuration({}, "small", 0)["model"]["network"]["width"] == 4
    assert claimed(study).run is None


def test_a_sweep_goes_on_with_the_same_function_only() -> None:
    spec = spec_by("layers")
    check_continues(spec, study_spec(space={"function": "define_by_run.layers"}))
    with pytest.raises(ConfigError, match=r"space: .*function: 'define_by_run.moody' is not 'define_by_run.layers'"):
        check_continues(spec, spec_by("moody"))


def test_older_sweeps_warm_it_up(tmp_path: Path) -> None:
    older = create_study(tmp_path / "older", spec_by("layers"))
    for number in range(4):
        complete(older, claimed(older), number / 4)
    write_results(tmp_path / "older", finished_results(older.spec, older.trials(), {}))
    spec = replace(spec_by("layers"), warm_start=[str(tmp_path / "older")])
    (found,) = read_older_sweeps(spec, tmp_path / "new")
    assert (found.completed, len(found.fitting)) == (4, 4)
    study = create_study(tmp_path / "new", spec)
    study.warm_start(found.fitting)
    assert claimed(study).number == 0
    (other,) = read_older_sweeps(replace(spec_by("growing"), warm_start=spec.warm_start), tmp_path / "new")
    assert other.fitting == []


def test_one_call_of_the_function_makes_a_trial(tmp_path: Path) -> None:
    study = create_study(tmp_path, spec_by("moody"))
    before = next(define_by_run.calls)
    claimed(study)
    assert next(define_by_run.calls) == before + 2
