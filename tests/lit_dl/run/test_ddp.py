"""One run on two devices: two processes over gloo, started as a sweep starts them, against one process."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ddp_runs import Result, result
from forked import Forked
from paths import SUPPORT
from torch.distributed.utils import _recursive_to

from lit_dl.cli.command import command
from lit_dl.cli.lit_cli import build_run
from lit_dl.config.overlay import overlay
from lit_dl.config.yaml_io import dump_yaml
from lit_dl.data.batches import Batches, Minibatches, Scale
from lit_dl.errors import ConfigError
from lit_dl.modules.classifier import Classifier

Config = dict[str, Any]
MakeConfig = Callable[..., Config]

# Largest relative difference in the norm of a parameter, a step's gradient or a metric. Measured over five epochs of
# nearly all that is below: 5e-7 in float32, and 1e-14 in float64, which shows that rounding is all there is to it. In
# float32 without ReLU, whose units may be rounded to the other side of zero: what follows differs then, on MNIST by
# percents after an epoch, on one device as well when the rows of its batches change places.
TOLERANCE = {"32-true": 1e-5, "64-true": 1e-12}
EPOCHS = 2

# 230 samples: in batches of 13 the shares are 7 and 6, and of the last batch, of 9, they are 5 and 4.
UNEVEN = {"data.batch_size": 13, "model.network.width": [16, 16]}
BATCH_NORM = {"model.network.norm": "before", "model.network.width": [16, 16]}
ALIKE: dict[str, Config] = {
    "sgd": {},
    "momentum": {"model.optimizer.name": "momentum", **UNEVEN},
    "adam": {"model.optimizer.name": "adam", "model.optimizer.lr": 0.01, **UNEVEN},
    "adam, automatic": {"model.optimizer.name": "adam", "model.steps_per_execution": 1, **UNEVEN},
    "weight decay": {"model.optimizer.name": "adamw", "model.optimizer.weight_decay": 0.1, **UNEVEN},
    "l1 and l2": {"model.regularization.l1": 0.001, "model.regularization.l2": 0.01, **UNEVEN},
    "textbook": {"model.regularization.form": "textbook", "model.regularization.l2": 0.3, **UNEVEN},
    "activity": {"model.regularization.activity_l1": 0.01, "model.regularization.activity_l2": 0.01, **UNEVEN},
    "max norm": {"model.regularization.max_norm": 0.5, **UNEVEN},
    "clipping": {"trainer.gradient_clip_val": 0.3, **UNEVEN},
    "accumulation": {"trainer.accumulate_grad_batches": 5, "trainer.gradient_clip_val": 0.3, **UNEVEN},
    "accumulation, automatic": {
        "trainer.accumulate_grad_batches": 5,
        "trainer.gradient_clip_val": 0.3,
        "model.steps_per_execution": 1,
        **UNEVEN,
    },
    "schedule": {"model.schedule.name": "one_cycle", **UNEVEN},
    "drop last": {"data.drop_last": True, **UNEVEN},
    "augmentation": {
        "data.augment": [
            {"class_path": "torchvision.transforms.v2.RandomAffine", "init_args": {"degrees": 20, "shear": 5}},
            {"class_path": "torchvision.transforms.v2.GaussianNoise"},
            {"class_path": "torchvision.transforms.v2.ColorJitter", "init_args": {"brightness": 0.3}},
        ],
        **UNEVEN,
    },
    "validation within an epoch": {"trainer.val_check_interval": 5, **UNEVEN},
    "dropout": {"model.network.dropout": 0.3, "model.network.input_noise": 0.1, **UNEVEN},
    "cnn": {"model.network.kind": "cnn", "data.batch_size": 13},
    "someone else's data": {
        "data": {"class_path": "ddp_runs.Loaded"},
        "model.regularization.form": "textbook",
        "model.regularization.l2": 0.3,
    },
}
OTHERS: dict[str, Config] = {
    "batch norm": BATCH_NORM,
    "batch norm, automatic": {**BATCH_NORM, "model.steps_per_execution": 1},
}
CASES = [(name, "64-true") for name in ALIKE] + [(name, "32-true") for name in ("sgd", "momentum", "adam")]


def start(ranks: int, program: list[str], cwd: Path) -> None:
    """Runs a program once a rank, with torchrun's variables, and waits; output and errors go to files by rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    sizes = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "t", "GLOO_SOCKET_IFNAME": "lo"}
    processes = []
    for rank in map(str, range(ranks)):
        places = {"RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1"}
        words = [word.replace("RANK", rank) for word in program]
        processes.append(Forked(words, cwd, {**os.environ, **sizes, **group, **places}))
    try:
        codes = [process.wait(600) for process in processes]
    finally:
        for rank, process in enumerate(processes):
            process.kill()
            (cwd / f"out{rank}").write_text(process.stdout)
            (cwd / f"errors{rank}").write_text(process.stderr)
    assert codes == [0] * ranks, "\n".join((cwd / f"errors{rank}").read_text()[-2000:] for rank in range(ranks))


@pytest.fixture(scope="module")
def make(config: MakeConfig) -> Callable[..., Config]:
    """The config of a case on so many devices."""

    def make_case(name: str, precision: str, devices: int) -> Config:
        case = {**ALIKE, **OTHERS}[name]
        general = {"trainer.max_epochs": EPOCHS, "trainer.devices": devices, "trainer.precision": precision}
        if precision == "32-true":
            general["model.network.activation"] = "tanh"
        made = overlay(config(), {**general, **{key: value for key, value in case.items() if key != "data"}})
        if "data" in case:  # whose batch size is that of a device
            made["data"] = {**case["data"], "init_args": {"batch_size": 20 // devices}}
        return made

    return make_case


@pytest.fixture(scope="module")
def two(make: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Result]]:
    """What each of two ranks made of all cases, by case and precision."""
    folder = tmp_path_factory.mktemp("two")
    cases = [*CASES, *((name, "64-true") for name in OTHERS)]
    configs = {f"{name} {precision}": make(name, precision, 2) for name, precision in cases}
    (folder / "configs.json").write_text(json.dumps(configs))
    start(2, [str(SUPPORT / "ddp_runs.py"), "configs.json", "RANK.pt"], folder)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def largest_difference(ours: Result, theirs: Result) -> float:
    """Of gradients of every step, weights after every epoch, and metrics, relative to their size."""
    pairs = list(zip(ours["gradients"], theirs["gradients"], strict=True))
    named = [*ours["states"], *ours["rows"], ours["test"]]
    for mine, other in zip(named, [*theirs["states"], *theirs["rows"], theirs["test"]], strict=True):
        assert mine.keys() == other.keys()
        pairs += [(mine[name], other[name]) for name in mine]
    both = [[torch.as_tensor(value, dtype=torch.float64) for value in pair] for pair in pairs]
    return max(float((mine - other).norm() / other.norm()) for mine, other in both if other.any())


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_two_devices_learn_what_one_learns(
    make: Callable[..., Config], two: list[dict[str, Result]], name: str, precision: str
) -> None:
    one, both = result(make(name, precision, 1)), two[0][f"{name} {precision}"]
    assert largest_difference(both, one) < TOLERANCE[precision]
    assert len(both["gradients"]) == len(one["gradients"])


# What the processes have in common, and what not


def test_all_devices_have_the_same_gradients_weights_and_metrics(two: list[dict[str, Result]]) -> None:
    for first, second in zip(two[0].values(), two[1].values(), strict=True):
        assert first["rows"] == second["rows"]
        assert first["test"] == second["test"]
        assert all(
            map(torch.equal, first["gradients"], second["gradients"])
        )  # of every step, several in a `training_step`
        for mine, other in zip(first["states"], second["states"], strict=True):
            assert all(
                torch.equal(mine[name], other[name]) for name in mine
            )  # running statistics of batch norm as well


def test_steps_per_execution_changes_no_digit_of_batch_norm(two: list[dict[str, Result]]) -> None:
    """DDP broadcasts running statistics before every step of automatic optimization; ours go before a validation."""
    several, automatic = (two[0][f"{name} 64-true"] for name in ("batch norm", "batch norm, automatic"))
    assert several["rows"] == automatic["rows"]
    for mine, other in zip(several["states"], automatic["states"], strict=True):
        assert all(torch.equal(mine[name], other[name]) for name in mine)


def test_the_generators_of_each_device_are_its_own_and_those_of_the_first_are_as_on_one_device(
    make: Callable[..., Config], two: list[dict[str, Result]]
) -> None:
    first, second = (results["dropout 64-true"]["numbers"] for results in two)
    assert first == result(make("dropout", "64-true", 1))["numbers"]
    assert len({*first, *second}) == 2 * EPOCHS


def test_a_gpu_is_handed_minibatches_as_they_are() -> None:
    """DistributedDataParallel moves what it is given to its GPU, and rebuilds lists and tuples."""
    order = {"order": lambda: torch.arange(12), "rows": 12, "batch_size": 4, "steps": 2}
    item = next(iter(Batches(torch.zeros(12, 3), torch.arange(12), scale=Scale(), **order)))  # type: ignore[arg-type]
    moved = _recursive_to(item, torch.device("meta"), False)[0]
    assert isinstance(moved, Minibatches)
    assert [inputs.device.type for inputs, _ in moved.batches] == ["meta", "meta"]


# What cannot be shared

REFUSED: dict[str, tuple[Config, str]] = {
    "a batch smaller than the devices are many": (
        {"data.batch_size": 2},
        "data.batch_size: must leave no batch with fewer samples than the 3 devices, of 230; got 2; choose more",
    ),
    "a last batch": (
        {"data.batch_size": 19},
        "data.batch_size: must leave no batch with fewer samples than the 3 devices, of 230; got 19; "
        "choose another, or set data.drop_last",
    ),
    "one sample for batch norm": (
        {"data.batch_size": 5, "model.network.norm": "before"},
        "data.batch_size: must leave no batch of one sample on one of 3 devices, which batch norm cannot normalize, "
        "of 230; got 5; choose 6 or more",
    ),
    "a validation split smaller than the devices are many": (
        {"data.validation": 2, "data.batch_size": 251},
        "data.validation: must hold out a sample for each of 3 devices, or more; leaves 2",
    ),
    "a loss that is no mean": (
        {"model.loss": "rmse"},
        "model.loss: must not be rmse on 3 devices, whose roots do not add up to that of a batch; take mse, "
        "which is least where rmse is",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_devices_cannot_share_is_refused_before_anything_starts(config: MakeConfig, name: str) -> None:
    case, message = REFUSED[name]
    build_run(overlay(config(), case)).check()
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        build_run(overlay(config(), {"trainer.devices": 3, **case})).check()


@pytest.mark.parametrize("case", [{"data.batch_size": 19, "data.drop_last": True}, {"data.batch_size": 5}])
def test_what_they_can_share_is_not(config: MakeConfig, case: Config) -> None:
    build_run(overlay(config(), {"trainer.devices": 3, **case})).check()


# The command line


@pytest.fixture
def config_file(config: MakeConfig, tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(dump_yaml(overlay(config(), {"trainer.devices": 2, "trainer.strategy": "ddp"})))
    return path


def looked_after(folder: Path, printed: str) -> None:
    """One run folder, with everything once, and its rows printed once."""
    (config,) = folder.rglob("config.yaml")
    assert len((config.parent / "metrics.csv").read_text().splitlines()) == 3
    assert {path.name for path in (config.parent / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    first = [line.split()[0] for line in printed.splitlines()]
    assert first == ["run", "1,210", "epoch", "epoch", "max_epochs", "best", "best"]
    Classifier.load_from_checkpoint(config.parent / "checkpoints" / "best.ckpt")


def test_the_command_starts_the_other_process_itself(config_file: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "lit_dl", "fit", "--config", str(config_file)]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    looked_after(tmp_path / "runs", done.stdout)
    assert len(list((tmp_path / "runs" / "fit").iterdir())) == 1  # though a folder is named after the time


def test_processes_that_are_started_from_outside_make_one_run(config_file: Path, tmp_path: Path) -> None:
    start(2, ["-m", "lit_dl", "fit", "--config", str(config_file), "--run_dir", "here"], tmp_path)
    looked_after(tmp_path / "here", (tmp_path / "out0").read_text())
    assert (tmp_path / "out1").read_text() == ""


def test_predictions_are_made_by_one_device(config_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"^trainer.devices: must be 1 to predict; got 2$"):
        command(["predict", "--config", str(config_file)])
