from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from paths import SUPPORT

from lit_dl.cli.command import command
from lit_dl.cli.lit_cli import build_run, parse_config
from lit_dl.config.classes import import_class
from lit_dl.config.yaml_io import dump_yaml, load_yaml
from lit_dl.errors import ConfigError, LitError
from lit_dl.modules.classifier import Classifier

Config = dict[str, Any]
MakeConfig = Callable[..., Config]


@pytest.fixture
def config_file(config: MakeConfig, tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(dump_yaml(config()))
    return path


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def refused(*argv: str | Path) -> str:
    with pytest.raises(LitError) as caught:
        command([str(word) for word in argv])
    assert list(Path.cwd().iterdir()) == []  # nothing was started
    return str(caught.value)


# What a command does


def test_fit_fills_the_run_folder_and_says_what_came_out(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "out"
    command(["fit", "-c", str(config_file), "--run_dir", str(run_dir), "--trainer.max_epochs=3"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"run folder {run_dir}"
    assert [line.split()[:2] for line in lines[1:4]] == [["epoch", "1"], ["epoch", "2"], ["epoch", "3"]]
    assert re.match(r"max_epochs after 3 epochs, \d+\.\d s$", lines[4])
    assert re.match(r"best epoch \d: .*train/acc \d.*val/loss \d", lines[5])
    assert lines[6] == f"best checkpoint {run_dir}/checkpoints/best.ckpt"
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


# What is refused


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
        ("model: {network: {kind: cn}}", "model.network.kind: 'cn' is not one of mlp, cnn; did you mean 'cnn'?"),
        ("model: {network: 3}", "model.network: must be a mapping of keys to values; got 3"),
        ("model: {network: {depth: -1}}", "model.network.depth: must be 0 or more; got -1"),
        ("data: {batch_size: 500}", "data.batch_size: must be at most the training split of 230; got 500"),
        ("model: {class_path: no_such.Module}", "model.class_path: 'no_such.Module' cannot be imported ("),
        ("model: {class_path: foreign.Ones}", "model.class_path: must be a LightningModule; 'foreign.Ones' is not"),
        ("data: {class_path: Ones}", "data.class_path: must be an import path, package.module.Class; got 'Ones'"),
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


# Configs without a command line


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


# The command as a process


def process(*argv: str) -> list[str]:
    return [sys.executable, "-m", "lit_dl", *argv]


def test_the_command_runs_and_exits_with_0_and_bad_input_with_2_and_no_traceback(
    config_file: Path, tmp_path: Path
) -> None:
    fit = ("fit", "-c", str(config_file), "--run_dir", str(tmp_path / "out"))
    commands = [process(*fit), process(*fit[:-1], str(tmp_path / "other"), "--model.netwrk.depth=3")]
    started = [subprocess.Popen(c, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for c in commands]
    (out, err), (_, refusal) = (one.communicate(timeout=120) for one in started)
    assert (started[0].returncode, err) == (0, "")
    assert "max_epochs after 2 epochs" in out
    assert started[1].returncode == 2
    assert refusal == "model.netwrk.depth: no such key; did you mean 'model.network.depth'?\n"
    assert not (tmp_path / "other").exists()


def test_an_interrupted_fit_exits_with_130(config: MakeConfig, tmp_path: Path) -> None:
    path = tmp_path / "long.yaml"
    path.write_text(dump_yaml(config(trainer__max_epochs=1_000_000, early_stopping__patience=None)))
    command_line = process("fit", "-c", str(path), "--run_dir", str(tmp_path / "out"))
    with subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        while not started.stdout.readline().startswith("epoch"):
            assert started.poll() is None
        started.send_signal(signal.SIGINT)
        _, err = started.communicate(timeout=60)
    assert "Traceback" not in err
    assert started.returncode == 130


def test_a_module_in_the_current_folder_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "here" / "mine_here.py").write_text("from foreign import Scripted as Mine\n")
    (tmp_path / "mine.yaml").write_text("model: {class_path: mine_here.Mine, figures: [1]}\n")
    argv = [str(Path(sys.executable).with_name("lit-dl")), "fit", "-c", str(tmp_path / "mine.yaml")]
    argv += ["--trainer.max_epochs=1", "--tracking.wandb=disabled", "--run_dir", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path / "here", env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "score 1.0000" in done.stdout
