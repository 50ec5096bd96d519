"""The one check of options, and that every option of every table is a key of its config."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from inspect import signature
from typing import Any, get_args, get_type_hints

import pytest

from lit_dl.errors import ConfigError
from lit_dl.modules.supervised import SupervisedModule
from lit_dl.nn.activations import ACTIVATIONS
from lit_dl.nn.losses import LOSSES
from lit_dl.nn.network_config import NetworkConfig
from lit_dl.nn.networks import NETWORKS
from lit_dl.nn.norms import NORMS
from lit_dl.optim.optimizers import OPTIMIZERS, OptimizerConfig
from lit_dl.optim.schedules import SCHEDULES, ScheduleConfig
from lit_dl.options import (
    FRACTION,
    NON_NEGATIVE,
    POSITIVE,
    Option,
    Range,
    Technique,
    at_least,
    given_options,
    option_names,
    resolve_options,
)


@dataclass(frozen=True)
class Row:
    source: str = ""
    options: Mapping[str, Option] = field(default_factory=dict)


TABLE = {
    "plain": Row(),
    "one": Row(options={"rate": Option(0.5, FRACTION)}),
    "two": Row(options={"size": Option(3, at_least(2), keras=4), "rate": Option(0.25, FRACTION)}),
}


@pytest.mark.parametrize(
    ("valid", "inside", "outside"),
    [
        (POSITIVE, [5e-324, 1.0, 1e308], [0.0, -1.0, math.inf, math.nan]),
        (NON_NEGATIVE, [0.0, 1e308], [-5e-324, math.inf, math.nan]),
        (FRACTION, [0.0, 0.999], [1.0, -0.1, math.nan]),
        (at_least(2), [2, 3], [1, 1.9, math.nan]),
    ],
    ids=["positive", "non-negative", "fraction", "at least 2"],
)
def test_ranges(valid: Range, inside: list[float], outside: list[float]) -> None:
    for value in inside:
        valid.check("key", value)
    for value in outside:
        with pytest.raises(ConfigError) as caught:
            valid.check("key", value)
        assert str(caught.value) == f"key: must be {valid.text}; got {value!r}"


@pytest.mark.parametrize(
    ("name", "given", "keras", "expected"),
    [
        ("plain", {}, False, {}),
        ("plain", {"rate": None}, False, {}),
        ("one", {}, True, {"rate": 0.5}),
        ("two", {"rate": 0.0}, False, {"size": 3, "rate": 0.0}),
        ("two", {}, True, {"size": 4, "rate": 0.25}),
        ("two", {"size": 3}, True, {"size": 3, "rate": 0.25}),
    ],
)
def test_options_are_given_or_by_default(
    name: str, given: dict[str, float | None], keras: bool, expected: dict[str, float]
) -> None:
    assert resolve_options(TABLE, "kind", name, given, keras) == expected


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("oen", {}, "kind: 'oen' is not one of plain, one, two; did you mean 'one'?"),
        ("plain", {"rate": 0.1}, "rate: 0.1 does not apply to kind='plain', but to one, two; set it to null"),
        ("one", {"size": 2}, "size: 2 does not apply to kind='one', but to two; set it to null"),
        ("two", {"size": 1}, "size: must be 2 or more; got 1"),
    ],
)
def test_what_cannot_be_used_is_refused_by_key(name: str, given: dict[str, float | None], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_options(TABLE, "kind", name, given)
    assert str(caught.value) == message


def test_a_config_gives_the_options_of_a_table() -> None:
    @dataclass
    class Config:
        rate: float | None = 0.1
        size: int | None = None
        other: str = "x"

    assert option_names(TABLE) == ["rate", "size"]
    assert given_options(TABLE, Config()) == {"rate": 0.1, "size": None}


# The tables


TABLES: dict[str, tuple[Mapping[str, Technique], set[str]]] = {
    "activations": (ACTIVATIONS, {field.name for field in fields(NetworkConfig)}),
    "norms": (NORMS, {field.name for field in fields(NetworkConfig)}),
    "losses": (LOSSES, set(signature(SupervisedModule.__init__).parameters)),
    "optimizers": (OPTIMIZERS, {field.name for field in fields(OptimizerConfig)}),
    "schedules": (SCHEDULES, {field.name for field in fields(ScheduleConfig)}),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_option_is_a_key_of_its_config(name: str) -> None:
    table, keys = TABLES[name]
    missing = [option for option in option_names(table) if option not in keys]
    assert not missing, f"add a field for {missing}, with its range and the meaning of `None`, to the config"


@pytest.mark.parametrize("name", TABLES)
def test_every_default_is_in_its_range_and_every_row_has_a_source(name: str) -> None:
    for row in TABLES[name][0].values():
        assert row.source
        for key, option in row.options.items():
            option.range.check(key, option.default)
            option.range.check(key, option.default if option.keras is None else option.keras)


@pytest.mark.parametrize(("key", "table"), [("kind", NETWORKS), ("norm_type", NORMS)])
def test_the_annotation_of_a_key_names_every_row(key: str, table: Mapping[str, Any]) -> None:
    annotated = get_args(get_type_hints(NetworkConfig)[key])
    assert annotated == tuple(table), f"give NetworkConfig.{key} the names of the table"
