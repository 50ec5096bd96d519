"""Specs that are written for W&B or for Ray Tune: the error says what to write here, and that is accepted."""

from __future__ import annotations

import re
from typing import Any

import pytest
from optuna.pruners import SuccessiveHalvingPruner
from studies import study_spec

from lit_dl.config.yaml_io import parse_yaml
from lit_dl.errors import ConfigError
from sweeps.spec.parse_space import parse_space
from sweeps.study.rehearsal import dry_run_sampler
from sweeps.study.sampling import build_pruner

ENTRIES: list[tuple[Any, dict[str, Any]]] = [
    ({"min": 1, "max": 8}, {"low": 1, "high": 8}),
    ({"distribution": "uniform", "min": 0.0, "max": 0.5}, {"low": 0.0, "high": 0.5}),
    ({"distribution": "log_uniform_values", "min": 1e-5, "max": 0.1}, {"low": 1e-5, "high": 0.1, "log": True}),
    ({"distribution": "log_uniform", "min": 0, "max": 1}, {"low": 1.0, "high": 2.718, "log": True}),
    ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.1}, {"low": 0, "high": 1, "step": 0.1}),
    ({"values": ["relu", None, True, 0.5]}, {"choices": ["relu", None, True, 0.5]}),
    ({"distribution": "categorical", "values": [1, 2], "probabilities": [0.1, 0.9]}, {"choices": [1, 2]}),
    ({"lower": 1, "upper": 3}, {"low": 1, "high": 3}),
    ("tune.loguniform(1e-4, 1e-1)", {"low": 1e-4, "high": 0.1, "log": True}),
    ("ray.tune.uniform(0, 1)", {"low": 0, "high": 1}),
    ("randint(1, 9)", {"low": 1, "high": 8}),
    ("tune.quniform(0, 1, 0.25)", {"low": 0, "high": 1, "step": 0.25}),
    ("tune.choice([32, 64])", {"choices": [32, 64]}),
    ("tune.choice(['relu', 'tanh'])", {"choices": ["relu", "tanh"]}),
    ({"tune.loguniform": [1e-4, 0.1]}, {"low": 1e-4, "high": 0.1, "log": True}),
    ({"grid_search": [1, 2]}, {"choices": [1, 2]}),
]


@pytest.mark.parametrize(("entry", "write"), ENTRIES, ids=[str(number) for number in range(len(ENTRIES))])
def test_an_error_says_what_to_write_in_the_space(entry: Any, write: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigError, match=r"^space\.x: must be .*; got the spelling of (W&B|Ray Tune); write "
    ) as caught:
        parse_space({"x": entry})
    text = str(caught.value).partition("; write ")[2]
    assert parse_yaml(text, "error") == write
    assert parse_space({"x": parse_yaml(text, "error")})


@pytest.mark.parametrize(
    "entry",
    [{"distribution": "normal", "mu": 0, "sigma": 1}, {"min": 0}, "tune.sample_from(lambda c: c)", "tune.randn(0, 1)"],
)
def test_what_has_no_counterpart_is_told_the_forms_there_are(entry: Any) -> None:
    with pytest.raises(ConfigError, match=r"write \{low: \.\.\., high: \.\.\.\}"):
        parse_space({"x": entry})


def test_a_constant_belongs_into_the_base() -> None:
    with pytest.raises(ConfigError, match=r"^space\.x: .*W&B; set the key to 3 in base$"):
        parse_space({"x": {"value": 3}})


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("parameters", {}, "parameters: no such key of a sweep; write space"),
        ("method", "bayes", "method: no such key of a sweep; write sampler: TPESampler or GPSampler"),
        ("method", "grid", "method: no such key of a sweep; write sampler: GridSampler"),
        (
            "metric",
            {"name": "val/loss", "goal": "minimize"},
            "metric: no such key of a sweep; write objective: {metric: val/loss, direction: minimize}",
        ),
        (
            "early_terminate",
            {"type": "hyperband", "min_iter": 3, "eta": 2},
            "early_terminate: no such key of a sweep; write pruner: {class_path: HyperbandPruner, "
            "init_args: {min_resource: 3, reduction_factor: 2}}",
        ),
        ("num_samples", 4, "num_samples: no such key of a sweep; write n_trials"),
        ("scheduler", "ASHAScheduler", "scheduler: no such key of a sweep; write pruner"),
        ("mode", "max", "mode: no such key of a sweep; write objective: {metric: val/acc, direction: maximize}"),
        (
            "objective",
            {"metric": "a", "mode": "min"},
            "objective: must be a metric and a direction; got metric, mode; write {metric: a, direction: minimize}",
        ),
        (
            "objective",
            {"name": "a", "goal": "maximize"},
            "objective: must be a metric and a direction; got name, goal; write {metric: a, direction: maximize}",
        ),
    ],
)
def test_an_error_says_what_a_key_of_a_spec_is_called(key: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(says)}$"):
        study_spec(**{key: value})


@pytest.mark.parametrize("name", ["ASHA", "ASHAScheduler", "ray.tune.schedulers.ASHAScheduler"])
def test_asha_is_successive_halving(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^pruner: .* is not one of .*; Optuna's is SuccessiveHalvingPruner$"):
        dry_run_sampler(study_spec(pruner=name))
    arguments = {"grace_period": 2, "reduction_factor": 3}
    with pytest.raises(ConfigError, match=r"^pruner.init_args: .*'grace_period'.*; write min_resource$"):
        dry_run_sampler(study_spec(pruner={"class_path": "SuccessiveHalvingPruner", "init_args": arguments}))
    arguments = {"min_resource": 2, "reduction_factor": 3}
    pruner = build_pruner(study_spec(pruner={"class_path": "SuccessiveHalvingPruner", "init_args": arguments}))
    assert isinstance(pruner, SuccessiveHalvingPruner)


@pytest.mark.parametrize(("name", "ours"), [("bayes", "TPESampler or GPSampler"), ("OptunaSearch", "TPESampler")])
def test_a_search_of_others_is_a_sampler(name: str, ours: str) -> None:
    with pytest.raises(ConfigError, match=f"^sampler: .*; Optuna's is {ours}$"):
        dry_run_sampler(study_spec(sampler=name))
