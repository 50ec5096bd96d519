"""YAML is read as jsonargparse reads it, and what is written reads back the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser

from lit_dl.config.yaml_io import dump_yaml, load_yaml, parse_yaml
from lit_dl.errors import ConfigError


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
    back = parse_yaml(dump_yaml(config), "here")
    assert back == config
    assert list(back) == ["b", "a"]
    assert type(back["b"]) is type(value)


def test_a_yaml_float_is_what_jsonargparse_reads() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--a", type=float | str)
    for text in ("1e-5", "1E5", "-2e3", "1.5e-3", "e5", "3"):
        assert parser.parse_args([f"--a={text}"]).a == parse_yaml(text, "here")


def test_plain_yaml_would_read_a_text() -> None:
    """Why there is a loader of our own; when this fails it can go."""
    assert yaml.safe_load("1e-5") == "1e-5"
