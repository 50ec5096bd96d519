from __future__ import annotations

import pickle

import pytest

from lit_dl.errors import ConfigError, DataError, LitError, StorageError, key_prefix, suggest, unknown_name


@pytest.mark.parametrize("kind", [ConfigError, DataError, StorageError])
def test_every_error_is_a_lit_error(kind: type[Exception]) -> None:
    assert issubclass(kind, LitError)


def test_a_config_error_is_a_value_error_for_those_who_do_not_know_the_tree() -> None:
    assert issubclass(ConfigError, ValueError)
    assert not issubclass(DataError, ValueError)


def test_a_config_error_starts_with_its_key() -> None:
    assert str(ConfigError("model.network.depth", "must be 1 or more; got 0")) == (
        "model.network.depth: must be 1 or more; got 0"
    )
    assert str(ConfigError("", "must be a mapping")) == "must be a mapping"


def test_a_config_error_crosses_processes_whole() -> None:
    error = pickle.loads(pickle.dumps(ConfigError("a.b", "must be 1")))
    assert (type(error), str(error), error.key, error.problem) == (ConfigError, "a.b: must be 1", "a.b", "must be 1")


@pytest.mark.parametrize(
    ("name", "hint"), [("rleu", "; did you mean 'relu'?"), ("tahn", "; did you mean 'tanh'?"), ("xyzzy", "")]
)
def test_suggest_offers_the_nearest_name_or_none(name: str, hint: str) -> None:
    assert suggest(name, ["relu", "tanh"]) == hint


def test_unknown_name_lists_the_table_and_offers_the_nearest() -> None:
    error = unknown_name("model.network.activation", "rleu", ["relu", "tanh"])
    assert str(error) == "model.network.activation: 'rleu' is not one of relu, tanh; did you mean 'relu'?"


def test_unknown_name_takes_names_that_are_no_text() -> None:
    assert str(unknown_name("a", None, ["relu"])) == "a: None is not one of relu"


def test_under_puts_the_group_before_the_key() -> None:
    with (
        pytest.raises(ConfigError, match=r"^model\.network\.depth: must be 1$"),
        key_prefix("model"),
        key_prefix("network"),
    ):
        raise ConfigError("depth", "must be 1")
    with pytest.raises(ConfigError, match=r"^trainer: is wrong$"), key_prefix("trainer"):
        raise ConfigError("", "is wrong")


def test_under_leaves_other_errors_alone() -> None:
    with pytest.raises(DataError, match=r"^/a: missing$"), key_prefix("data"):
        raise DataError("/a: missing")
