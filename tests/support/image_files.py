"""Small folders of images, and files of CIFAR in the format of the real ones, for tests."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from struct import pack
from types import FunctionType
from typing import Any, ClassVar

import numpy as np
from idx_files import blobs


def write_image(path: Path, pixels: np.ndarray, mode: str | None = None) -> None:
    """Pixels (height, width) or (height, width, channels) uint8 as the file that the suffix says."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)


def write_folder(folder: Path, counts: Mapping[str, int], side: int = 8, seed: int = 1) -> dict[str, np.ndarray]:
    """As many grey PNG files of each class as `counts` says; gives the pixels by their path below the folder."""
    written = {}
    for number, (name, count) in enumerate(counts.items()):
        pictures, labels = blobs(20 * len(counts) * count, seed, side, len(counts))
        for place, pixels in enumerate(pictures[labels == number][:count]):
            written[f"{name}/{place:03}.png"] = pixels
            write_image(folder / f"{name}/{place:03}.png", pixels)
    return written


class _Python2(pickle._Pickler):  # type: ignore[name-defined]
    """Writes bytes and texts as Python 2 wrote its `str`, and the name that NumPy's module had then."""

    def save_str(self, value: str | bytes) -> None:
        content = value.encode() if isinstance(value, str) else value
        self.write(pickle.BINSTRING + pack("<i", len(content)) + content)

    def save_global(self, value: Any, name: str | None = None) -> None:
        module, name = value.__module__.replace("numpy._core", "numpy.core"), name or value.__qualname__
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())

    dispatch: ClassVar[dict[type, Any]] = {
        **pickle._Pickler.dispatch,  # type: ignore[attr-defined]
        **dict.fromkeys((bytes, str), save_str),
        **dict.fromkeys((type, FunctionType), save_global),
    }


def write_pickle(path: Path, content: Any) -> None:
    """A pickle as Python 2 wrote it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        _Python2(file, protocol=2).dump(content)


def write_cifar10(folder: Path, rows: int = 12) -> dict[str, tuple[np.ndarray, list[int]]]:
    """The files of CIFAR-10 with `rows` images each, below `folder`; gives the rows and labels of each file."""
    written = {}
    for seed, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
        draw = np.random.default_rng(seed)
        pixels, labels = draw.integers(0, 256, (rows, 3072)).astype(np.uint8), draw.integers(0, 10, rows).tolist()
        written[name] = pixels, labels
        write_pickle(
            folder / "cifar-10-batches-py" / name,
            {"batch_label": name, "labels": labels, "data": pixels, "filenames": ["a.png"] * rows},
        )
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    meta = {"num_cases_per_batch": rows, "label_names": names, "num_vis": 3072}
    write_pickle(folder / "cifar-10-batches-py" / "batches.meta", meta)
    return written


def write_cifar100(folder: Path, rows: int = 30) -> None:
    """The files of CIFAR-100 with `rows` images each, below `folder`."""
    for seed, name in enumerate(["train", "test"]):
        draw = np.random.default_rng(seed)
        content = {
            "data": draw.integers(0, 256, (rows, 3072)).astype(np.uint8),
            "fine_labels": draw.integers(0, 100, rows).tolist(),
            "coarse_labels": [0] * rows,
        }
        write_pickle(folder / "cifar-100-python" / name, content)
    meta = {"fine_label_names": [f"thing {number}" for number in range(100)], "coarse_label_names": ["things"] * 20}
    write_pickle(folder / "cifar-100-python" / "meta", meta)
