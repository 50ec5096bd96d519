from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonargparse import ArgumentParser

from lit_dl.config.keys import check_keys, class_paths, flatten, get_key, lightning_form, normal_key, normalize
from lit_dl.config.parser_errors import to_config_error
from lit_dl.config.yaml_io import as_json, dump_yaml, load_yaml, parse_yaml
from lit_dl.errors import ConfigError

FOREIGN = {"class_path": "mine.Net", "init_args": {"hidden": 3, "inner": {"a": 1}}}

# Reading and writing YAML


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1E5", 1e5),
        ("-2e3", -2000.0),
        (".5e1", 5.0),
        ("1.5e-3", 0.0015),
        ("1_000e0", 1000.0),
        ("1.0", 1.0),
        ("3", 3),
        ("e5", "e5"),
        ("1e5x", "1e5x"),
        ("'1e-5'", "1e-5"),
        ("null", None),
        ("[1e-2, a]", [0.01, "a"]),
    ],
)
def test_numbers_with_an_exponent_are_floats(text: str, value: object) -> None:
    parsed = parse_yaml(text, "here")
    assert parsed == value
    assert type(parsed) is type(value)


def test_a_yaml_error_names_file_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("model:\n  network: {width: [300, 100}\n")
    with pytest.raises(ConfigError) as caught:
        load_yaml(path)
    assert str(caught.value).startswith(f"{path}, line 2, column 29: must be YAML; ")


def test_a_key_twice_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml("data:\n  batch_size: 1\n  batch_size: 2\n", "run.yaml")
    assert str(caught.value) == "run.yaml, line 3, column 3: must be YAML; key 'batch_size' stands here twice"


def test_an_anchor_merged_in_is_no_key_twice() -> None:
    text = "a: &a {lr: 1, name: x}\nb:\n  <<: *a\n  lr: 2\n"
    assert parse_yaml(text, "here")["b"] == {"lr": 2, "name": "x"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[1, 2]", "must be a mapping of keys to values; got a list"),
        ("", "must be a mapping of keys to values; it holds nothing"),
        ("x", "must be a mapping of keys to values; got a str"),
        ("{1: 2}", "must have texts as keys; got 1"),
    ],
)
def test_a_config_file_holds_a_mapping(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_yaml(path)
    assert str(caught.value) == f"{path}: {problem}"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.yaml", tmp_path, binary):
        with pytest.raises(ConfigError) as caught:
            load_yaml(path)
        assert str(caught.value).startswith(f"{path}: must be a readable YAML file; ")


def test_unhashable_keys_are_an_error_of_ours() -> None:
    with pytest.raises(ConfigError, match=r"^here"):
        parse_yaml("? [1, 2]\n: 3\n", "here")


@pytest.mark.parametrize("value", [1e-5, 1e22, 0.1, 1 / 3, 1e-300, 5, True, None, "1e-5", "null", [[300, 100], [64]]])
def test_what_is_written_reads_back_the_same(value: object) -> None:
    config = {"b": value, "a": {"c": value}}
    for text in (dump_yaml(config), as_json(config)):
        back = parse_yaml(text, "here")
        assert back == config
        assert list(back) == ["b", "a"]
        assert type(back["b"]) is type(value)


def test_json_is_one_line() -> None:
    assert "\n" not in as_json({"a": "x\ny", "b": [1]})
    assert json.loads(as_json({"a": "x\ny"})) == {"a": "x\ny"}


# The normal form


def test_the_normal_form_has_the_arguments_below_the_group() -> None:
    config = {"model": FOREIGN, "data": "mine.Data", "trainer": {"max_epochs": 1}}
    assert normalize(config) == {
        "model": {"class_path": "mine.Net", "hidden": 3, "inner": {"a": 1}},
        "data": {"class_path": "mine.Data"},
        "trainer": {"max_epochs": 1},
    }


def test_an_optimizer_by_class_path_is_an_optimizer_by_name() -> None:
    given = {"model": {"optimizer": {"class_path": "torch.optim.RAdam", "init_args": {"lr": 0.1}}}}
    assert normalize(given)["model"]["optimizer"] == {"name": "torch.optim.RAdam", "init_args": {"lr": 0.1}}


def test_lightning_form_and_normal_form_are_inverse() -> None:
    theirs = {"model": FOREIGN, "data": {"class_path": "mine.Data", "init_args": {"n": 2}}, "seed_everything": 1}
    assert lightning_form(normalize(theirs)) == theirs
    assert normalize(lightning_form(normalize(theirs))) == normalize(theirs)


def test_lightning_form_leaves_out_the_paths_of_our_own_classes() -> None:
    config = {"model": {"class_path": "lit_dl.Classifier", "loss": "hinge"}, "data": {"batch_size": 5}}
    assert lightning_form(config) == {"model": {"loss": "hinge"}, "data": {"batch_size": 5}}


@pytest.mark.parametrize("change", [normalize, lightning_form])
def test_forms_are_copies(change: Any) -> None:
    config = {"model": {"class_path": "mine.Net", "init_args": {"inner": {"a": 1}}, "optimizer": {"class_path": "x.Y"}}}
    before = json.dumps(config)
    change(config)["model"].setdefault("inner", {})["a"] = 2
    assert json.dumps(config) == before


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("model.init_args.hidden", "model.hidden"),
        ("data.init_args.n", "data.n"),
        ("model.optimizer.class_path", "model.optimizer.name"),
        ("model.optimizer.init_args.lr", "model.optimizer.init_args.lr"),
        ("trainer.init_args.x", "trainer.init_args.x"),
    ],
)
def test_normal_keys(key: str, expected: str) -> None:
    assert normal_key(key) == expected


@pytest.mark.parametrize(
    ("config", "paths"),
    [
        ({}, ("lit_dl.Classifier", "lit_dl.MNISTDataModule")),
        ({"model": {"class_path": "mine.Net"}}, ("mine.Net", None)),
        ({"model": {"class_path": "mine.Net"}, "data": {}}, ("mine.Net", "lit_dl.MNISTDataModule")),
        ({"data": {"class_path": "mine.Data"}}, ("lit_dl.Classifier", "mine.Data")),
    ],
)
def test_class_paths(config: dict[str, Any], paths: tuple[str, str | None]) -> None:
    assert class_paths(config) == paths


def test_a_group_that_is_no_mapping() -> None:
    with pytest.raises(ConfigError, match=r"^model: must be a mapping of keys to values; got \[1\]$"):
        class_paths({"model": [1]})


# Dotted keys


def test_leaves_and_get_key() -> None:
    config = {"a": {"b": 1, "c": {"d": [1, {"e": 2}]}, "empty": {}}, "f": None}
    assert dict(flatten(config)) == {"a.b": 1, "a.c.d": [1, {"e": 2}], "a.empty": {}, "f": None}
    assert get_key(config, "a.c.d") == [1, {"e": 2}]
    assert get_key(config, "a.x.y") is None
    assert get_key(config, "a.b.c") is None


# Errors that teach

KNOWN = ["model.network.depth", "model.network.width", "model.optimizer.lr", "data.batch_size", "seed_everything"]


def test_known_keys_pass() -> None:
    check_keys({"model": {"network": {"depth": 1}, "optimizer": {}}, "seed_everything": 3}, KNOWN)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model": {"network": {"dept": 1}}}, "model.network.dept: no such key; did you mean 'model.network.depth'?"),
        ({"modle": {"network": {"depth": 1}}}, "modle: no such key; did you mean 'model'?"),
        ({"data": {"batchsize": 1}}, "data.batchsize: no such key; did you mean 'data.batch_size'?"),
        ({"model": {"network": 3}}, "model.network: must be a mapping of keys to values; got 3"),
        ({"model": None}, "model: must be a mapping of keys to values; got None"),
        ({"zzz": 1}, "zzz: no such key; known here: data, model, seed_everything"),
    ],
)
def test_unknown_keys_are_named_with_the_nearest(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_keys(config, KNOWN)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (int, "x", "model.a: must be int; got x"),
        (float, "x", "model.a: must be float; got x"),
        (int | None, "x", "model.a: must be int or null; got x"),
        (list[int] | int, "x", "model.a: must be list[int] or int; got x"),
    ],
)
def test_a_type_error_of_jsonargparse_is_shaped_into_ours(kind: Any, value: str, message: str) -> None:
    from argparse import ArgumentError

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--model.a", type=kind)
    with pytest.raises(ArgumentError) as caught:
        parser.parse_object({"model": {"a": value}})
    assert str(to_config_error(caught.value.message)) == message


def test_a_yaml_float_is_what_jsonargparse_reads() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--a", type=float | str)
    for text in ("1e-5", "1E5", "-2e3", "1.5e-3", "e5", "3"):
        assert parser.parse_args([f"--a={text}"]).a == parse_yaml(text, "here")


def test_plain_yaml_would_read_a_text() -> None:
    """Why there is a loader of our own; when this fails it can go."""
    assert yaml.safe_load("1e-5") == "1e-5"
