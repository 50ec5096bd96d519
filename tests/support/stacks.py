"""Runs alone and in stacks, from run configs, and what differs between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lit_dl.cli.lit_cli import build_run
from lit_dl.fused.member import Member
from lit_dl.fused.stack import Stack
from lit_dl.run.run import Run

Config = dict[str, Any]


def built_run(config: Config) -> Run:
    run = build_run(config)
    run.check()
    return run


def member(config: Config) -> Member:
    """The member that a run config describes, as `build_run` builds it."""
    run = built_run(config)
    module: Any = run.module
    trainer = config["trainer"]
    if trainer.get("precision") == "64-true":
        module.double()
    clip = (trainer.get("gradient_clip_val"), trainer.get("gradient_clip_algorithm"))
    seed = int(config.get("seed_everything", 0))
    return Member(module, run.data, seed, run.trainer.max_epochs, *clip)  # type: ignore[arg-type]


class Alone:
    """A run that a Trainer trained: losses without penalties of each step, rows, weights, and the optimizer.

    Args:
        config: The run config.
        nudge: Share by which all initial weights are larger.
    """

    def __init__(self, config: Config, nudge: float = 0.0) -> None:
        run = built_run(config)
        module: Any = run.module
        if config["trainer"].get("precision") == "64-true":
            module.double()  # as the Trainer does, but before the weights are nudged
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(1 + nudge)
        self.losses: list[float] = []
        inner = module.loss

        def loss(outputs: Tensor, targets: Tensor) -> Tensor:
            value: Tensor = inner(outputs, targets)
            if module.training:
                self.losses.append(float(value.detach()))
            return value

        module.loss = loss
        run.open()
        run.fit()
        self.rows = run.rows
        self.state = {name: value.detach() for name, value in module.network.state_dict().items()}
        self.optimizer = run.trainer.optimizers[0].state_dict()


class Together:
    """Members of a stack that trained for some epochs: losses of each step, rows and states of each."""

    def __init__(self, configs: Sequence[Config], epochs: int, features: frozenset[str] = frozenset()) -> None:
        self.stack = Stack([member(config) for config in configs], features)
        self.losses: list[list[float]] = [[] for _ in configs]
        self.rows: list[list[dict[str, float]]] = [[] for _ in configs]
        for _ in range(epochs):
            self.epoch()

    def epoch(self) -> None:
        stack, tables = self.stack, self.stack.tables
        stack.start_epoch()
        for step in range(tables.steps):
            (stack.step if step < tables.full else stack.last_step)()
            for losses, loss in zip(self.losses, stack.losses.tolist(), strict=True):
                losses.append(loss)
        train = stack.metrics()
        stack.evaluate()
        for place, (mine, val) in enumerate(zip(train, stack.metrics(), strict=True)):
            split = {"train": mine, "val": val}
            row = {f"{part}/{name}": value for part, values in split.items() for name, value in values.items()}
            self.rows[place].append(row)
            plateau = stack.members[place].module.plateau
            if plateau is not None:
                plateau.step(row["val/loss"])


def difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The largest difference, relative to the larger of the two and of 1e-3 of the largest of all."""
    mine, other = (torch.tensor(list(values), dtype=torch.float64) for values in (ours, theirs))
    assert mine.shape == other.shape
    size = torch.maximum(mine.abs(), other.abs()).clamp(min=1e-3 * float(other.abs().max()) + 1e-300)
    return float(((mine - other).abs() / size).max())
