"""User constraints: how a value becomes a constraint of Optuna, and what samplers, stop rules and files make of it."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from studies import claimed, create_study, study_spec

from lit_dl.errors import ConfigError
from sweeps.cli import main
from sweeps.results.files import write_results
from sweeps.results.older_trials import read_older_sweeps
from sweeps.results.trial_result import finished_results
from sweeps.spec.constraint import Constraint, constraint_values, violations
from sweeps.spec.parse_spec import load_spec
from sweeps.spec.spec import check_continues
from sweeps.status import Progress
from sweeps.study.records import TrialClaim, now, read_outcome, write_outcome
from sweeps.study.rehearsal import dry_run_sampler
from sweeps.study.sampler_notes import sampler_notes
from sweeps.study.study import SharedStudy
from sweeps.worker.run_trial import _trial_outcome

SPACE = {"x": {"low": 0.0, "high": 1.0, "type": "float"}, "y": {"low": 0.0, "high": 1.0, "type": "float"}}
LATENCY = {"latency_ms": {"high": 0.5}}


def row(value: float, latency_ms: float | None = None, outcome: str = "completed", **more: Any) -> dict[str, Any]:
    """The row of results of a trial, as a worker makes it."""
    metrics = {"metrics.val/acc": value, **({} if latency_ms is None else {"metrics.latency_ms": latency_ms})}
    return {"outcome": outcome, "reason": "max_epochs", "finished": now(), "attempt": 1, **metrics, **more}


def end(study: SharedStudy, claim: TrialClaim, **figures: Any) -> None:
    """Finishes a trial as a worker does."""
    assert study.finish(claim, _trial_outcome(study.spec, row(**figures)))


def test_violations_are_shares_of_the_bound_and_feasible_values_are_below_zero() -> None:
    constraints = {"m": Constraint(low=1.0, high=4.0), "parameters": Constraint(high=100), "z": Constraint(low=0.0)}
    given = {"metrics.m": 5.0, "parameters": 50, "metrics.z": -2.0}
    assert constraint_values(constraints, given) == {
        "m.low": -4.0,
        "m.high": 0.25,
        "parameters.high": -0.5,
        "z.low": 2.0,
    }
    assert violations(constraints, given) == {"m 5 is above 4": 0.25, "z -2 is below 0": 2.0}
    assert violations(constraints, {"metrics.m": 1.0, "parameters": 100, "metrics.z": 0.0}) == {}


def test_a_missing_value_meets_no_bound() -> None:
    constraints = {"m": Constraint(high=4.0)}
    assert constraint_values(constraints, {}) == {"m.high": 1.0}
    assert constraint_values(constraints, {}, only_known=True) == {}
    assert violations(constraints, {}) == {"m is missing": 1.0}


def test_a_spec_with_constraints_reads_back_and_they_must_stay(tmp_path: Path) -> None:
    spec = study_spec(constraints={"m": {"low": 1, "high": 5}, "parameters": {"high": 1e6}})
    (tmp_path / "spec.yaml").write_text(spec.dump())
    assert load_spec(tmp_path / "spec.yaml").constraints == spec.constraints
    assert spec.constraints["m"] == Constraint(1.0, 5.0)
    with pytest.raises(ConfigError, match=r"constraints: must stay .*m.high: 6.0 is not 5.0"):
        check_continues(spec, study_spec(constraints={"m": {"low": 1, "high": 6}, "parameters": {"high": 1e6}}))


def test_a_violation_reaches_optuna_and_the_results(tmp_path: Path) -> None:
    study = create_study(tmp_path, constraints=LATENCY)
    end(study, claimed(study), value=0.9, latency_ms=1.0)
    end(study, claimed(study), value=0.5, latency_ms=0.25)
    end(study, claimed(study), value=0.5, outcome="pruned", latency_ms=1.0)
    end(study, claimed(study), value=0.5, outcome="diverged", latency_ms=1.0)
    found = [trial.constraints for trial in study.trials()]
    assert found == [{"latency_ms.high": 1.0}, {"latency_ms.high": -0.5}, {"latency_ms.high": 1.0}, {"diverged": 1.0}]
    results = finished_results(study.spec, study.trials(), {})
    assert [result.infeasible for result in results] == ["latency_ms 1 is above 0.5", "", "", ""]
    assert study._handle.study.best_trial.number == 1


SAMPLERS = ["TPESampler", "GPSampler", "NSGAIISampler"]


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.filterwarnings("ignore")
def test_samplers_avoid_what_violates(tmp_path: Path, name: str) -> None:
    """The best value is at x=1, but from x=0.5 on the constraint is violated."""
    init_args = {"population_size": 8} if name == "NSGAIISampler" else {"n_startup_trials": 8}
    n_trials = 18 if name == "GPSampler" else 32  # it fits its model anew for every trial
    sampler = {"class_path": name, "init_args": {"seed": 1, **init_args}}
    means = []
    for constraints in (LATENCY, {}):
        folder = tmp_path / str(len(means))
        study = create_study(folder, space=SPACE, sampler=sampler, n_trials=n_trials, constraints=constraints)
        dry_run_sampler(study.spec)
        values = []
        while claim := study.claim(0):
            values.append(claim.values["x"])
            end(study, claim, value=values[-1], latency_ms=values[-1])
        means.append(fmean(values[n_trials // 2 :]))
    assert means[0] < 0.6 < means[1]


def test_older_trials_bring_their_constraints(tmp_path: Path) -> None:
    older = create_study(tmp_path / "older", space=SPACE)
    for latency_ms in (0.2, 1.0, None):
        end(older, claimed(older), value=0.5, latency_ms=latency_ms)
    write_results(tmp_path / "older", finished_results(older.spec, older.trials(), {}))
    study = create_study(tmp_path / "new", space=SPACE, constraints=LATENCY, warm_start=str(tmp_path / "older"))
    (found,) = read_older_sweeps(study.spec, tmp_path / "new")
    study.warm_start(found.fitting)
    values = [trial.constraints["latency_ms.high"] for trial in study._queue._older_trials]
    assert sorted(values) == [-0.6, 1.0, 1.0]


def test_a_stop_rule_counts_feasible_trials_only(tmp_path: Path) -> None:
    study = create_study(tmp_path, constraints=LATENCY, stop={"value": 0.9}, n_trials=5)
    end(study, claimed(study), value=0.95, latency_ms=1.0)
    study.stopping.decide()
    assert study.stopping.reason() is None
    end(study, claimed(study), value=0.92, latency_ms=0.1)
    study.stopping.decide()
    assert "trial 1" in str(study.stopping.reason())


def test_a_terminator_sees_feasible_trials_only(tmp_path: Path) -> None:
    stagnation = {"class_path": "BestValueStagnationEvaluator", "init_args": {"max_stagnation_trials": 2}}
    init_args = {"min_n_trials": 3, "improvement_evaluator": stagnation}
    rule = {"terminator": {"class_path": "Terminator", "init_args": init_args}}
    study = create_study(tmp_path, constraints=LATENCY, stop=rule, n_trials=9)
    for value, latency_ms in ((0.1, 0.1), (0.9, 1.0), (0.9, 1.0), (0.9, 1.0), (0.2, 0.1)):
        end(study, claimed(study), value=value, latency_ms=latency_ms)
        study.stopping.decide()
    assert study.stopping.reason() is None  # the best of the feasible ones has just improved


def test_status_and_best_say_that_no_trial_is_feasible(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = create_study(tmp_path, constraints=LATENCY, n_trials=3)
    about = {"storage": "journal", "wandb": "disabled", "workers": 1, "engine": "local"}
    progress = Progress(study.spec, study, tmp_path, about)
    end(study, claimed(study), value=0.9, latency_ms=1.0)
    end(study, claimed(study), value=0.7, latency_ms=0.75)
    status = progress.publish("finished")
    text = "no completed trial meets the constraints; the nearest is trial 1: latency_ms 0.75 is above 0.5"
    assert (status["best"], status["none_feasible"], status["infeasible"]) == (None, text, 2)
    assert run("best", tmp_path) == 2
    assert capsys.readouterr().err == f"{tmp_path}: {text}\n"
    assert run("status", tmp_path) == 0
    shown = capsys.readouterr().out
    assert text in shown
    assert "2 completed (2 infeasible)" in shown
    end(study, claimed(study), value=0.1, latency_ms=0.1)
    progress.publish("finished")
    assert run("best", tmp_path, "--json") == 0
    assert json.loads(capsys.readouterr().out)["number"] == 2


def run(*words: Any) -> Any:
    """Exit status of a command."""
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    return caught.value.code


def test_an_outcome_of_an_older_version_is_read(tmp_path: Path) -> None:
    study = create_study(tmp_path, constraints=LATENCY)
    outcome = _trial_outcome(study.spec, row(0.5, outcome="diverged"))
    write_outcome(tmp_path, "uid", outcome)
    assert read_outcome(tmp_path, "uid") == outcome
    written = json.loads((tmp_path / "result.json").read_text())
    assert written.pop("constraints") == {"diverged": 1.0}
    (tmp_path / "result.json").write_text(json.dumps({**written, "constraint": "diverged"}))
    assert read_outcome(tmp_path, "uid") == outcome
    assert outcome.state == TrialState.PRUNED


@pytest.mark.parametrize(
    ("sampler", "changes", "says"),
    [
        ("TPESampler", {"constraints": LATENCY, "warm_start": "older"}, []),
        ("GPSampler", {"constraints": LATENCY}, []),
        ("RandomSampler", {"constraints": LATENCY}, ["constraints: RandomSampler does not avoid"]),
        (
            "CmaEsSampler",
            {"constraints": LATENCY, "warm_start": "older"},
            ["warm start: CmaEsSampler", "constraints: "],
        ),
        (
            "NSGAIISampler",
            {"constraints": LATENCY, "warm_start": "older"},
            ["warm start: NSGAIISampler breeds from its own"],
        ),
        ("RandomSampler", {"warm_start": "older"}, ["warm start: RandomSampler learns from no trial"]),
        ("CmaEsSampler", {}, []),
    ],
)
def test_a_launch_says_what_the_sampler_does_not_do(sampler: str, changes: dict[str, Any], says: list[str]) -> None:
    notes = sampler_notes(study_spec(sampler=sampler, **changes))
    assert len(notes) == len(says)
    assert all(note.startswith(start) for note, start in zip(notes, says, strict=True))


def test_optuna_and_we_agree_on_what_is_feasible(tmp_path: Path) -> None:
    objectives = [{"metric": "val/acc", "direction": "maximize"}, {"metric": "size", "direction": "minimize"}]
    study = create_study(tmp_path, objective=objectives, constraints=LATENCY)
    for value, size, latency_ms in ((0.9, 1.0, 1.0), (0.8, 2.0, 0.1), (0.7, 1.5, 0.5), (0.6, 3.0, 0.1)):
        end(study, claimed(study), value=value, latency_ms=latency_ms, **{"metrics.size": size})
    progress = Progress(study.spec, study, tmp_path, {})
    ours = [entry["number"] for entry in progress.publish("finished")["front"]]
    front = optuna.load_study(study_name="tiny", storage=study._handle.storage).best_trials
    assert sorted(ours) == sorted(trial.number for trial in front) == [1, 2]
