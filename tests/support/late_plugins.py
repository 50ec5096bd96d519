"""A sampler, a pruner and a terminator of somebody else that fail only after their start."""

from __future__ import annotations

from typing import Any

from optuna import Study
from optuna.pruners import BasePruner
from optuna.samplers import RandomSampler
from optuna.terminator import BaseTerminator
from optuna.trial import FrozenTrial


class LateSampler(RandomSampler):
    """Fails once it has `n_startup_trials` trials."""

    def __init__(self, n_startup_trials: int = 10, seed: int | None = None) -> None:
        super().__init__(seed)
        self.start = n_startup_trials

    def sample_independent(self, study: Study, trial: FrozenTrial, *about: Any) -> Any:
        if trial.number > self.start:
            raise RuntimeError("no model fits")
        return super().sample_independent(study, trial, *about)


class LatePruner(BasePruner):
    """Fails once it prunes."""

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        raise RuntimeError("no curve fits")


class LateTerminator(BaseTerminator):
    """Fails once there are 20 trials."""

    def should_terminate(self, study: Study) -> bool:
        if len(study.trials) >= 20:
            raise RuntimeError("no end in sight")
        return False
