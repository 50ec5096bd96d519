"""Extensions in the study: queued whole, counted once, seen once by samplers, and run whatever stops the sweep."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.trial import TrialState
from studies import claim_and_die, claimed, complete, create_study, study_spec

from sweeps.results.ranking import ranking
from sweeps.results.trial_result import TrialResult, finished_results
from sweeps.study.extensions import ExtensionPlan
from sweeps.study.records import TrialClaim, TrialOutcome, now
from sweeps.study.sampler_view import seen_by_sampler
from sweeps.study.study import SharedStudy


def finish(study: SharedStudy, *values: float) -> list[TrialClaim]:
    """Runs trials as a worker does."""
    claims = []
    for value in values:
        claims.append(claimed(study))
        assert complete(study, claims[-1], value)
        study.stopping.decide()
    return claims


def extend(study: SharedStudy, max_epochs: dict[int, int], number: int = 1) -> None:
    study.extensions.start(ExtensionPlan(number, {"epochs": "+3", "best": None}, max_epochs))


def results(study: SharedStudy) -> list[TrialResult]:
    return finished_results(study.spec, study.trials(), {})


def ranked(study: SharedStudy) -> list[int]:
    return [entry.best_trial.number for entry in ranking(results(study), study.spec.objectives)]


def test_an_extension_is_a_trial_with_the_values_of_another_and_stands_in_its_place(tmp_path: Path) -> None:
    study = create_study(tmp_path, n_trials=3)
    old, *_ = finish(study, 0.5, 0.6, 0.7)
    extend(study, {0: 6})
    assert not study.is_finished()
    assert ranked(study) == [2, 1, 0]  # as long as it has not completed
    claim = claimed(study)
    assert (claim.number, claim.extends, claim.max_epochs, claim.config_id) == (3, 0, 6, "0")
    assert claim.values == old.values
    assert complete(study, claim, 0.9)
    assert study.is_finished()
    assert study.claim(0) is None
    assert ranked(study) == [3, 2, 1]
    first, *_, last = results(study)
    assert (first.outcome, first.reason) == ("extended", "trial 3 goes on from it to epoch 6")
    assert (first.is_completed, first.value, last.extends) == (False, 0.5, 0)


def test_the_total_is_exact_whenever_trials_are_extended(tmp_path: Path) -> None:
    finish(create_study(tmp_path, n_trials=4), 0.1, 0.2)
    study = create_study(tmp_path, n_trials=4)
    extend(study, {0: 6, 1: 6})
    claims = finish(study, 0.3, 0.4, 0.5, 0.6)
    assert [claim.extends for claim in claims] == [0, 1, None, None]  # an extension waits, a new trial does not
    assert study.claim(0) is None
    assert study.is_finished()
    assert len({claim.config_id for claim in claims}) == 4


def test_all_seeds_of_a_configuration_are_extended_as_one(tmp_path: Path) -> None:
    study = create_study(tmp_path, n_trials=4, seeds=2)
    finish(study, 0.1, 0.2, 0.3, 0.4)
    extend(study, {2: 6, 3: 6})
    claims = finish(study, 0.5, 0.7)
    assert [(claim.config_id, claim.seed_number) for claim in claims] == [("2", 0), ("2", 1)]
    assert study.claim(0) is None
    best, other = ranking(results(study), study.spec.objectives)
    assert (best.numbers, best.mean) == ([4, 5], pytest.approx(0.6))
    assert other.numbers == [0, 1]


def test_named_runs_are_extended_under_their_names(tmp_path: Path) -> None:
    study = create_study(tmp_path, runs={"wide": {"model.network.width": 16}}, n_trials=1)
    finish(study, 0.1)
    extend(study, {0: 6})
    (claim,) = finish(study, 0.2)
    assert (claim.run, claim.config_id, claim.values) == ("wide", "wide", {"model.network.width": 16})
    assert study.is_finished()
    again = create_study(tmp_path, runs={"wide": {"model.network.width": 16}}, n_trials=1)
    assert [trial.number for trial in again.trials()] == [0, 1]


def test_a_launch_that_dies_halfway_through_queueing_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = create_study(tmp_path, n_trials=3)
    finish(study, 0.5, 0.6, 0.7)
    enqueue, queued = study._handle.study.enqueue_trial, []

    def dies(*args: object, **options: object) -> None:
        if queued:
            raise KeyboardInterrupt
        queued.append(enqueue(*args, **options))  # type: ignore[arg-type, func-returns-value]

    monkeypatch.setattr(study._handle.study, "enqueue_trial", dies)
    with pytest.raises(KeyboardInterrupt):
        extend(study, {0: 6, 1: 6, 2: 6})
    assert len(study.trials()) == 4
    for _ in range(2):
        again = create_study(tmp_path, n_trials=3)
        assert [trial.user_attrs["extends"] for trial in again.trials()[3:]] == [0, 1, 2]


def test_the_extension_of_a_worker_that_dies_runs_again_under_its_number(tmp_path: Path) -> None:
    study = create_study(tmp_path, n_trials=1)
    finish(study, 0.5)
    extend(study, {0: 6})
    assert claim_and_die(tmp_path) == 1
    assert study.reclaim() == [1]
    (claim,) = finish(study, 0.6)
    assert (claim.number, claim.attempt, claim.extends) == (1, 2, 0)
    assert len(study.trials()) == 2


def test_an_extension_may_be_extended(tmp_path: Path) -> None:
    study = create_study(tmp_path, n_trials=2)
    finish(study, 0.5, 0.6)
    extend(study, {0: 6})
    finish(study, 0.7)
    extend(study, {2: 9}, number=2)
    (claim,) = finish(study, 0.8)
    assert (claim.number, claim.extends, claim.config_id) == (3, 2, "0")
    assert ranked(study) == [3, 1]
    assert [result.outcome for result in results(study)] == ["extended", "completed", "extended", "completed"]
    assert study.is_finished()


def test_one_that_ends_in_another_way_leaves_the_other_in_its_place_and_can_be_repeated(tmp_path: Path) -> None:
    study = create_study(tmp_path, n_trials=1)
    finish(study, 0.5)
    extend(study, {0: 6})
    row = {"outcome": "diverged", "finished": now(), "attempt": 1}
    assert study.finish(claimed(study), TrialOutcome(TrialState.PRUNED, None, {"diverged": 1.0}, row))
    assert ranked(study) == [0]
    study.extensions.end()
    extend(study, {0: 6}, number=2)
    finish(study, 0.6)
    assert ranked(study) == [2]


def test_a_plan_is_over_when_its_trials_have_ended_and_not_before(tmp_path: Path) -> None:
    study = create_study(tmp_path, n_trials=1)
    assert study.extensions.plan() is None
    finish(study, 0.5)
    extend(study, {0: 6})
    study.extensions.end()
    plan = study.extensions.plan()
    assert plan == ExtensionPlan(1, {"epochs": "+3", "best": None}, {0: 6})
    finish(study, 0.6)
    study.extensions.end()
    plan = study.extensions.plan()
    assert plan is not None
    assert plan.is_over


# What decides about trials


def test_a_sweep_that_stopped_by_its_rule_extends_trials_and_begins_no_other(tmp_path: Path) -> None:
    study = create_study(tmp_path, n_trials=9, stop={"value": 0.6})
    finish(study, 0.5, 0.6)
    assert study.claim(0) is None
    extend(study, {0: 6, 1: 6})
    assert not study.is_over()
    assert [claim.extends for claim in finish(study, 0.7, 0.8)] == [0, 1]
    assert study.claim(0) is None
    assert study.is_finished()


def test_the_value_that_stops_a_sweep_may_be_that_of_an_extension(tmp_path: Path) -> None:
    study = create_study(tmp_path, n_trials=4, seeds=2, stop={"value": 0.6})
    finish(study, 0.9, 0.1)  # the mean is below
    assert study.stopping.reason() is None
    extend(study, {1: 6})
    finish(study, 0.2)
    assert study.stopping.reason() is None  # of two trials, the longer one counts
    extend(study, {2: 9}, number=2)
    finish(study, 0.5)
    assert study.stopping.reason() == "val/acc has reached 0.6 (the mean of trials 0, 3: 0.7)"


def test_no_pruner_stops_an_extension(tmp_path: Path) -> None:
    pruner = {"class_path": "ThresholdPruner", "init_args": {"lower": 0.5}}
    study = create_study(tmp_path, n_trials=1, pruner=pruner)
    claim = claimed(study)
    assert study.report(claim, 1, 0.1) == "pruned"
    assert complete(study, claim)
    extend(study, {0: 6})
    claim = claimed(study)
    assert study.report(claim, 4, 0.1) is None
    assert study.trials()[1].intermediate_values == {4: 0.1}


def test_samplers_see_a_trial_and_its_extensions_once_with_the_newest_value(tmp_path: Path) -> None:
    study = create_study(tmp_path, n_trials=3)
    finish(study, 0.1, 0.2)
    optuna_study = study._handle.study
    assert seen_by_sampler(optuna_study) is optuna_study
    extend(study, {0: 6})
    finish(study, 0.3)
    extend(study, {2: 9}, number=2)
    running = claimed(study)
    assert [trial.values for trial in seen_by_sampler(optuna_study).trials] == [[0.3], [0.2]]
    assert complete(study, running, 0.4)
    assert [trial.values for trial in seen_by_sampler(optuna_study).trials] == [[0.4], [0.2]]
    assert [trial.values for trial in optuna_study.trials] == [[0.1], [0.2], [0.3], [0.4]]


@pytest.mark.parametrize("sampler", ["GridSampler", "BruteForceSampler", "TPESampler", "QMCSampler", "CmaEsSampler"])
def test_no_point_is_visited_again_when_trials_are_extended_between(tmp_path: Path, sampler: str) -> None:
    space = {"model.network.width": {"low": 1, "high": 3, "type": "int"}, "model.x": {"choices": ["a", "b"]}}
    numbers = {"model.x": {"low": 0.0, "high": 1.0, "type": "float"}, "model.y": {"low": 0.0, "high": 1.0}}
    is_listing = sampler in ("GridSampler", "BruteForceSampler")
    spec = study_spec(n_trials=6, space=space if is_listing else numbers, sampler=sampler)
    study = create_study(tmp_path, spec)
    finish(study, 0.1, 0.2, 0.3)
    extend(study, {0: 6, 2: 6})
    claims = finish(study, *(0.4 + 0.1 * number for number in range(5)))
    assert [claim.extends for claim in claims] == [0, 2, None, None, None]
    assert study.is_finished()
    new = [tuple(trial.params.values()) for trial in study.trials() if "extends" not in trial.user_attrs]
    assert len(set(new)) == 6
