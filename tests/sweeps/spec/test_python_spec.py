# ruff: noqa: E501 - a case is a line
"""A spec that is written in Python means what its YAML would."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign import Bare, Mode

import lit_dl
from lit_dl.config.yaml_io import dump_yaml, parse_yaml
from lit_dl.errors import ConfigError
from sweeps.definitions.import_paths import ImportPaths
from sweeps.spec.python_spec import plain_spec


class Number(int, Enum):
    ONE = 1


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Bare, "foreign.Bare"),
        ({"class_path": lit_dl.Classifier, "init_args": {"a": (1, 2)}}, {"class_path": "lit_dl.Classifier", "init_args": {"a": [1, 2]}}),
        ([torch.nn.ReLU, torch.optim.Adam], ["torch.nn.ReLU", "torch.optim.Adam"]),
        (torch.nn.functional.relu, "torch.nn.functional.relu"),
        ((np.float32(0.5), np.int64(3), np.float64(0.1)), [0.5, 3, 0.1]),
        (range(3), [0, 1, 2]),
        (Path("a/b"), "a/b"),
        ([Mode.FAST, Number.ONE], ["FAST", "ONE"]),
        ([None, True, 3, 0.5, "text", ""], [None, True, 3, 0.5, "text", ""]),
    ],
)  # fmt: skip
def test_values_of_python_become_those_of_yaml(value: Any, plain: Any) -> None:
    found = plain_spec({"key": value}, ImportPaths())
    assert found == {"key": plain}
    assert parse_yaml(dump_yaml(found), "text") == found


@pytest.mark.parametrize("value", [object(), torch.ones(2), torch.nn.ReLU(), {1, 2}, 1j])
def test_a_value_without_a_text_is_an_error_about_its_key(value: Any) -> None:
    with pytest.raises(ConfigError, match="must be a value that YAML can hold, a class or a function") as error:
        plain_spec({"space": {"model.a": {"choices": [1, value]}}}, ImportPaths())
    assert error.value.key == "space.model.a.choices.1"
