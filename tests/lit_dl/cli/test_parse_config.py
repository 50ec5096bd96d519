"""Run configs without a command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lit_dl.cli.lit_cli import build_run, parse_config
from lit_dl.config.classes import import_class
from lit_dl.config.yaml_io import dump_yaml, parse_yaml
from lit_dl.errors import ConfigError
from lit_dl.modules.classifier import Classifier

Config = dict[str, Any]
MakeConfig = Callable[..., Config]


def test_a_parsed_config_is_complete_and_parses_to_itself(config: MakeConfig) -> None:
    complete = parse_config(config())
    assert complete == parse_config(complete)
    assert complete["model"]["network"]["width"] == [16]
    assert complete["model"]["network"]["dropout"] == 0.0
    assert (complete["seed_everything"], complete["trainer"]["max_epochs"], complete["threads"]) == (0, 2, None)


def test_foreign_classes_come_back_with_their_paths() -> None:
    given = {
        "model": {"class_path": "foreign.Bare", "init_args": {"hidden": 5}},
        "data": {"class_path": "foreign.Ones"},
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}},
    }
    complete = parse_config(given)
    assert complete["model"] == {"class_path": "foreign.Bare", "init_args": {"hidden": 5, "name": "bare"}}
    assert complete["data"] == {"class_path": "foreign.Ones", "init_args": {"width": 3, "count": 2}}
    assert complete["optimizer"]["class_path"] == "torch.optim.SGD"
    assert complete == parse_config(complete)


def test_the_parser_of_one_class_knows_no_key_of_another() -> None:
    parse_config({"model": {"network": {"depth": 1}}})
    with pytest.raises(ConfigError, match=r"^model\.network: no such key"):
        parse_config({"model": {"class_path": "foreign.Bare", "network": {"depth": 1}}})


def test_build_run_leaves_the_given_config_alone(config: MakeConfig) -> None:
    given = config()
    before = dump_yaml(given)
    build_run(given)
    assert dump_yaml(given) == before


def test_import_class_refuses_what_is_no_class() -> None:
    with pytest.raises(ConfigError, match=r"^here: must be a Classifier; 'foreign\.not_a_class' is not$"):
        import_class("here", "foreign.not_a_class", Classifier)


def test_a_complete_config_holds_plain_values() -> None:
    """Enums by name, paths and durations as text, tuples as lists: what YAML writes."""
    given = {"class_path": "foreign.Typed", "init_args": {"parts": [1, "a", {"b": None}], "weights": {"x": 0.5}}}
    arguments = parse_config({"model": given})["model"]["init_args"]
    assert arguments == {
        "mode": "FAST",
        "folder": "a/b",
        "size": [3, 4],
        "wait": "0:01:30",
        "parts": [1, "a", {"b": None}],
        "weights": {"x": 0.5},
    }
    assert parse_yaml(dump_yaml(arguments), "here") == arguments


def test_a_config_with_a_list_of_classes_is_complete() -> None:
    callback = {"class_path": "lightning.pytorch.callbacks.LearningRateMonitor", "init_args": {"log_momentum": True}}
    complete = parse_config({"trainer": {"callbacks": [callback]}})
    (found,) = complete["trainer"]["callbacks"]
    assert found["class_path"] == callback["class_path"]
    assert found["init_args"]["log_momentum"] is True
    assert parse_config(complete) == complete


def test_a_parse_leaves_the_defaults_of_the_cached_parser_alone(config: MakeConfig) -> None:
    before = parse_config({})
    changed = parse_config(config(model__network__width=[3, 5]))
    changed["model"]["network"]["width"].append(7)
    changed["trainer"]["max_epochs"] = 99
    assert parse_config({}) == before
    assert before["model"]["network"]["width"] != [3, 5, 7]
