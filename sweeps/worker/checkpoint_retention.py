"""Checkpoint retention: deletes the checkpoints of trials that are not among the best, while the sweep runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from sweeps.results.ranking import ranking, winners
from sweeps.results.trial_result import TrialResult
from sweeps.spec.constraint import violations
from sweeps.spec.spec import SweepSpec
from sweeps.study.configurations import config_id_of, extended_number, newest_trials
from sweeps.trial_folder import TrialFolder


class CheckpointRetention:
    """Deletes checkpoints in one run folder, as `keep` of the spec demands.

    Checkpoints of trials that run, that wait to continue, or from which an extension goes on, always stay. Those of the
    best configuration stay until it has been evaluated on the test set. "Best" is by `sweeps.results.ranking.ranking`,
    the order that reports show.

    Args:
        spec: The spec.
        run_dir: The run folder; checkpoints elsewhere are for the workers there.
    """

    def __init__(self, spec: SweepSpec, run_dir: Path) -> None:
        self.spec, self.run_dir = spec, run_dir
        self._gone: set[int] = set()

    def apply(self, trials: Iterable[FrozenTrial], is_over: bool = False) -> None:
        """Deletes the checkpoints of finished trials that are not among the best.

        Args:
            trials: All trials.
            is_over: Whether the test set needs no checkpoint any more.
        """
        if self.spec.keep == "all":
            return
        trials = list(trials)
        kept = self._kept(trials, is_over) | _to_be_extended(trials)
        for trial in trials:
            if trial.state.is_finished() and trial.number not in kept and trial.number not in self._gone:
                shutil.rmtree(TrialFolder(self.run_dir, trial.number).checkpoints, ignore_errors=True)
                self._gone.add(trial.number)

    def _kept(self, trials: list[FrozenTrial], is_over: bool) -> set[int]:
        evaluates = self.spec.evaluate_test == "best" and not is_over
        count = 0 if self.spec.keep == "none" else int(self.spec.keep.removeprefix("best_"))
        if not count and not evaluates:
            return set()
        ranked = ranking(_results_to_rank(self.spec, trials), self.spec.objectives)
        # A configuration with seeds still to come may be among the best yet.
        unfinished = {config_id_of(trial) for trial in trials if not trial.state.is_finished()}
        evaluated = winners(ranked) if evaluates else []
        best = {entry.config_id for entry in [*ranked[:count], *evaluated]} | unfinished
        return {number for entry in ranked if entry.config_id in best for number in entry.numbers}


def _to_be_extended(trials: list[FrozenTrial]) -> set[int | None]:
    """Returns the trials from whose checkpoints others are to go on."""
    return {extended_number(trial) for trial in trials if not trial.state.is_finished()}


def _results_to_rank(spec: SweepSpec, trials: list[FrozenTrial]) -> list[TrialResult]:
    """Returns what `ranking` needs of each completed trial. This runs after every trial, so it does not read more."""
    names = [objective.metric for objective in spec.objectives]
    violated = {
        trial.number: violations(spec.constraints, trial.user_attrs.get("result", {}))
        for trial in (trials if spec.constraints else [])
    }
    return [
        TrialResult(
            number=trial.number,
            state=trial.state.name,
            outcome="completed",
            config_id=config_id_of(trial),
            value=trial.values[0],
            best=dict(zip(names, trial.values, strict=True)),
            infeasible=", ".join(violated.get(trial.number, {})),
            violation=sum(violated.get(trial.number, {}).values()),
        )
        for trial in newest_trials(trials)
        if trial.state == TrialState.COMPLETE
    ]
