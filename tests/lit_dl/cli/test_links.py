"""Links: keys of a run config that take the value of another key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lit_dl.cli.command import command
from lit_dl.cli.lit_cli import build_run, parse_config
from lit_dl.config.keys import normalize
from lit_dl.config.overlay import merge
from lit_dl.config.yaml_io import dump_yaml, load_yaml
from lit_dl.errors import ConfigError

Config = dict[str, Any]


def linked(link: Any, **model: Any) -> Config:
    return {
        "model": {"class_path": "nested.Sized", "init_args": model},
        "data": {"class_path": "nested.Validated", "init_args": {"width": 5}},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        "tracking": {"wandb": "disabled"},
        "link": link,
    }


@pytest.mark.parametrize(
    ("link", "width", "rows", "factor"),
    [
        ({"data.width": "model.width"}, 5, 1, 3),
        ({"data.width": "model.init_args.width"}, 5, 1, 3),
        ({"data": {"width": "model.width"}}, 5, 1, 3),
        ({"data.width": ["model.width", "model.rows"]}, 5, 5, 3),
        ({"data.count": "model.width", "data.width": "model.net.factor"}, 2, 1, 5),
        ({"data.count": "model.width", "data.width": "model.net.init_args.factor"}, 2, 1, 5),
        ({"model.net.factor": "model.width"}, 3, 1, 3),
        ({"trainer.max_epochs": "model.width"}, 1, 1, 3),
        ({"data.columns": "model.width"}, 5, 1, 3),
        ({"data.columns": ["model.width", "model.net.init_args.factor"]}, 5, 1, 5),
    ],
)
def test_a_target_has_the_value_of_its_source(link: Config, width: int, rows: int, factor: int) -> None:
    module = build_run(linked(link)).module
    assert (module.width, module.rows, module.net.factor) == (width, rows, factor)


@pytest.mark.parametrize("target", ["model.width", "model.net.factor"])
def test_a_complete_config_holds_the_link_in_place_of_the_target(target: str) -> None:
    given = linked({"data.width": target}, **({} if target == "model.width" else {"width": 2}))
    complete = parse_config(given)
    assert complete["link"] == {"data.width": target}
    assert parse_config(complete) == complete
    assert "width" not in complete["model"]["init_args"] or target != "model.width"
    changed = merge(normalize(complete), {"data": {"width": 7}})
    assert build_run(changed).module.width == (7 if target == "model.width" else 2)


def test_a_config_without_links_does_not_speak_of_them() -> None:
    assert "link" not in parse_config({})


@pytest.mark.parametrize(
    ("link", "model", "message"),
    [
        ({"data.wdth": "model.width"}, {}, "link.data.wdth: no such key; did you mean 'data.width'?"),
        ({"data.width": "model.widht"}, {},
         "link.data.width: must name a key that can be set; model.widht: no such key; did you mean 'model.width'?"),
        ({"data.width": "model.width"}, {"width": 3},
         "model.width: must be left out, because link sets it to data.width; got 3"),
        ({"data.width": "model.net.factor"}, {"net": {"class_path": "nested.Wide", "init_args": {"factor": 3}}},
         "model.net.init_args.factor: must be left out, because link sets it to data.width; got 3"),
        ({"data.width": "model.width", "model.width": "model.rows"}, {},
         "link.model.width: must not be the target of another link; data.width sets it"),
        ({"data.width": "model.width", "data.count": "model.width"}, {},
         "link.data.count: must not set model.width, which data.width sets"),
        ({"model.net.factor": "model.width"}, {"net": "nested.Deep"},
         "link.model.net.factor: must be a key of this config, to set model.width; it is not there"),
        ({"data.width": 3}, {}, "link.data.width: must be a dotted key, or a list of them; got 3"),
        ([1], {}, "link: must be a mapping of keys to the keys that take their value; got [1]"),
    ],
)  # fmt: skip
def test_links_that_cannot_be(link: Any, model: Config, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(linked(link, **model))
    assert str(caught.value) == message


@pytest.mark.parametrize("source", ["data.width", "data.columns"])
def test_an_option_that_sets_the_source_sets_the_target_and_the_run_can_be_repeated(
    tmp_path: Path, source: str
) -> None:
    (tmp_path / "run.yaml").write_text(dump_yaml(linked({source: "model.width"})))
    command(["fit", "-c", str(tmp_path / "run.yaml"), "--data.width=4", "--run_dir", str(tmp_path / "a")])
    command(["fit", "-c", str(tmp_path / "a" / "config.yaml"), "--run_dir", str(tmp_path / "b")])
    saved = load_yaml(tmp_path / "b" / "config.yaml")
    assert saved == load_yaml(tmp_path / "a" / "config.yaml")
    assert (saved["data"]["init_args"]["width"], saved["link"]) == (4, {source: "model.width"})


def test_a_link_on_the_command_line(tmp_path: Path) -> None:
    config = linked(None)
    del config["link"]
    (tmp_path / "run.yaml").write_text(dump_yaml(config))
    command(
        ["fit", "-c", str(tmp_path / "run.yaml"), "--link.data.width=model.width", "--run_dir", str(tmp_path / "a")]
    )
    assert "width" not in load_yaml(tmp_path / "a" / "config.yaml")["model"]["init_args"]


def test_a_linked_option_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(dump_yaml(linked({"data.width": "model.width"})))
    with pytest.raises(ConfigError, match=r"model\.width.* must be given via .*data\.width"):
        command(["fit", "-c", str(tmp_path / "run.yaml"), "--model.width=4"])
