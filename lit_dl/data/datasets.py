"""The data sets of `data.dataset`: a table of their files and labels, and functions that read and download them."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from zipfile import BadZipFile

from lit_dl.data.idx import LabeledImages, file_names, find, read_idx_pair
from lit_dl.errors import DataError

DatasetName = Literal[
    "mnist",
    "idx",
    "fashion_mnist",
    "kmnist",
    "emnist_balanced",
    "emnist_byclass",
    "emnist_bymerge",
    "emnist_digits",
    "emnist_letters",
    "emnist_mnist",
]
_TIMEOUT_S = 30.0  # without it, torchvision waits for a silent server as long as the system does


@dataclass(frozen=True)
class Dataset:
    """A row of the table of data sets.

    Args:
        folder: Name of torchvision's class, and of the folder of its files.
        labels: Labels in the files; the first becomes 0. `None`: any labels.
        has_digits: Whether the classes are digits.
        split: Name of the split of EMNIST. `None`: another data set.
        is_downloaded: Whether torchvision downloads missing files.
    """

    folder: str = "MNIST"
    labels: range | None = range(10)
    has_digits: bool = False
    split: str | None = None
    is_downloaded: bool = True

    def file_prefix(self, part: str) -> str:
        """Returns the prefix of the names of the files of `train` or `test`."""
        if self.split is not None:
            return f"emnist-{self.split}-{part}"
        return "train" if part == "train" else "t10k"


DATASETS: dict[DatasetName, Dataset] = {
    "mnist": Dataset(has_digits=True, is_downloaded=False),
    "idx": Dataset(labels=None, has_digits=True, is_downloaded=False),
    "fashion_mnist": Dataset("FashionMNIST"),
    "kmnist": Dataset("KMNIST"),
    "emnist_balanced": Dataset("EMNIST", range(47), split="balanced"),
    "emnist_byclass": Dataset("EMNIST", range(62), split="byclass"),
    "emnist_bymerge": Dataset("EMNIST", range(47), split="bymerge"),
    "emnist_digits": Dataset("EMNIST", has_digits=True, split="digits"),
    "emnist_letters": Dataset("EMNIST", range(1, 27), split="letters"),
    "emnist_mnist": Dataset("EMNIST", has_digits=True, split="mnist"),
}


def read_dataset(name: DatasetName, data_dir: Path | None, part: str) -> LabeledImages:
    """Returns the images, upright, and the labels, from 0, of `train` or `test`. Each process reads them once.

    Raises:
        DataError: A file that cannot be used.
    """
    dataset = DATASETS[name]
    folder = _data_folder(dataset, data_dir)
    is_emnist = dataset.folder == "EMNIST"
    return read_idx_pair(
        folder, dataset.file_prefix(part), name == "mnist", dataset.folder, dataset.labels, transposed=is_emnist
    )


def fetch_dataset(name: DatasetName, data_dir: Path | None) -> None:
    """Downloads the files of a data set with torchvision, unless they exist.

    Raises:
        DataError: They do not exist and cannot be downloaded.
    """
    dataset = DATASETS[name]
    folder = _data_folder(dataset, data_dir)
    if not dataset.is_downloaded or folder is None:
        return
    missing = _missing_file(dataset, folder)
    if missing is None:
        return
    try:
        _download(dataset, folder)
    except (OSError, RuntimeError, HTTPException, BadZipFile) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise DataError(
            f"{missing}: no such file, and torchvision could not download it from {_url(dataset)} ({reason}); put the"
            f" files of {name} there, raw or .gz, or name the folder that has them in data.data_dir"
        ) from None


def cache_folder() -> Path:
    """Returns the folder for downloaded data sets when the config names none."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lit_dl"


def _data_folder(dataset: Dataset, data_dir: Path | None) -> Path | None:
    return cache_folder() if data_dir is None and dataset.is_downloaded else data_dir


def _missing_file(dataset: Dataset, folder: Path) -> Path | None:
    """Returns the first missing file, by its path in torchvision's layout; `None` when all exist."""
    for part in ("train", "test"):
        for name in file_names(dataset.file_prefix(part)):
            try:
                find(folder, name, dataset.folder)
            except DataError:
                return folder / dataset.folder / "raw" / name
    return None


def _torchvision_class(dataset: Dataset) -> Any:
    """Returns torchvision's class. It is imported only when a download is needed."""
    from torchvision import datasets  # type: ignore[import-untyped]

    return getattr(datasets, dataset.folder)


def _url(dataset: Dataset) -> str:
    source = _torchvision_class(dataset)
    return str(source.mirrors[0] if dataset.split is None else source.url)


def _download(dataset: Dataset, folder: Path) -> None:
    """Downloads into a temporary folder and moves the files, so that no process reads a partial file."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = folder / dataset.folder / "raw"
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        with TemporaryDirectory(prefix=".download-", dir=folder) as temporary:
            options = {} if dataset.split is None else {"split": dataset.split}
            _torchvision_class(dataset)(temporary, download=True, **options)
            raw.mkdir(parents=True, exist_ok=True)
            for path in (Path(temporary) / dataset.folder / "raw").glob("*-ubyte"):  # EMNIST: the other splits too
                path.replace(raw / path.name)
    finally:
        socket.setdefaulttimeout(timeout)
