"""What all tests share: one thread, a clean environment, tiny IDX sets, and one way to make a run."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from idx_files import blobs, write_idx
from postgresql import Server
from services import postgresql_server

# torch and Lightning are imported where they are used: the process of pytest-xdist that hands out the tests, and runs
# none, need not spend 6 s on them.

Config = dict[str, Any]

# Files whose tests wait for processes the longest. They run first, so that no worker of
# pytest ends long after the others.
LONGEST_FILES = (
    "test_tracking_online.py",
    "test_engines_ray.py",
    "test_readme.py",
    "test_launch.py",
    "test_api.py",
    "test_faults.py",
    "test_study_on_postgresql.py",
    "test_bad_sweep_input.py",
    "test_claims_model.py",
    "test_worker.py",
    "test_ddp.py",
    "test_resume.py",
    "test_compilation.py",
    "test_ddp_group.py",
    "test_engines_local.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files of `LONGEST_FILES` first; pytest-xdist keeps the order with `--no-loadscope-reorder`."""
    places = {name: place for place, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _clean_environment() -> Iterator[None]:
    """No W&B or Lightning setting from outside, none left behind, nor a rank, a thread count or a generator state."""
    import torch
    from lightning.pytorch.utilities import rank_zero_only

    before = dict(os.environ)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    for name in before:
        if name.startswith(("WANDB_", "PL_")):
            del os.environ[name]
    yield
    os.environ.clear()
    os.environ.update(before)
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    torch.set_num_threads(1)
    rank_zero_only.rank = 0  # which a Trainer sets for the whole process


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server, shared by the tests of a process."""
    with postgresql_server() as started:
        yield started


@pytest.fixture
def write() -> Callable[..., None]:
    """`write(folder, part, images, labels, zipped=False)`."""
    return write_idx


@pytest.fixture(scope="session")
def digits_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 253 training and 45 test pictures of 8x8: 230 to train on when 23 are held out."""
    folder = tmp_path_factory.mktemp("digits")
    write_idx(folder, "train", *blobs(253, seed=1))
    write_idx(folder, "t10k", *blobs(45, seed=2))
    return folder


@pytest.fixture(scope="session")
def config(digits_dir: Path) -> Callable[..., Config]:
    """Makes a small run config; keyword arguments overlay it by dotted key, with `__` for a dot."""
    from lit_dl.config.overlay import overlay

    def make(**values: Any) -> Config:
        base = {
            "model": {"network": {"width": [16], "input_shape": [1, 8, 8]}, "optimizer": {"name": "sgd", "lr": 0.1}},
            "data": {"data_dir": str(digits_dir), "dataset": "idx", "batch_size": 20, "validation": 23},
            "trainer": {"max_epochs": 2, "accelerator": "cpu"},
            "tracking": {"wandb": "disabled"},
        }
        return overlay(base, {key.replace("__", "."): value for key, value in values.items()})

    return make


@pytest.fixture
def train() -> Callable[..., tuple[Any, Any]]:
    """Runs a config, in `run_dir` or leaving no file; gives the run and its result."""
    from lit_dl.cli.lit_cli import build_run
    from lit_dl.run.run_result import RunLocation

    def run_config(config: Config, run_dir: Path | None = None, **options: Any) -> tuple[Any, Any]:
        run = build_run(config, RunLocation(run_dir, run_dir.name) if run_dir else None, **options)
        run.check()
        run.open()
        run.fit()
        return run, run.close()

    return run_config


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """Another process of this machine."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()
