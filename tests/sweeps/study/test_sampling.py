from __future__ import annotations

from pathlib import Path

import pytest
from optuna.pruners import HyperbandPruner, NopPruner
from sweep_specs import resolved_spec

from sweeps.study.sampling import build_pruner, build_sampler, grid_size


@pytest.mark.parametrize("name", ["RandomSampler", "TPESampler"])
def test_every_trial_number_has_a_seed_of_its_own(tmp_path: Path, name: str) -> None:
    spec = resolved_spec(tmp_path, sampler=name)
    first, again, other = (build_sampler(spec, number)._rng.rng.random() for number in (0, 0, 1))  # type: ignore[attr-defined]
    assert first == again != other


def test_conditions_make_tpe_look_at_groups(tmp_path: Path) -> None:
    space = {
        "model.optimizer.name": {"choices": ["sgd", "momentum"]},
        "model.optimizer.momentum": {"low": 0.5, "high": 0.9, "when": {"model.optimizer.name": ["momentum"]}},
    }
    assert build_sampler(resolved_spec(tmp_path, space=space, sampler="TPESampler"), 0)._group  # type: ignore[attr-defined]
    assert not build_sampler(resolved_spec(tmp_path, sampler="TPESampler"), 0)._group  # type: ignore[attr-defined]


def test_hyperband_divides_the_epochs_that_a_trial_may_last(tmp_path: Path) -> None:
    pruner = build_pruner(resolved_spec(tmp_path, pruner="HyperbandPruner"))
    assert isinstance(pruner, HyperbandPruner)
    assert pruner._max_resource == 3
    assert isinstance(build_pruner(resolved_spec(tmp_path)), NopPruner)


def test_the_size_of_a_conditional_space_is_counted(tmp_path: Path) -> None:
    space = {
        "model.optimizer.name": {"choices": ["sgd", "momentum"]},
        "model.optimizer.momentum": {"choices": [0.5, 0.9, 0.99], "when": {"model.optimizer.name": ["momentum"]}},
        "model.network.dropout": {"low": 0, "high": 0.5, "step": 0.25},
    }
    spec = resolved_spec(tmp_path, space=space, sampler="BruteForceSampler", n_trials=50)
    assert grid_size(spec) == (1 + 3) * 3
