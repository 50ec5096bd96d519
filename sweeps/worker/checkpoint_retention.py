"""Which checkpoints stay on disk: losers' go as soon as they are known to be."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from optuna.trial import FrozenTrial, TrialState

from sweeps.results import ranking, rows_of, trial_dir
from sweeps.spec.spec import SweepSpec
from sweeps.study.configurations import config_id_of


class CheckpointRetention:
    """Keeps the checkpoints that `keep` of the spec says, in one run folder.

    Those of trials that run, or wait to go on, always stay; so do the best configuration's until it has been evaluated
    on the test set.

    Args:
        spec: The spec.
        run_dir: The run folder; checkpoints elsewhere are for the workers there.
    """

    def __init__(self, spec: SweepSpec, run_dir: Path) -> None:
        self.spec, self.run_dir = spec, run_dir
        self._gone: set[int] = set()

    def apply(self, trials: Iterable[FrozenTrial], is_over: bool = False) -> None:
        """Removes the checkpoints of trials that have ended and are not among the best.

        Args:
            trials: All trials.
            is_over: Nothing will be evaluated any more.
        """
        if self.spec.keep == "all":
            return
        trials = list(trials)
        kept = self._kept(trials, is_over)
        for trial in trials:
            if trial.state.is_finished() and trial.number not in kept and trial.number not in self._gone:
                shutil.rmtree(trial_dir(self.run_dir, trial.number) / "checkpoints", ignore_errors=True)
                self._gone.add(trial.number)

    def _kept(self, trials: list[FrozenTrial], is_over: bool) -> set[int]:
        evaluates = self.spec.evaluate_test == "best" and not is_over
        count = int(evaluates) if self.spec.keep == "none" else int(self.spec.keep.removeprefix("best_"))
        if not count:
            return set()
        values: dict[str, dict[int, float]] = defaultdict(dict)
        for trial in trials:
            if trial.state == TrialState.COMPLETE:
                values[config_id_of(trial)][trial.number] = trial.values[0]
        sign = -1.0 if self.spec.objectives[0].direction == "maximize" else 1.0
        request = sorted(values, key=lambda name: _rank(values[name], sign))
        if len(self.spec.objectives) > 1:
            ranked = ranking(rows_of(self.spec, trials, {}), self.spec.objectives)
            request = [row["config_id"] for row in ranked]
        # One with seeds to come may be among the best yet.
        unfinished = {config_id_of(trial) for trial in trials if not trial.state.is_finished()}
        return {number for name in {*request[:count], *(unfinished & values.keys())} for number in values[name]}


def _rank(runs: dict[int, float], sign: float) -> tuple[int, float, int]:
    """As `ranking` has it: by the mean; of equals, the one whose best run is the first."""
    return -len(runs), sign * fmean(runs.values()), min(runs, key=lambda number: (sign * runs[number], number))
