"""Reads CIFAR-10 and CIFAR-100 from the files that torchvision uses, and checks them for damage.

The files are pickles of dictionaries with NumPy arrays. They are read by an unpickler that knows these arrays and
nothing else, so a file cannot call anything.

Source: https://www.cs.toronto.edu/~kriz/cifar.html - an image is a row of 3,072 bytes: red, green, blue, each 32 x 32.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from pickle import Unpickler, UnpicklingError
from typing import Any

import numpy as np
import torch

from lit_dl.data.idx import LabeledImages
from lit_dl.errors import DataError

_SHAPE = (3, 32, 32)
_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],  # NumPy 2 calls the module numpy._core
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


@dataclass(frozen=True)
class CifarFiles:
    """Where a set is in its files.

    Args:
        folder: Name of the folder in torchvision's layout.
        parts: The files of `train` and `test`.
        labels: Key of the labels.
        names_file: The file of the names of the classes.
        names: Key of the names.
        classes: Number of classes.
    """

    folder: str
    parts: dict[str, list[str]]
    labels: str
    names_file: str
    names: str
    classes: int

    @property
    def all(self) -> list[str]:
        """The names of all files."""
        return [*self.parts["train"], *self.parts["test"], self.names_file]


CIFAR = {
    "cifar10": CifarFiles(
        "cifar-10-batches-py",
        {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]},
        "labels",
        "batches.meta",
        "label_names",
        10,
    ),
    "cifar100": CifarFiles(
        "cifar-100-python", {"train": ["train"], "test": ["test"]}, "fine_labels", "meta", "fine_label_names", 100
    ),
}


@lru_cache(maxsize=4)
def read_cifar(name: str, folder: Path, part: str) -> LabeledImages:
    """Reads the images (n, 3, 32, 32) uint8 and labels of `train` or `test`. Each process reads them once.

    Args:
        name: cifar10 or cifar100.
        folder: Has the files, or torchvision's folder with them.
        part: `train` or `test`.

    Raises:
        DataError: A file that is missing, damaged, or not what it should be.
    """
    files = CIFAR[name]
    batches = [_read_batch(files, find_cifar(name, folder, file)) for file in files.parts[part]]
    images, labels = zip(*batches, strict=True)
    return LabeledImages(torch.cat(images), torch.cat(labels))


def cifar_names(name: str, folder: Path) -> list[str]:
    """Returns the names of the classes.

    Raises:
        DataError: The file of the names is missing, damaged, or not what it should be.
    """
    files = CIFAR[name]
    path = find_cifar(name, folder, files.names_file)
    names = _load(path).get(files.names)
    if not isinstance(names, list) or len(names) != files.classes:
        raise DataError(f"{path}: must hold {files.classes} names as {files.names}; damaged, or of another set?")
    return [str(name) for name in names]


def find_cifar(name: str, folder: Path, file: str) -> Path:
    """Returns the path of a file of a set, in torchvision's layout or directly in the folder.

    Raises:
        DataError: There is no such file.
    """
    inner = CIFAR[name].folder
    path = next((path for path in (folder / inner / file, folder / file) if path.is_file()), None)
    if path is None:
        raise DataError(
            f"{folder / inner / file}: no such file, nor in {folder}; put the files of {name} there, name their folder "
            "in data.data_dir, or set data.download to true"
        )
    return path


def _read_batch(files: CifarFiles, path: Path) -> LabeledImages:
    content = _load(path)
    pixels, labels = content.get("data"), content.get(files.labels)
    rows = len(labels) if isinstance(labels, list) else 0
    is_right = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.shape == (rows, 3072)
    if not rows or not is_right:
        raise DataError(f"{path}: must hold data (n, 3072) uint8 and {files.labels} (n); damaged, or of another set?")
    assert isinstance(labels, list)
    assert isinstance(pixels, np.ndarray)
    wrong = next((label for label in labels if type(label) is not int or not 0 <= label < files.classes), None)
    if wrong is not None:
        raise DataError(f"{path}: must hold labels from 0 to {files.classes - 1}; holds {wrong!r}; damaged?")
    return LabeledImages(torch.from_numpy(pixels.reshape(-1, *_SHAPE).copy()), torch.tensor(labels))


class _ArrayUnpickler(Unpickler):
    """Makes arrays, texts, numbers, lists and dictionaries; refuses all else."""

    def find_class(self, module: str, name: str) -> Any:
        known = (module.replace("numpy._core", "numpy.core"), name)
        if known not in _GLOBALS:
            raise UnpicklingError(f"it asks for {module}.{name}")
        return _GLOBALS[known]


def _load(path: Path) -> dict[str, Any]:
    """Returns the dictionary in a file.

    Raises:
        DataError: The file cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as file:
            content = _ArrayUnpickler(file, encoding="latin1").load()  # written by Python 2
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # damaged bytes raise nearly anything
        raise DataError(f"{path}: is no file of CIFAR ({type(error).__name__}: {error}); damaged?") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: must hold a dictionary; holds a {type(content).__name__}")
    return content
