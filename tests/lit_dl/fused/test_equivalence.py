"""A member of a stack against the same run alone, in a Trainer: every row of every table of techniques, both precisions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from stacks import Alone, Config, Together, difference

from lit_dl.config.overlay import overlay
from lit_dl.nn.activations import ACTIVATIONS
from lit_dl.nn.initializers import INITIALIZERS
from lit_dl.nn.losses import LOSSES
from lit_dl.optim.optimizers import OPTIMIZERS
from lit_dl.optim.schedules import SCHEDULES

MakeConfig = Callable[..., Config]

EPOCHS = 2

# What changes a stack from run to run: each pair of members has one of these more.
CLASSES = {"model.network.outputs": 10}
NETWORKS: dict[str, Config] = {
    **{f"activation {name}": {"model.network.activation": name} for name in ACTIVATIONS},
    **{
        f"norm {norm_type} {norm}": {"model.network.norm": norm, "model.network.norm_type": norm_type}
        for norm in ("before", "after")
        for norm_type in ("batch", "layer")
    },
    "residual": {"model.network.residual": True, "model.network.width": [16, 16, 8]},
    "no bias": {"model.network.bias": False},
    "linear model": {"model.network.depth": 0, "model.network.width": 16},
    "cnn": {"model.network.kind": "cnn", "model.network.width": [3, 4]},
    "cnn with norm": {"model.network.kind": "cnn", "model.network.width": [3], "model.network.norm": "before"},
    "cnn with layer norm": {
        "model.network.kind": "cnn",
        "model.network.width": [3],
        "model.network.norm": "after",
        "model.network.norm_type": "layer",
        "model.network.residual": True,
    },
    "keras": {"model.defaults": "keras", "model.network.norm": "after", "model.optimizer.name": "adam"},
    "drop last": {"data.drop_last": True},
}
PER_MEMBER: dict[str, Config] = {
    **{f"initializer {name}": {"model.network.initializer": name} for name in INITIALIZERS if name != "zeros"},
    **{f"schedule {name}": {"model.schedule.name": name} for name in SCHEDULES},
    "staircase within the run": {"model.schedule.name": "staircase", "model.schedule.step_epochs": 1},
    "plateau within the run": {"model.schedule.name": "plateau", "model.schedule.patience": 0},
    "warm-up": {"model.schedule.warmup_epochs": 0.7, "model.schedule.name": "cosine"},
    "l1": {"model.regularization.l1": 0.003},
    "l2": {"model.regularization.l2": 0.01},
    "activity_l1": {"model.regularization.activity_l1": 0.01},
    "activity_l2": {"model.regularization.activity_l2": 0.01},
    "max norm": {"model.regularization.max_norm": 0.5},
    "clip by norm": {"trainer.gradient_clip_val": 0.3},
    **{name: {f"model.network.{name}": 0.3} for name in ("dropout", "input_dropout", "noise", "input_noise")},
    "seed": {"seed_everything": 7},
    "learning rate": {"model.optimizer.lr": 0.03},
    "more epochs": {"model.schedule.name": "one_cycle", "trainer.max_epochs": EPOCHS},
}
STRUCTURES: dict[str, Config] = {
    "textbook": {
        "model.regularization.form": "textbook",
        "model.regularization.l1": 0.03,
        "model.regularization.l2": 0.3,
    },
    "clip by value": {"trainer.gradient_clip_val": 0.02, "trainer.gradient_clip_algorithm": "value"},
}
LABELS = {name for name, row in LOSSES.items() if row.max_outputs > 1}
LOSS_CASES: dict[str, Config] = {
    **{f"loss {name}": {"model.loss": name} for name in LOSSES if name in LABELS},
    "loss with smoothing": {"model.label_smoothing": 0.1},
    "nll with smoothing": {"model.loss": "nll", "model.label_smoothing": 0.1},
    "binary with smoothing": {"model.loss": "binary_cross_entropy", "model.label_smoothing": 0.1},
    "huber with delta": {"model.loss": "huber", "model.delta": 0.2},
    "pseudo_huber with delta": {"model.loss": "pseudo_huber", "model.delta": 0.2},
}
OPTIMIZER_CASES: dict[str, Config] = {
    **{
        f"optimizer {name}": {"model.optimizer.name": name, "model.optimizer.lr": 0.1 if name == "adadelta" else 0.01}
        for name in OPTIMIZERS
        if name != "muon"
    },
    **{
        f"optimizer {name} with decay": {"model.optimizer.name": name, "model.optimizer.weight_decay": 0.02}
        for name in OPTIMIZERS
        if name != "muon"
    },
    "rmsprop with momentum": {"model.optimizer.name": "rmsprop", "model.optimizer.momentum": 0.8},
    "adagrad with a start": {"model.optimizer.name": "adagrad", "model.optimizer.initial_accumulator_value": 0.1},
}
CASES = {**NETWORKS, **PER_MEMBER, **STRUCTURES, **LOSS_CASES, **OPTIMIZER_CASES}
SMOOTH = {"model.network.activation": "tanh"}


def pair(config: MakeConfig, case: Config, precision: str) -> list[Config]:
    """Two runs of one shape: another seed and learning rate, and what may differ only in the second."""
    general = {
        "trainer.max_epochs": EPOCHS,
        "trainer.precision": precision,
        **(SMOOTH if precision == "32-true" else {}),
    }
    per_member = any(case is other for other in PER_MEMBER.values())
    plain = overlay(config(), {**general, **({} if per_member else case), "seed_everything": 3})
    factor = 0.5 * float(plain["model"]["optimizer"].get("lr") or 0.002)
    return [plain, overlay(config(), {**general, "model.optimizer.lr": factor, **case})]


@pytest.mark.parametrize("name", CASES)
def test_a_member_learns_what_it_learns_alone(config: MakeConfig, name: str) -> None:
    configs = pair(config, CASES[name], "64-true")
    together = Together(configs, EPOCHS)
    for place, one in enumerate(configs):
        alone = Alone(one)
        assert difference(together.losses[place], alone.losses) < 1e-12
        for row, other in zip(together.rows[place], alone.rows, strict=True):
            names = list(row)
            assert difference([row[key] for key in names], [float(other[key]) for key in names]) < 1e-7
        state = together.stack.state_of(place)
        for key, value in alone.state.items():
            torch.testing.assert_close(state["network"][key], value, rtol=1e-10, atol=1e-10)
        same_optimizer(state["optimizer"], alone.optimizer)


def same_optimizer(ours: Any, theirs: Any) -> None:
    assert ours["param_groups"] == theirs["param_groups"]
    assert ours["state"].keys() == theirs["state"].keys()
    for at, state in theirs["state"].items():
        assert ours["state"][at].keys() == state.keys()
        for key, value in state.items():
            torch.testing.assert_close(ours["state"][at][key], value, rtol=1e-6, atol=1e-9, check_dtype=True)
