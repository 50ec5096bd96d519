"""The type of a range is that of its argument, however its bounds are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lit_dl.errors import ConfigError
from sweeps.spec.parse_spec import parse_spec
from sweeps.spec.range_types import typed_space


def type_of(key: str, low: float, high: float, base: dict[str, Any], **more: Any) -> str | None:
    given = {
        "base": base,
        "objective": {"metric": "my_loss", "direction": "minimize"},
        "n_trials": 2,
        "space": {key: {"low": low, "high": high, **more}},
    }
    return typed_space(parse_spec(given, Path(), "types")).parameters[key].type


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("model.whole", "int"),
        ("model.whole_or_null", "int"),
        ("model.whole_or_list", "int"),
        ("model.positive", "int"),
        ("model.fraction", "float"),
        ("model.fraction_or_null", "float"),
        ("model.fraction_or_text", "float"),
        ("trainer.max_epochs", "int"),
        ("trainer.gradient_clip_val", "float"),
    ],
)
@pytest.mark.parametrize("bound", [2, 2.0])
def test_the_annotation_decides(key: str, expected: str, bound: float) -> None:
    if key == "trainer.gradient_clip_val":  # int | float | None: as it is written
        expected = "int" if isinstance(bound, int) else "float"
    assert type_of(key, bound, 4 * bound, {"model": {"class_path": "foreign.Numbers"}}) == expected


@pytest.mark.parametrize(("bound", "expected"), [(2, "int"), (2.0, "float")])
def test_the_spelling_decides_where_both_are_accepted(bound: float, expected: str) -> None:
    base = {"model": {"class_path": "foreign.Numbers"}}
    assert type_of("model.either", bound, 8, base) == expected
    assert type_of("model.options.anything", bound, 8, base) == expected


def test_an_argument_of_a_class_that_is_an_argument_is_tried() -> None:
    base = {
        "model": {"class_path": "foreign.Bare"},
        "data": {"class_path": "foreign.Ones"},
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.5}},
    }
    assert type_of("optimizer.init_args.momentum", 0, 1, base) == "float"


def test_the_type_that_a_spec_gives_stays() -> None:
    assert type_of("model.fraction", 1, 3, {"model": {"class_path": "foreign.Numbers"}}, type="int") == "int"


def test_an_integer_range_needs_integer_bounds() -> None:
    with pytest.raises(ConfigError, match=r"^space\.model\.whole\.low: must be an integer, as its target is; got 1\.5"):
        type_of("model.whole", 1.5, 3, {"model": {"class_path": "foreign.Numbers"}})
