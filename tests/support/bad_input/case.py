"""The form of a bad input, and the words that the tables of bad inputs share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DROP = object()  # takes a key away
SWEEP = "given/sweep.yaml"
BASE = "given/base.yaml"
RUN_DIR = "runs/sweep"  # where `sweeps launch given/sweep.yaml` puts its run folder

Setting = Callable[[Path, str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Case:
    """One bad input.

    Args:
        name: Of the test.
        starts: How the line on stderr begins: the dotted key, or the file, and a colon.
        says: What the line must hold besides: the offending value, the nearest name.
        spec: Keys of the spec to replace.
        space: Entries of its search space to replace or add.
        base: Dotted keys of the base to replace.
        text: The spec, in the place of YAML made from all that.
        base_text: The base, likewise.
        args: Arguments after `sweeps launch given/sweep.yaml`.
        setting: What else there is in the folder; called with it and the text of a resolved spec.
        lacks: A package that must seem not to be installed.
        silent_about: What the line must not hold.
    """

    name: str
    starts: str
    says: tuple[str, ...] = ()
    spec: dict[str, Any] = field(default_factory=dict)
    space: dict[Any, Any] = field(default_factory=dict)
    base: dict[str, Any] = field(default_factory=dict)
    text: str | bytes | None = None
    base_text: str | bytes | None = None
    args: tuple[str, ...] = ()
    setting: Setting | None = None
    lacks: str | None = None
    silent_about: str | None = None

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Command:
    """A bad command line, run beside the valid sweep.

    Args:
        name: Of the test.
        argv: The arguments; `{data}` stands for the folder with the data.
        starts: As in `Case`.
        says: As in `Case`.
        setting: As in `Case`.
        usage: Whether argparse prints its usage first.
    """

    name: str
    argv: str
    starts: str
    says: tuple[str, ...] = ()
    setting: Setting | None = None
    usage: bool = False

    def __str__(self) -> str:
        return self.name


def between(low: Any, high: Any, **more: Any) -> dict[str, Any]:
    return {"low": low, "high": high, **more}


def choices(*values: Any, **more: Any) -> dict[str, Any]:
    return {"choices": list(values), **more}


LR = "model.optimizer.lr"
WIDTH = "model.network.width"
ACTIVATION = "model.network.activation"
MOMENTUM = {
    "model.optimizer.name": choices("momentum", "adam"),
    "model.optimizer.momentum": between(0.5, 0.9, when={"model.optimizer.name": ["momentum"]}),
}
NO_SPACE = {LR: DROP, ACTIVATION: DROP}
NO_MODEL = {"model.network": DROP, "model.optimizer": DROP}  # for a module of another class
FOREIGN = {"space": {}, "n_trials": 1}
HEAD = "base: base.yaml\nobjective: {metric: val/acc, direction: maximize}\nn_trials: 4\ncheck: build\n"
