"""What all tests share: one thread, a clean environment, tiny IDX sets, and one way to make a run."""

from __future__ import annotations

import gzip
import os
import random
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only
from postgresql import Server
from services import postgresql_server

torch.set_num_threads(1)

Config = dict[str, Any]


@pytest.fixture(autouse=True)
def _clean_environment() -> Iterator[None]:
    """No W&B or Lightning setting from outside, none left behind, nor a rank, a thread count or a generator state."""
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


def idx_bytes(values: np.ndarray) -> bytes:
    """An IDX file of uint8 values."""
    return struct.pack(f">I{values.ndim}I", 0x0800 + values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


def write_idx(folder: Path, part: str, images: np.ndarray, labels: np.ndarray, zipped: bool = False) -> None:
    """Images (n, height, width) and labels (n,) as the two files of one part."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
        content = idx_bytes(values)
        (folder / f"{name}.gz" if zipped else folder / name).write_bytes(gzip.compress(content) if zipped else content)


def blobs(samples: int, seed: int, side: int = 8, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Noisy copies of one picture a class, that a small network learns within an epoch or two."""
    pictures = np.random.default_rng(7).integers(0, 256, (classes, side, side))
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, samples).astype(np.uint8)
    noise = draw.integers(0, 256, (samples, side, side))
    return ((pictures[labels] + noise) // 2).astype(np.uint8), labels


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
