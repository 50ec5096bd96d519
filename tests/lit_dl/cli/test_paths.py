"""Paths with `~` and `$HOME` in configs and options mean what they mean in a shell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from foreign import Scripted
from lightning.pytorch import LightningModule

from lit_dl.cli.command import command
from lit_dl.cli.lit_cli import build_run
from lit_dl.config.yaml_io import dump_yaml, load_yaml
from lit_dl.files import expand_path

MakeConfig = Callable[..., dict[str, Any]]


class Reader(Scripted):
    """Takes paths in all forms."""

    def __init__(self, folder: str, files: list[Path], by_name: dict[str, str], label: str = "$loss$") -> None:
        LightningModule.__init__(self)
        self.paths = [folder, *files, *by_name.values()]
        self.label = label


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DATA", "/data")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("~/a", "{home}/a"),
        ("~", "{home}"),
        ("$HOME/a", "{home}/a"),
        ("${HOME}/a", "{home}/a"),
        ("$DATA/$DATA", "/data//data"),
        ("$NOWHERE/a", "$NOWHERE/a"),
        ("a/~/$HOME", "a/~/$HOME"),
        ("~a", "~a"),
        ("$loss$", "$loss$"),
        ("", ""),
    ],
)
def test_a_path_is_expanded_at_its_beginning_only(text: str, path: str, home: Path) -> None:
    assert expand_path(text) == path.format(home=home)


def test_modules_of_others_get_paths_as_a_shell_would_pass_them(home: Path) -> None:
    arguments = {"folder": "~/data", "files": ["$DATA/a", "b"], "by_name": {"c": "${HOME}/c"}}
    run = build_run({"model": {"class_path": "test_paths.Reader", "init_args": arguments}})
    module = run.module
    assert isinstance(module, Reader)
    assert module.paths == [f"{home}/data", Path("/data/a"), Path("b"), f"{home}/c"]
    assert module.label == "$loss$"
    assert run.config["model"]["init_args"]["folder"] == "~/data"  # a config that is saved is for everybody


def test_fit_takes_such_paths_in_a_config_and_in_options(config: MakeConfig, home: Path) -> None:
    given = config()
    (home / "link").symlink_to(given["data"]["data_dir"])
    given["data"]["data_dir"] = "$HOME/link"
    given["trainer"]["default_root_dir"] = "~/root"
    (home / "run.yaml").write_text(dump_yaml(given))
    command(["fit", "--config=~/run.yaml", "--run_dir=~/out", "--trainer.max_epochs=1"])
    assert (home / "out" / "metrics.csv").is_file()
    assert load_yaml(home / "out" / "config.yaml")["data"]["data_dir"] == "$HOME/link"
    command(["validate", "--config=~/out/config.yaml", "--ckpt_path=~/out/checkpoints/best.ckpt"])
