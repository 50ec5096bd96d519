from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from lit_dl.errors import ConfigError
from sweeps.spec.parse_space import check_distinct_options, parse_space

MOMENTUM = {
    "model.optimizer.momentum": {"low": 0.5, "high": 0.9, "when": {"model.optimizer.name": ["momentum"]}},
    "model.optimizer.name": {"choices": ["sgd", "momentum"]},
}


def test_parents_are_sampled_before_what_depends_on_them() -> None:
    assert [parameter.name for parameter in parse_space(MOMENTUM)] == [
        "model.optimizer.name",
        "model.optimizer.momentum",
    ]


@pytest.mark.parametrize(("name", "expected"), [("sgd", set()), ("momentum", {"model.optimizer.momentum"})])
def test_a_condition_decides_whether_a_parameter_exists(name: str, expected: set[str]) -> None:
    space = parse_space(MOMENTUM)
    values = space.sample(lambda p: name if p.name == "model.optimizer.name" else 0.7)
    assert set(values) - {"model.optimizer.name"} == expected


def test_conditions_may_be_nested_and_branches_set_all_ancestors() -> None:
    space = parse_space(
        {
            "a": {"choices": [1, 2]},
            "b": {"choices": [3, 4], "when": {"a": [2]}},
            "c": {"low": 0.0, "high": 1.0, "when": {"b": [4]}},
        }
    )
    tried = dict(space.branches())
    assert tried["with 1.0 of space.c"] == {"a": 2, "b": 4, "c": 1.0}
    expected = [("a", 1), ("a", 2), ("b", 3), ("b", 4), ("c", 0.0), ("c", 1.0)]
    assert list(tried) == [f"with {value} of space.{name}" for name, value in expected]


def test_a_preset_sets_several_keys_and_a_list_is_stored_as_text() -> None:
    space = parse_space(
        {
            "norm": {
                "presets": {
                    "none": {"model.network.norm": "none"},
                    "before": {"model.network": {"norm": "before", "bias": False}},
                }
            },
            "model.network.width": {"choices": [[300, 100], 64]},
        }
    )
    assert space.parameters["model.network.width"].options() == ["[300, 100]", 64]
    keys = space.keys({"norm": "before", "model.network.width": "[300, 100]"})
    assert keys == {"model.network.norm": "before", "model.network.bias": False, "model.network.width": [300, 100]}


def test_keys_of_foreign_classes_may_be_written_with_or_without_init_args() -> None:
    assert parse_space({"model.init_args.hidden": {"choices": [1]}}).keys({"model.init_args.hidden": 1}) == {
        "model.hidden": 1
    }


def test_what_is_dumped_reads_back_the_same_zero_included() -> None:
    given = {
        "x": {"low": 0, "high": 1, "type": "float"},
        "y": {"choices": [0, None, ""], "when": {}},
        "z": {"choices": [False, "no", [0, False]]},
        **MOMENTUM,
    }
    space = parse_space(given)
    assert parse_space(space.dump()).dump() == space.dump()
    assert space.dump()["x"] == {"low": 0, "high": 1, "type": "float"}


def test_an_integer_range_refuses_a_bound_that_is_none() -> None:
    with pytest.raises(ConfigError, match=r"space\.x\.high: must be an integer, as its target is; got 2\.5"):
        parse_space({"x": {"low": 1, "high": 2.5}}).with_types({"x": "int"})


def test_distributions_are_those_of_the_type() -> None:
    space = parse_space({"i": {"low": 1, "high": 8, "log": True}, "f": {"low": 0, "high": 1}}).with_types(
        {"i": "int", "f": "float"}
    )
    assert repr(space.parameters["i"].distribution()) == "IntDistribution(high=8, log=True, low=1, step=1)"
    assert repr(space.parameters["f"].distribution()) == "FloatDistribution(high=1.0, log=False, low=0.0, step=None)"


def test_choices_keep_the_types_of_their_keys() -> None:
    given = [{1: "a"}, {"1": "a"}, {2: [{3: 4}]}, [date(2020, 1, 2)]]
    parameter = parse_space({"model.steps": {"choices": given}}).parameters["model.steps"]
    options = parameter.options()
    assert all(isinstance(option, str) for option in options)
    assert len(set(options)) == 4
    assert [parameter.keys(option) for option in options] == [{"model.steps": choice} for choice in given]
    assert [parameter.stored(choice) for choice in given] == options


def test_a_list_is_stored_as_before() -> None:
    space = parse_space(
        {"a": {"choices": [[1, 2], {"3": 4}, {5: 6}]}, "b": {"low": 0, "high": 1, "when": {"a": [[1, 2]]}}}
    )
    assert space.parameters["a"].options() == ["[1, 2]", '{"3": 4}', '{"5": 6}']
    assert space.parameters["b"].when == {"a": ["[1, 2]"]}


@pytest.mark.parametrize("choices", [[1, 1.0], [0.5, True, 1], ["[1]", [1]]])
def test_choices_that_a_sampler_cannot_tell_apart_are_refused_in_new_sweeps_only(choices: list[Any]) -> None:
    space = parse_space({"model.steps": {"choices": choices}})
    with pytest.raises(ConfigError, match=r"space\.model\.steps\.choices: must not hold two values"):
        check_distinct_options(space)
