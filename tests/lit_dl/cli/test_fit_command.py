"""What `lit-dl fit`, `test`, `validate` and `predict` do."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lit_dl.cli.command import command
from lit_dl.config.yaml_io import dump_yaml, load_yaml
from lit_dl.modules.classifier import Classifier

Config = dict[str, Any]
MakeConfig = Callable[..., Config]


def test_fit_fills_the_run_folder_and_says_what_came_out(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "out"
    command(["fit", "-c", str(config_file), "--run_dir", str(run_dir), "--trainer.max_epochs=3"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"run folder {run_dir}"
    assert lines[1] == "1,210 parameters"
    assert [line.split()[:2] for line in lines[2:5]] == [["epoch", "1"], ["epoch", "2"], ["epoch", "3"]]
    assert re.match(r"max_epochs after 3 epochs, \d+\.\d s$", lines[5])
    assert re.match(r"best epoch \d: .*train/acc \d.*val/loss \d", lines[6])
    assert lines[7] == f"best checkpoint {run_dir}/checkpoints/best.ckpt"
    assert load_yaml(run_dir / "config.yaml")["trainer"]["max_epochs"] == 3
    assert len((run_dir / "metrics.csv").read_text().splitlines()) == 4


def test_a_run_goes_to_a_folder_of_its_own_by_default(config_file: Path) -> None:
    command(["fit", "-c", str(config_file)])
    (folder,) = Path("runs/fit").iterdir()
    assert re.fullmatch(r"\d{8}-\d{6}", folder.name)
    assert (folder / "config.yaml").is_file()


def test_later_files_and_options_win(config_file: Path, tmp_path: Path) -> None:
    over = tmp_path / "over.yaml"
    over.write_text("model: {optimizer: {lr: 1e-3}, network: {depth: 1}}\ntrainer: {max_epochs: 7}\n")
    command(
        [
            "fit",
            "-c",
            str(config_file),
            f"--config={over}",
            "--trainer.max_epochs",
            "1",
            "--run_dir",
            str(tmp_path / "out"),
        ]
    )
    saved = load_yaml(tmp_path / "out" / "config.yaml")
    assert (saved["model"]["optimizer"]["lr"], saved["model"]["network"]["depth"]) == (1e-3, 1)
    assert (saved["trainer"]["max_epochs"], saved["model"]["network"]["width"]) == (1, [16])


def test_another_optimizer_in_a_later_file_drops_what_belonged_to_the_old_one(
    config: MakeConfig, tmp_path: Path
) -> None:
    base, over = tmp_path / "base.yaml", tmp_path / "over.yaml"
    settings = config(trainer__max_epochs=1)
    settings["model"]["optimizer"] = {"name": "momentum", "lr": 0.1, "momentum": 0.5}
    base.write_text(dump_yaml(settings))
    over.write_text("model: {optimizer: {name: adam}}\n")
    command(["fit", "-c", str(base), "-c", str(over), "--run_dir", str(tmp_path / "out")])
    optimizer = load_yaml(tmp_path / "out" / "config.yaml")["model"]["optimizer"]
    assert (optimizer["name"], optimizer["lr"], optimizer["momentum"]) == ("adam", None, None)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--model.optimizer.name", "adam"], {"name": "adam", "lr": None, "momentum": None}),
        (["--model.optimizer.name=momentum"], {"name": "momentum", "lr": 0.1, "momentum": 0.5}),
        (["--model.optimizer.momentum=0.3", "--model.optimizer.name", "rmsprop"], {"name": "rmsprop", "momentum": 0.3}),
        (["--model.network.activation=relu"], {"activation": "relu", "negative_slope": None}),
        (["--model.network.activation", "prelu"], {"activation": "prelu", "negative_slope": 0.2}),
    ],
)
def test_an_option_drops_what_a_file_chose_for_another(
    config: MakeConfig, tmp_path: Path, options: list[str], expected: Config
) -> None:
    path = tmp_path / "base.yaml"
    settings = config(
        trainer__max_epochs=1, model__network__activation="leaky_relu", model__network__negative_slope=0.2
    )
    settings["model"]["optimizer"] = {"name": "momentum", "lr": 0.1, "momentum": 0.5}
    path.write_text(dump_yaml(settings))
    command(["fit", "-c", str(path), *options, "--run_dir", str(tmp_path / "out")])
    model = load_yaml(tmp_path / "out" / "config.yaml")["model"]
    saved = {**model["network"], **model["optimizer"]}
    assert {key: saved[key] for key in expected} == expected


def test_an_option_keeps_what_a_file_says_of_the_default(config: MakeConfig, tmp_path: Path) -> None:
    """adam is what is meant where nothing is said, so that naming it changes nothing."""
    path = tmp_path / "base.yaml"
    settings = config(trainer__max_epochs=1)
    settings["model"]["optimizer"] = {"lr": 0.02}
    path.write_text(dump_yaml(settings))
    command(["fit", "-c", str(path), "--model.optimizer.name", "adam", "--run_dir", str(tmp_path / "out")])
    assert load_yaml(tmp_path / "out" / "config.yaml")["model"]["optimizer"]["lr"] == 0.02


def test_config_yaml_of_a_run_is_a_config_file(config_file: Path, tmp_path: Path) -> None:
    command(["fit", "-c", str(config_file), "--run_dir", str(tmp_path / "a")])
    command(["fit", "-c", str(tmp_path / "a" / "config.yaml"), "--run_dir", str(tmp_path / "b")])
    assert (tmp_path / "a" / "config.yaml").read_text() == (tmp_path / "b" / "config.yaml").read_text()
    rows = []
    for name in "ab":
        with (tmp_path / name / "metrics.csv").open(newline="") as file:
            rows.append([{k: v for k, v in row.items() if k != "elapsed_s"} for row in csv.DictReader(file)])
    assert rows[0] == rows[1]


@pytest.mark.filterwarnings("ignore:The dirpath has changed from")
def test_fit_goes_on_from_a_checkpoint(config_file: Path, tmp_path: Path) -> None:
    common = ["fit", "-c", str(config_file), "--checkpoint.monitor", "val/loss", "--run_dir"]
    command([*common, str(tmp_path / "whole"), "--trainer.max_epochs=3"])
    command([*common, str(tmp_path / "part"), "--trainer.max_epochs=2"])
    last = tmp_path / "part" / "checkpoints" / "last.ckpt"
    command([*common, str(tmp_path / "rest"), "--trainer.max_epochs=3", "--ckpt_path", str(last)])
    rows = {name: (tmp_path / name / "metrics.csv").read_text().splitlines() for name in ("whole", "rest")}
    assert len(rows["rest"]) == 2
    whole, rest = rows["whole"][-1].split(","), rows["rest"][-1].split(",")
    assert (rest[0], rest[2:]) == ("3", whole[2:])


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint need to be provided.*")
@pytest.mark.filterwarnings("ignore:.*Couldn't infer the batch indices.*")
def test_validate_test_and_predict_from_a_checkpoint_of_fit(
    config_file: Path, tmp_path: Path, digits_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lit_dl.data.idx import read_idx_pair

    command(["fit", "-c", str(config_file), "--run_dir", str(tmp_path / "out")])
    best = tmp_path / "out" / "checkpoints" / "best.ckpt"
    module = Classifier.load_from_checkpoint(best, weights_only=True).eval()
    images, labels = read_idx_pair(digits_dir, "t10k", False)
    with torch.no_grad():
        probability, label = module(images.float() / 255).softmax(1).max(1)
    capsys.readouterr()
    command(["test", "-c", str(config_file), "--ckpt_path", str(best)])
    assert f"{float((label == labels).double().mean()):.6f}"[:8] in capsys.readouterr().out
    command(["validate", "-c", str(config_file), "--ckpt_path", str(best)])
    assert "val/loss" in capsys.readouterr().out
    command(["predict", "-c", str(config_file), "--ckpt_path", str(best), "--run_dir", str(tmp_path / "p")])
    with (tmp_path / "p" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["sample"]) for row in rows] == list(range(45))
    assert [int(row["class"]) for row in rows] == label.tolist()
    assert [float(row["probability"]) for row in rows] == pytest.approx(probability.tolist(), abs=1e-6)


EVERY_GROUP = """
model:
  network: {activation: maxout, pieces: 3, norm: after, residual: true, input_noise: 0.1}
  optimizer: {name: muon, lr: 0.01}
  schedule: {name: plateau, warmup_epochs: 0.5, patience: 1}
  regularization: {l1: 1e-4, form: textbook, activity_l2: 0.01, max_norm: 2.0}
  loss: nll
  label_smoothing: 0.1
  defaults: keras
"""


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint need to be provided.*")
def test_a_checkpoint_brings_every_group_of_its_model(
    config_file: Path, tmp_path: Path, digits_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lit_dl.data.idx import read_idx_pair

    over = tmp_path / "over.yaml"
    over.write_text(EVERY_GROUP)
    command(["fit", "-c", str(config_file), "-c", str(over), "--run_dir", str(tmp_path / "out")])
    best = tmp_path / "out" / "checkpoints" / "best.ckpt"
    module = Classifier.load_from_checkpoint(best, weights_only=True).eval()
    images, labels = read_idx_pair(digits_dir, "t10k", False)
    with torch.no_grad():
        expected = float((module(images.float() / 255).argmax(1) == labels).double().mean())
    capsys.readouterr()
    # Without the second file: the checkpoint says what the model is.
    command(["test", "-c", str(config_file), "--ckpt_path", str(best)])
    found = re.search(r"test/acc\W+([\d.]+)", capsys.readouterr().out)
    assert found is not None
    assert float(found.group(1)) == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint need to be provided.*")
def test_a_regressor_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "line.yaml"
    path.write_text(
        "model: {class_path: lit_dl.Regressor, network: {depth: 0, input_shape: [2], outputs: 1}}\n"
        "data: {class_path: lit_dl.LinearRegressionDataModule, inputs: 2, samples: 100, batch_size: 20}\n"
        "trainer: {max_epochs: 30, accelerator: cpu}\ntracking: {wandb: disabled}\n"
    )
    options = ["--model.optimizer.name=sgd", "--model.optimizer.lr=0.2"]
    command(["fit", "-c", str(path), *options, "--run_dir", str(tmp_path / "out")])
    lines = capsys.readouterr().out.splitlines()
    numbers = [line.split()[-2:] for line in lines if line.startswith(("weight", "bias"))]
    assert len(numbers) == 3
    assert all(float(learned) == pytest.approx(float(true), abs=0.1) for true, learned in numbers)
    best = tmp_path / "out" / "checkpoints" / "best.ckpt"
    command(["test", "-c", str(path), "--ckpt_path", str(best)])
    assert "test/rmse" in capsys.readouterr().out


def test_a_foreign_module_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(
        ["fit", "--model", "foreign.Scripted", "--model.figures", "[3, 1, 2]", "--checkpoint.monitor", "score"]
        + ["--trainer.max_epochs", "3", "--trainer.accelerator", "cpu", "--tracking.wandb", "disabled"]
        + ["--run_dir", str(tmp_path / "out")]
    )
    assert "best epoch 2: score 1.0000" in capsys.readouterr().out
    saved = load_yaml(tmp_path / "out" / "config.yaml")["model"]
    assert saved == {"class_path": "foreign.Scripted", "init_args": {"figures": [3.0, 1.0, 2.0], "lr": 1.0}}


@pytest.mark.parametrize(
    "key",
    ["--model.network.depth", "--model.optimizer.lr", "--data.batch_size", "--early_stopping.patience", "--run_dir"],
)
def test_help_lists_the_keys_with_their_meaning(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command(["fit", "--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    meanings = {
        "--model.network.depth": "Hidden layers, 0 or more; 0 is a linear model. `None`: as many as `width` lists",
        "--model.optimizer.lr": "Learning rate, above 0.",
        "--data.batch_size": "Samples a batch, at least 1",
        "--early_stopping.patience": "Epochs without improvement before stopping",
        "--run_dir": "Folder for config, metrics, checkpoints.",
    }
    assert re.search(rf"{re.escape(key)} [A-Z_]+ {re.escape(meanings[key])}", text)


@pytest.mark.parametrize(
    ("name", "text"), [("fit", "full optimization"), ("test", "evaluation epoch over the test set")]
)
def test_help_describes_the_command(name: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command([name, "--help"])
    assert text in " ".join(capsys.readouterr().out.split())
