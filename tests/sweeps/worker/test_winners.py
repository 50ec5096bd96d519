"""What a worker does at the end of a sweep with several winners, and of one that stops by itself."""

from __future__ import annotations

from pathlib import Path

from worker_sweeps import join, launched, sweep

from sweeps.results.ranking import ranking, winners
from sweeps.results.trial_result import finished_results


def test_all_on_the_pareto_front_are_evaluated_on_the_test_set(tmp_path: Path) -> None:
    against = {"metric": "train/acc", "direction": "minimize"}  # so that a trial that is worse is on the front, too
    objective = [{"metric": "val/loss", "direction": "minimize"}, against]
    study, rows = sweep(tmp_path, n_trials=4, objective=objective)
    results = finished_results(study.spec, study.trials(), {})
    front = {entry.best_trial.number for entry in winners(ranking(results, study.spec.objectives))}
    assert len(front) > 1, [result.best for result in results]
    assert {row["number"] for row in rows if "best.test/acc" in row} == front


def test_a_worker_ends_when_the_sweep_stops_by_itself(tmp_path: Path) -> None:
    study = launched(tmp_path, n_trials=4, stop={"value": 0.0})
    join(tmp_path / "run", "disabled")
    assert len(study.trials()) == 1
    assert set(study.attributes.evaluations()) == {0}
    assert study.is_over()
