from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import CmaEsSampler, PartialFixedSampler, TPESampler
from studies import claimed, complete, create_study, study_spec
from sweep_specs import resolved_spec

from sweeps.spec.space import Space
from sweeps.study.grid import count_points
from sweeps.study.rehearsal import dry_run_sampler
from sweeps.study.sampling import build_pruner, build_sampler, grid_size, requires_serial_sampling


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


def named(class_path: str, **init_args: Any) -> dict[str, Any]:
    return {"class_path": class_path, "init_args": init_args}


def test_samplers_in_a_sampler_are_built_and_seeded_by_the_trial() -> None:
    spec = study_spec(sampler=named("CmaEsSampler", independent_sampler=named("TPESampler", n_startup_trials=7)))
    first, again, other = (build_sampler(spec, number) for number in (0, 0, 1))
    assert isinstance(first, CmaEsSampler)
    inner = [sampler._independent_sampler for sampler in (first, again, other)]  # type: ignore[attr-defined]
    assert all(isinstance(sampler, TPESampler) and sampler._n_startup_trials == 7 for sampler in inner)
    draws = [sampler._rng.rng.random() for sampler in inner]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("wrapped", ["MedianPruner", named("MedianPruner", n_startup_trials=2)])
def test_a_pruner_in_a_pruner_is_built(wrapped: Any) -> None:
    pruner = build_pruner(study_spec(pruner=named("PatientPruner", wrapped_pruner=wrapped, patience=1)))
    assert isinstance(pruner._wrapped_pruner, MedianPruner)  # type: ignore[attr-defined]
    hyperband = build_pruner(study_spec(pruner=named("PatientPruner", wrapped_pruner="HyperbandPruner", patience=1)))
    assert hyperband._wrapped_pruner._max_resource == 3  # type: ignore[attr-defined]
    none = build_pruner(study_spec(pruner=named("PatientPruner", wrapped_pruner=None, patience=1)))
    assert none._wrapped_pruner is None  # type: ignore[attr-defined]


def test_a_sampler_with_others_in_it_runs_a_study_and_is_read_back_from_its_spec(tmp_path: Path) -> None:
    space = {"x": {"low": 0.0, "high": 1.0, "type": "float"}, "widths": {"choices": [[8], [8, 8]]}}
    sampler = named("PartialFixedSampler", fixed_params={"widths": [8, 8]}, base_sampler=named("RandomSampler", seed=4))
    spec = study_spec(space=space, sampler=sampler)
    assert yaml.safe_load(spec.dump())["sampler"] == sampler
    assert isinstance(build_sampler(spec, 0), PartialFixedSampler)
    study = create_study(tmp_path, spec)
    claims = [claimed(study) for _ in range(4)]
    assert {claim.values["widths"] for claim in claims} == {"[8, 8]"}
    assert len({claim.values["x"] for claim in claims}) == 4
    assert all(complete(study, claim) for claim in claims)


@pytest.mark.parametrize(("base", "serial"), [("QMCSampler", True), ("TPESampler", False)])
def test_a_sampler_in_another_is_still_asked_in_turn(base: str, serial: bool) -> None:
    spec = study_spec(sampler=named("PartialFixedSampler", fixed_params={}, base_sampler=base))
    assert requires_serial_sampling(spec) == serial


@pytest.mark.parametrize("sampler", ["TPESampler", "NSGAIISampler", "CmaEsSampler", "QMCSampler", "BruteForceSampler"])
def test_a_rehearsal_lasts_until_the_sampler_has_started(monkeypatch: pytest.MonkeyPatch, sampler: str) -> None:
    numbers = []

    def build(spec: Any, number: int) -> Any:
        numbers.append(number)
        return build_sampler(spec, number)

    monkeypatch.setattr("sweeps.study.rehearsal.build_sampler", build)
    space = {"x": {"low": 0, "high": 1, "step": 0.01, "type": "float"}, "y": {"low": 0, "high": 9, "type": "int"}}
    dry_run_sampler(study_spec(sampler=sampler, space=space, n_trials=500))
    assert max(numbers) == {"TPESampler": 12, "NSGAIISampler": 52, "CmaEsSampler": 3}.get(sampler, 2)
    numbers.clear()
    dry_run_sampler(study_spec(sampler="late_plugins.LateSampler", n_trials=4))
    assert max(numbers) == 3  # what cannot happen in this sweep is not refused


def test_counting_takes_neither_memory_nor_time() -> None:
    space = {f"k{number}": {"choices": [*range(100)]} for number in range(8)}
    assert grid_size(study_spec(space=space, sampler="BruteForceSampler")) == 100**8
    conditional = {**space, "child": {"choices": [1, 2], "when": {"k0": [0, 1]}}}
    assert grid_size(study_spec(space=conditional, sampler="BruteForceSampler")) == 100**7 * (98 + 2 * 2)


SPACES: list[dict[str, Any]] = [
    {"a": {"choices": ["x", "y"]}, "b": {"choices": [1, 2, 3], "when": {"a": ["x"]}}, "c": {"choices": [4, 5]}},
    {
        "a": {"choices": ["x", "y", "z"]},
        "b": {"choices": ["p", "q"], "when": {"a": ["x", "y"]}},
        "c": {"choices": [1, 2, 3], "when": {"b": ["p"], "a": ["x"]}},
        "d": {"low": 0, "high": 3, "type": "int", "when": {"c": [1, 3]}},
    },
    {
        "a": {"choices": [True, False]},
        "b": {"choices": [None, 1], "when": {"a": [True]}},
        "c": {"choices": [1, 2, 3], "when": {"b": [None]}},
        "d": {"choices": [1, 2], "when": {"e": ["s"], "a": [False]}},
        "e": {"choices": ["s", "t"]},
    },
]


def enumerated(space: Space) -> int:
    """The number of different samples, by going through all values of all parameters."""
    values = [range(4) if parameter.is_range else parameter.options() for parameter in space]
    points = set()
    for point in itertools.product(*values):
        given = dict(zip(space.parameters, point, strict=True))
        points.add(repr(space.sample(lambda parameter, given=given: given[parameter.name])))  # type: ignore[misc]
    return len(points)


@pytest.mark.parametrize("number", range(len(SPACES)))
def test_points_are_counted_as_they_are_enumerated(number: int) -> None:
    space = study_spec(space=SPACES[number]).space
    assert count_points(list(space)) == enumerated(space)
