"""Values that a user gives for a trial are checked as a sampler's own."""

from __future__ import annotations

from typing import Any

import pytest

from lit_dl.errors import ConfigError
from sweeps.spec.given_params import given_params
from sweeps.spec.parse_space import parse_space

SPACE = parse_space(
    {
        "model.width": {"low": 4, "high": 16, "type": "int"},
        "model.lr": {"low": 0.001, "high": 0.1, "log": True, "type": "float"},
        "model.steps": {"low": 0.0, "high": 1.0, "step": 0.25, "type": "float"},
        "model.hidden": {"choices": [[300, 100], [64], None]},
        "model.flag": {"choices": [True, False]},
        "model.kind": {"choices": ["a", "b"]},
        "model.slope": {"low": 0, "high": 1, "type": "float", "when": {"model.kind": ["a"]}},
        "norm": {"presets": {"none": {"model.norm": "none"}, "before": {"model.norm": "before"}}},
    }
)


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ({"model.width": 16.0, "model.lr": 0.1}, {"model.width": 16, "model.lr": 0.1}),
        ({"model.init_args.width": 4}, {"model.width": 4}),
        ({"model.steps": 1}, {"model.steps": 1.0}),
        ({"model.hidden": [300, 100]}, {"model.hidden": "[300, 100]"}),
        ({"model.hidden": "[64]"}, {"model.hidden": "[64]"}),
        ({"model.hidden": None, "model.flag": True}, {"model.hidden": None, "model.flag": True}),
        ({"norm": "before"}, {"norm": "before"}),
        ({"model.slope": 1, "model.kind": "a"}, {"model.slope": 1.0, "model.kind": "a"}),
    ],
)
def test_values_are_those_of_a_sampler(given: dict[str, Any], values: dict[str, Any]) -> None:
    found = given_params(given, SPACE)
    assert repr(sorted(found.items(), key=repr)) == repr(sorted(values.items(), key=repr))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model.widht": 4}, r"model.widht: no such key in space, which has .*; did you mean 'model.width'\?"),
        ({"model.width": 17}, "model.width: must be from 4 to 16, as in space; got 17"),
        ({"model.width": 4.5}, "model.width: must be a whole number from 4 to 16; got 4.5"),
        ({"model.width": True}, "model.width: must be a whole number from 4 to 16; got True"),
        ({"model.width": float("inf")}, "model.width: must be a whole number from 4 to 16; got inf"),
        ({"model.lr": "fast"}, "model.lr: must be a number from 0.001 to 0.1; got 'fast'"),
        ({"model.lr": float("nan")}, "model.lr: must be a number from 0.001 to 0.1; got nan"),
        ({"model.lr": None}, "model.lr: must be a number from 0.001 to 0.1; got None"),
        ({"model.steps": 0.3}, "model.steps: must be from 0.0 to 1.0 in steps of 0.25, as in space; got 0.3"),
        ({"model.kind": "c"}, "model.kind: 'c' is not one of a, b"),
        ({"model.flag": 1}, "model.flag: 1 is not one of True, False"),
        ({"model.hidden": [100, 300]}, r"model.hidden: \[100, 300\] is not one of \[300, 100\], \[64\], None"),
        ({"norm": "befor"}, "norm: 'befor' is not one of none, before; did you mean 'before'?"),
        ({"model.norm": "none"}, "model.norm: no such key in space, .*norm"),
        ({"model.slope": 1, "model.kind": "b"}, "model.slope: applies only where model.kind is a; got 'b'"),
        ({"model.slope": 1}, "model.slope: applies only where model.kind is a; give it as well"),
    ],
)
def test_what_a_sampler_could_not_have_chosen_is_an_error(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        given_params(given, SPACE)
