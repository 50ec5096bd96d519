"""What `lit-dl fit` refuses; `test_bad_run_input.py` has more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lit_dl.cli.command import command
from lit_dl.errors import LitError

Config = dict[str, Any]
MakeConfig = Callable[..., Config]


def refused(*argv: str | Path) -> str:
    with pytest.raises(LitError) as caught:
        command([str(word) for word in argv])
    assert list(Path.cwd().iterdir()) == []  # nothing was started
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("model: {network: {dept: 3}}", "model.network.dept: no such key; did you mean 'model.network.depth'?"),
        ("data: {batchsize: 3}", "data.batchsize: no such key; did you mean 'data.batch_size'?"),
        ("trainer: {max_epoch: 3}", "trainer.max_epoch: no such key; did you mean 'trainer.max_epochs'?"),
        ("early_stoping: {patience: 3}", "early_stoping: no such key; did you mean 'early_stopping'?"),
        ("model: {network: {depth: many}}", "model.network.depth: must be int or null; got many"),
        ("model: {optimizer: {lr: fast}}", "model.optimizer.lr: must be float or null; got fast"),
        ("data: {batch_size: 2.5}", "data.batch_size: must be int; got 2.5"),
        (
            "model: {network: {kind: cn}}",
            "model.network.kind: 'cn' is not one of mlp, cnn, backbone; did you mean 'cnn'?",
        ),
        ("model: {network: 3}", "model.network: must be a mapping of keys to values; got 3"),
        ("model: {network: {depth: -1}}", "model.network.depth: must be 0 or more; got -1"),
        ("data: {batch_size: 500}", "data.batch_size: must be at most the training split of 230; got 500"),
        ("model: {class_path: no_such.Module}", "model.class_path: 'no_such.Module' cannot be imported ("),
        (
            "model: {class_path: foreign.Ones}",
            "model.class_path: must be a LightningModule, or a function whose return annotation is one; ",
        ),
        ("data: {class_path: Ones}", "data.class_path: must be an import path, package.module.name; got 'Ones'"),
        ("tracking: {wandb: maybe}", "tracking.wandb: 'maybe' is not one of auto, offline, online, disabled"),
        ("model: {optimizer: {name: adma}}", "model.optimizer.name: 'adma' is not one of sgd, momentum"),
        ("model: {class_path: foreign.Bare, hiden: 2}", "model.hiden: no such key; did you mean 'model.hidden'?"),
        ("model: {class_path: foreign.Scripted}", "model.figures: must be given; it has no default"),
        ("model: {class_path: foreign.Plain, hidden: 2}", "model.hidden: no such key"),
    ],
)
def test_bad_values_in_a_file_are_refused_by_key(config_file: Path, tmp_path: Path, line: str, message: str) -> None:
    over = tmp_path / "over.yaml"
    over.write_text(line + "\n")
    assert refused("fit", "-c", config_file, "-c", over).startswith(message)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--model.network.dpeth=3", "model.network.dpeth: no such key; did you mean 'model.network.depth'?"),
        ("--model.network.depth=many", "model.network.depth: must be int or null; got many"),
        ("--modl.network.depth=3", "modl.network.depth: no such key; did you mean 'model.network.depth'?"),
        ("--model.network.dept=3", "model.network.dept: no such key; did you mean 'model.network.depth'?"),
        ("--threads=0", "threads: must be 1 or more, or null; got 0"),
        ("--early_stopping.patience=0", "early_stopping.patience: must be 1 or more, or null for none; got 0"),
        ("--ckpt_path=nowhere.ckpt", "ckpt_path: must be a checkpoint of Lightning's; nowhere.ckpt does not exist"),
        ("--run_dir=/proc/no_such_folder/run", "run_dir: must be a folder that can be written; /proc/no_such"),
    ],
)
def test_bad_options_are_refused_by_key(config_file: Path, option: str, message: str) -> None:
    assert refused("fit", "-c", config_file, option).startswith(message)


def test_a_folder_that_holds_a_run_is_refused(config_file: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.yaml").write_text("mine: 1\n")
    assert refused("fit", "-c", config_file, "--run_dir", tmp_path / "out") == (
        f"run_dir: must not hold a run yet; {tmp_path / 'out'} does; name another"
    )
    assert (tmp_path / "out" / "config.yaml").read_text() == "mine: 1\n"


def test_a_file_that_is_no_yaml_is_refused_with_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("model:\n  loss: [hinge\n")
    assert refused("fit", "-c", path).startswith(f"{path}, line 3, column 1: must be YAML; ")
    path.write_text("data: {batch_size: 3}\ndata: {batch_size: 4}\n")
    assert refused("fit", "-c", path) == f"{path}, line 2, column 1: must be YAML; key 'data' stands here twice"


def test_missing_files_and_subcommands(tmp_path: Path, config_file: Path) -> None:
    assert refused("fit", "-c", tmp_path / "none.yaml").startswith(f"{tmp_path / 'none.yaml'}: must be a readable YAML")
    assert "'fit', 'validate', 'test', 'predict'" in refused("fti", "-c", config_file)
    assert "fit,validate,test,predict" in refused()


def test_damaged_data_leaves_no_folder(config_file: Path, tmp_path: Path) -> None:
    message = refused("fit", "-c", config_file, "--data.data_dir", tmp_path / "none")
    assert message.startswith(f"{tmp_path / 'none' / 'train-images-idx3-ubyte'}: no such file")
