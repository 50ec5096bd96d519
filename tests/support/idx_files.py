"""Small IDX files for tests."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np


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
