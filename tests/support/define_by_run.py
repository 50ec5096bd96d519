"""Functions that suggest the values of trials, good and bad, for tests of define-by-run spaces."""

from __future__ import annotations

import enum
import itertools
from typing import Any

import numpy as np
from optuna import Trial

calls = itertools.count()


class Act(str, enum.Enum):  # noqa: UP042 - as people have them
    TANH = "tanh"


def layers(trial: Trial) -> dict[str, Any]:
    """A width for each layer, and a learning rate that follows from the batch size."""
    depth = trial.suggest_int("depth", 1, 3)
    batch_size = trial.suggest_categorical("batch_size", [16, 20])
    return {
        "model.network": {"width": [trial.suggest_int(f"width_{number}", 4, 8) for number in range(depth)]},
        "model.optimizer.lr": np.float64(batch_size * trial.suggest_float("lr_per_sample", 1e-5, 1e-3, log=True)),
        "data.batch_size": batch_size,
    }


def moody(trial: Trial) -> dict[str, Any]:
    """Something else in each call."""
    return {"model.step": next(calls), "model.x": trial.suggest_float("x", 0.0, 1.0)}


def conditional(trial: Trial) -> dict[str, Any]:
    """Five points: a with three values of b, and c with two of d."""
    if trial.suggest_categorical("kind", ["a", "c"]) == "a":
        return {"model.b": trial.suggest_int("b", 1, 3)}
    return {"model.d": trial.suggest_float("d", 0.5, 1.0, step=0.5)}


def late_error(trial: Trial) -> dict[str, Any]:
    """Fails for a value that no call before trial 0 meets."""
    x = trial.suggest_float("x", 0.0, 1.0)
    if trial.number == 1:
        raise RuntimeError(f"no model for {x!r}")
    return {"model.x": x}


def other_choices(trial: Trial) -> dict[str, Any]:
    """Choices that differ from trial to trial, which Optuna refuses."""
    return {"model.x": trial.suggest_categorical("x", [1, 2] if trial.number % 2 else [1, 2, 3])}


def growing(trial: Trial) -> dict[str, Any]:
    """A range whose upper bound is another value."""
    return {"model.x": trial.suggest_int("x", 0, trial.suggest_int("most", 1, 9))}


def enums(trial: Trial) -> dict[str, Any]:
    """Values of enums and of NumPy, and tuples."""
    x = trial.suggest_int("x", 1, 2)
    return {"model.act": Act.TANH, "model.size": (x, 2), "model.init_args.y": np.float32(0.5)}


def raises(trial: Trial) -> dict[str, Any]:
    """Fails for one of its choices."""
    kind = trial.suggest_categorical("kind", ["good", "bad"])
    if kind == "bad":
        raise KeyError("no such kind")
    return {"model.network.width": 8}


def exits(trial: Trial) -> dict[str, Any]:
    raise SystemExit("bye")


def nothing(trial: Trial) -> None:
    trial.suggest_int("x", 1, 2)


def numbers(trial: Trial) -> dict[Any, Any]:
    return {trial.suggest_int("x", 1, 2): 3}


def constant(trial: Trial) -> dict[str, Any]:
    return {"model.network.width": 8}


def unknown_key(trial: Trial) -> dict[str, Any]:
    return {"model.network.widht": trial.suggest_int("width", 4, 8)}


def wrong_value(trial: Trial) -> dict[str, Any]:
    return {"model.network.activation": trial.suggest_categorical("activation", ["relu", "rleu"])}


def unwritable(trial: Trial) -> dict[str, Any]:
    return {"model.network.width": {trial.suggest_int("x", 1, 2)}}


def numeric_keys(trial: Trial) -> dict[str, Any]:
    return {"model.network.width": [{1: trial.suggest_int("x", 1, 2)}]}


def not_finite(trial: Trial) -> dict[str, Any]:
    return {"model.optimizer.lr": trial.suggest_int("x", 1, 2) * float("inf")}


def list_choice(trial: Trial) -> dict[str, Any]:
    return {"model.network.width": trial.suggest_categorical("width", [[8, 8], [4]])}


def devices(trial: Trial) -> dict[str, Any]:
    return {"trainer.devices": trial.suggest_int("devices", 1, 2)}
