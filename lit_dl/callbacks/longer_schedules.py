"""Learning-rate schedulers of a run that goes on from the last epoch of a shorter run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

GOES_ON = "goes_on_from_shorter_run"
"""Key of a checkpoint of a shorter run. The first checkpoint of the longer run does not have it any more."""

# What the schedulers of torch change in a parameter group of an optimizer, and what they keep there.
_SCHEDULED = ("lr", "initial_lr", "min_lr", "max_lr", "momentum", "betas", "base_momentum", "max_momentum")


class LongerSchedules(Callback):
    """Takes each scheduler to where it is at this time in a run of the new length.

    The state of a scheduler holds the length of its run (`T_max` of CosineAnnealingLR, `total_steps` of OneCycleLR), so
    that to load it would bring back the old length. Here the new schedulers are stepped as often as the old ones were.
    A ReduceLROnPlateau depends on a metric and not on the length: where there is one, all states are loaded.

    Stands before `ResumeState`, which ends the last epoch of the shorter run with one more step.
    """

    def __init__(self) -> None:
        self._states: list[dict[str, Any]] = []
        self._groups: list[list[dict[str, Any]]] = []

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        if GOES_ON in checkpoint:
            self._states, checkpoint["lr_schedulers"] = checkpoint["lr_schedulers"], []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        if self._states:  # the optimizers are new and their states not loaded yet
            self._groups = [_scheduled(optimizer.param_groups) for optimizer in trainer.optimizers]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        states, self._states = self._states, []
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        steps = [_steps(scheduler, state) for scheduler, state in zip(schedulers, states, strict=False)]
        if None in steps:
            for scheduler, state in zip(schedulers, states, strict=False):
                scheduler.load_state_dict(state)
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that no optimizer has stepped yet
            self._step(trainer, pl_module, [count or 0 for count in steps])

    def _step(self, trainer: Trainer, module: LightningModule, steps: Sequence[int]) -> None:
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        driven = [id(scheduler.optimizer) for scheduler in schedulers[: len(steps)]]
        for optimizer, groups in zip(trainer.optimizers, self._groups, strict=False):
            for group, values in zip(optimizer.param_groups, groups, strict=True):
                group.update(values if id(optimizer) in driven else {})
        for number in range(max(steps, default=0)):
            for scheduler, count in zip(schedulers, steps, strict=False):
                if number < count:
                    module.lr_scheduler_step(scheduler, None)


def _scheduled(groups: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{key: deepcopy(group[key]) for key in _SCHEDULED if key in group} for group in groups]


def _steps(scheduler: Any, state: Mapping[str, Any]) -> int | None:
    """Returns how often a scheduler was stepped; `None` where that does not say what state it has."""
    if not isinstance(scheduler, LRScheduler) or isinstance(scheduler, ReduceLROnPlateau):
        return None
    inner = state.get("_schedulers", [])  # a ChainedScheduler steps all of its own, and counts nothing itself
    counts = [state.get("last_epoch"), *(each.get("last_epoch") for each in inner)]
    return max((count for count in counts if count is not None), default=None)
