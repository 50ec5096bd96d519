"""Small sweeps for tests: tiny IDX files, tiny networks, a second or two a sweep."""

from __future__ import annotations

import json
import struct
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sweeps.spec.parse_spec import parse_spec
from sweeps.spec.preflight import check_spec
from sweeps.spec.spec import SweepSpec


def write_idx(path: Path, values: np.ndarray) -> None:
    """An IDX file of uint8 values."""
    header = struct.pack(f">I{values.ndim}I", 0x0800 + values.ndim, *values.shape)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


def tiny_data(folder: Path, train: int = 240, test: int = 60) -> Path:
    """8x8 images of two classes that a network learns within an epoch: bright above, or bright below."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        labels = random.integers(0, 2, count)
        images = random.integers(0, 100, (count, 8, 8))
        for image, label in zip(images, labels, strict=True):
            image[4 * label : 4 * label + 4] += 100
        write_idx(folder / f"{part}-images-idx3-ubyte", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte", labels)
    return folder


def tiny_spec(folder: Path, **changes: Any) -> dict[str, Any]:
    """A spec as a mapping, over `tiny_data`."""
    base = {
        "model": {"network": {"input_shape": [1, 8, 8], "outputs": 2, "width": 8}, "optimizer": {"name": "adam"}},
        "data": {"data_dir": str(tiny_data(folder / "data")), "dataset": "idx", "batch_size": 20, "validation": 40},
        "trainer": {"max_epochs": 3, "accelerator": "cpu"},
    }
    spec = {
        "base": base,
        "objective": {"metric": "val/acc", "direction": "maximize"},
        "n_trials": 4,
        "space": {
            "model.network.width": {"low": 4, "high": 16},
            "model.optimizer.lr": {"low": 1e-3, "high": 1e-1, "log": True},
        },
        "sampler": {"class_path": "RandomSampler", "init_args": {"seed": 3}},
    }
    return {**spec, **changes}


def write_spec(folder: Path, **changes: Any) -> Path:
    """The spec as a file."""
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_spec(folder, **changes)))
    return path


def resolved_spec(folder: Path, **changes: Any) -> SweepSpec:
    """The spec, checked without running a step. A process checks the same spec once: a check takes half a second."""
    key = json.dumps(changes, default=repr)
    if key not in _RESOLVED:
        given = tiny_spec(folder, **{"check": "parse", **changes})
        _RESOLVED[key] = check_spec(parse_spec(given, folder, "tiny")).spec
    spec = _RESOLVED[key]
    base = deepcopy(spec.base)
    if base.get("data", {}).get("data_dir", "").endswith("/data"):
        base["data"]["data_dir"] = str(tiny_data(folder / "data"))
    return replace(spec, base=base)


_RESOLVED: dict[str, SweepSpec] = {}


def with_published(folder: Path) -> dict[str, Any]:
    """A spec as a mapping, with published values and claims of two named runs."""
    changes = {
        "runs": {"narrow": {"model.network.width": 4}, "wide": {"model.network.width": 16}},
        "published": {"metric": "train/acc", "tolerance": 0.5, "values": {"narrow": 0.5, "wide": 1}},
        "claims": [
            {"claim": "wider is better", "better": "wide", "worse": ["narrow"], "metric": "val/loss", "at": 2},
            {"claim": "as long", "same": ["wide", "narrow"], "within": 0, "metric": "epochs"},
        ],
    }
    return {**tiny_spec(folder, space={}, n_trials=None, seeds=2, **changes)}
