"""Counts the values that a trial reports to its pruner, which is the maximum resource of Hyperband."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sweeps.spec.spec import Plugin, SweepSpec

_RESOURCE = "max_resource"


def count_reports(trainer: Any, validates_every: tuple[int | None, float | None], batches: int) -> int | None:
    """Returns the number of validations until a Trainer reaches its limits; of epochs if each has at most one.

    Args:
        trainer: A Trainer that has trained some batches.
        validates_every: Epochs from validation to validation, and batches; `None` for epochs: batches alone count.
        batches: Batches that it has trained.

    Returns:
        `None` where only a limit of time ends the run, or where it cannot be known.
    """
    epoch = float(trainer.num_training_batches)
    total = epoch * trainer.max_epochs if trainer.max_epochs > 0 else math.inf
    if trainer.max_steps > -1:
        total = min(total, _batches_of(trainer, epoch, batches))
    if not 0 < total < math.inf:
        return None
    every, interval = validates_every
    if every is None and interval:
        return max(1, int(total // interval))
    several = int(epoch // interval) if every and interval and 0 < interval < epoch < math.inf else 1
    return max(1, int(total // epoch) if several == 1 else int(total // epoch) // (every or 1) * several)


def _batches_of(trainer: Any, epoch: float, batches: int) -> float:
    """Returns the number of batches in `max_steps` of a Trainer."""
    if not trainer.lightning_module.automatic_optimization:
        return trainer.max_steps * batches / trainer.global_step if trainer.global_step else math.inf
    accumulated = trainer.accumulate_grad_batches
    if math.isinf(epoch):
        return float(trainer.max_steps * accumulated)
    return float(trainer.max_steps / math.ceil(epoch / accumulated) * epoch)


def with_max_resource(spec: SweepSpec, reports: int | None) -> SweepSpec:
    """Returns a spec whose Hyperband pruners have a maximum resource, where the base alone does not tell it."""
    if reports is None or spec.pruner is None or spec.last_step is not None:
        return spec
    filled = _filled({"class_path": spec.pruner.class_path, "init_args": spec.pruner.init_args}, reports)
    return replace(spec, pruner=Plugin(filled["class_path"], filled["init_args"]))


def _filled(value: Any, reports: int) -> Any:
    if isinstance(value, str) and value.rpartition(".")[2] == "HyperbandPruner":
        value = {"class_path": value}
    if not isinstance(value, Mapping) or "class_path" not in value:
        return value
    arguments = {name: _filled(inner, reports) for name, inner in (value.get("init_args") or {}).items()}
    if str(value["class_path"]).rpartition(".")[2] == "HyperbandPruner":
        arguments = {_RESOURCE: reports, **arguments}
    return {**value, "init_args": arguments}
