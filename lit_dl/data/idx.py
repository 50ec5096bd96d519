"""Reads IDX files (the format of MNIST) into tensors, and checks them for damage.

Source: http://yann.lecun.com/exdb/mnist/ - big-endian: two zero bytes, type (8: uint8), number of dimensions, each
dimension as uint32, then the values.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from functools import lru_cache
from hashlib import md5
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lit_dl.errors import DataError

ASSETS = Path(__file__).parent.parent / "assets" / "mnist"

MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


class LabeledImages(NamedTuple):
    """A pair of files: images (n, 1, height, width) uint8 and labels (n,) int64."""

    images: Tensor
    labels: Tensor


@lru_cache(maxsize=4)
def read_idx_pair(
    data_dir: Path | None,
    part: str,
    is_mnist: bool,
    folder: str = "MNIST",
    labels: range | None = None,
    transposed: bool = False,
) -> LabeledImages:
    """Reads the images and labels of one part. Each process reads them once.

    Args:
        data_dir: Folder with the IDX files, raw or .gz, directly or in torchvision's `FOLDER/raw`; `None`: the packaged
            MNIST.
        part: Prefix of the file names: `train` or `t10k`; `emnist-letters-test` and the like.
        is_mnist: Whether the content must be that of MNIST, by MD5.
        folder: The name that torchvision gives to the folder of the data set.
        labels: The labels in the file; the first becomes 0. `None`: any labels, unchanged.
        transposed: Whether rows and columns are exchanged in the file; the images are put upright.

    Raises:
        DataError: A file that is missing, damaged, half copied, or not what it should be.
    """
    images_path, labels_path = (find(data_dir, name, folder) for name in file_names(part))
    images = _read_idx(images_path, dimensions=3, is_mnist=is_mnist)
    numbers = _read_idx(labels_path, dimensions=1, is_mnist=is_mnist).long()
    if len(images) != len(numbers):
        raise DataError(f"{labels_path}: must have a label for each of {len(images)} images; has {len(numbers)}")
    if labels is not None:
        numbers = _from_zero(labels_path, numbers, labels)
    return LabeledImages((images.mT.contiguous() if transposed else images).unsqueeze(1), numbers)


def file_names(part: str) -> tuple[str, str]:
    """Returns the names of the image file and the label file of a part, without .gz."""
    return f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"


def find(data_dir: Path | None, name: str, folder: str = "MNIST") -> Path:
    """Returns the path of a file, raw or .gz, flat or in torchvision's layout; see `read_idx_pair`.

    Raises:
        DataError: There is no such file.
    """
    start = data_dir if data_dir is not None else ASSETS
    for parent in (start, start / folder / "raw", start / "raw"):
        for path in (parent / name, parent / f"{name}.gz"):
            if path.is_file():
                return path
    raise DataError(f"{start / name}: no such file, nor with .gz, here or in {folder}/raw below; check data.data_dir")


def _from_zero(path: Path, labels: Tensor, known: range) -> Tensor:
    """Returns the labels counted from 0.

    Raises:
        DataError: A label outside of `known`.
    """
    unknown = labels[(labels < known[0]) | (labels > known[-1])]
    if len(unknown):
        raise DataError(
            f"{path}: must hold labels from {known[0]} to {known[-1]}; holds {int(unknown[0])}; of another set?"
        )
    return labels - known[0]


def _read_idx(path: Path, dimensions: int, is_mnist: bool) -> Tensor:
    """Reads an IDX file of uint8 values.

    Raises:
        DataError: The file is not what it should be.
    """
    content = _content(path)
    header = 4 + 4 * dimensions
    magic = 0x0800 + dimensions
    if len(content) < header or struct.unpack(">I", content[:4])[0] != magic:
        raise DataError(
            f"{path}: must start with the magic number {magic:#010x}; starts with 0x{content[:4].hex()}; damaged?"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) != header + prod(shape):
        raise DataError(
            f"{path}: must hold {header + prod(shape):,} bytes for shape {shape}; holds {len(content):,}; copy it again"
        )
    if (
        is_mnist
        and (digest := md5(content, usedforsecurity=False).hexdigest()) != MNIST_MD5[path.name.removesuffix(".gz")]
    ):
        raise DataError(
            f"{path}: is not MNIST's (MD5 {digest}); copy it again, or set data.dataset to idx for a set of your own"
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy())


def _content(path: Path) -> bytes:
    """Reads a file, decompressed.

    Raises:
        DataError: The file cannot be read or decompressed.
    """
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: cannot be decompressed ({error}); damaged or half copied? Copy it again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
