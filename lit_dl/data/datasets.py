"""The data sets of `data.dataset`: a table of their files and labels, and functions that read and download them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from zipfile import BadZipFile

from lit_dl.data.cifar import CIFAR, find_cifar, read_cifar
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
    "cifar10",
    "cifar100",
    "folder",
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
        download: Whether torchvision downloads missing files: always, when asked, or never.
        format: The files: idx, the batches of CIFAR, or a folder of images.
    """

    folder: str = "MNIST"
    labels: range | None = range(10)
    has_digits: bool = False
    split: str | None = None
    download: Literal["always", "asked", "never"] = "always"
    format: Literal["idx", "cifar", "folder"] = "idx"

    def file_prefix(self, part: str) -> str:
        """Returns the prefix of the names of the files of `train` or `test`."""
        if self.split is not None:
            return f"emnist-{self.split}-{part}"
        return "train" if part == "train" else "t10k"


DATASETS: dict[DatasetName, Dataset] = {
    "mnist": Dataset(has_digits=True, download="never"),
    "idx": Dataset(labels=None, has_digits=True, download="never"),
    "fashion_mnist": Dataset("FashionMNIST"),
    "kmnist": Dataset("KMNIST"),
    "emnist_balanced": Dataset("EMNIST", range(47), split="balanced"),
    "emnist_byclass": Dataset("EMNIST", range(62), split="byclass"),
    "emnist_bymerge": Dataset("EMNIST", range(47), split="bymerge"),
    "emnist_digits": Dataset("EMNIST", has_digits=True, split="digits"),
    "emnist_letters": Dataset("EMNIST", range(1, 27), split="letters"),
    "emnist_mnist": Dataset("EMNIST", has_digits=True, split="mnist"),
    "cifar10": Dataset("CIFAR10", download="asked", format="cifar"),
    "cifar100": Dataset("CIFAR100", range(100), download="asked", format="cifar"),
    "folder": Dataset("", None, download="never", format="folder"),
}


def read_dataset(name: DatasetName, data_dir: Path | None, part: str) -> LabeledImages:
    """Returns the images, upright, and the labels, from 0, of `train` or `test`. Each process reads them once.

    Args:
        name: Any but `folder`, for which see `lit_dl.data.image_folder`.
        data_dir: The folder of the files. `None`: that of this package, or the cache of downloads.
        part: `train` or `test`.

    Raises:
        DataError: A file that cannot be used.
    """
    dataset = DATASETS[name]
    folder = data_folder(name, data_dir)
    if dataset.format == "cifar":
        assert folder is not None
        return read_cifar(name, folder, part)
    is_emnist = dataset.folder == "EMNIST"
    return read_idx_pair(
        folder, dataset.file_prefix(part), name == "mnist", dataset.folder, dataset.labels, transposed=is_emnist
    )


def data_folder(name: DatasetName, data_dir: Path | None) -> Path | None:
    """Returns the folder of the files of a data set. `None`: those in this package."""
    return cache_folder() if data_dir is None and DATASETS[name].download != "never" else data_dir


def fetch_dataset(name: DatasetName, data_dir: Path | None, download: bool | None = None) -> None:
    """Downloads the files of a data set with torchvision, unless they exist.

    Args:
        name: The data set.
        data_dir: The folder of the files. `None`: the cache of downloads.
        download: Whether to download what is missing. `None`: what the table says.

    Raises:
        DataError: They do not exist and cannot be downloaded, or must not.
    """
    dataset, folder = DATASETS[name], data_folder(name, data_dir)
    if dataset.download == "never" or folder is None:
        return
    missing = _missing_file(name, folder)
    if missing is None:
        return
    if not (dataset.download == "always" if download is None else download):
        raise missing
    try:
        _download(dataset, folder)
    except (OSError, RuntimeError, HTTPException, BadZipFile) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise DataError(
            f"{str(missing).partition(': ')[0]}: no such file, and torchvision could not download it from "
            f"{_url(dataset)} ({reason}); put the files of {name} there"
            f"{', raw or .gz' * (dataset.format == 'idx')}, or name the folder that has them in data.data_dir"
        ) from None


def cache_folder() -> Path:
    """Returns the folder for downloaded data sets when the config names none."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lit_dl"


def _missing_file(name: DatasetName, folder: Path) -> DataError | None:
    """Returns the error for the first missing file, by its path in torchvision's layout; `None` when all exist."""
    dataset = DATASETS[name]
    if dataset.format == "cifar":
        return next(filter(None, (_error_of(find_cifar, name, folder, file) for file in CIFAR[name].all)), None)
    for part in ("train", "test"):
        for file in file_names(dataset.file_prefix(part)):
            if _error_of(find, folder, file, dataset.folder) is not None:
                path = folder / dataset.folder / "raw" / file
                return DataError(f"{path}: no such file; put it there, or set data.download to true")
    return None


def _error_of(find: Callable[..., Path], *arguments: object) -> DataError | None:
    try:
        find(*arguments)
    except DataError as error:
        return error
    return None


def _torchvision_class(dataset: Dataset) -> Any:
    """Returns torchvision's class. It is imported only when a download is needed."""
    from torchvision import datasets  # type: ignore[import-untyped]

    return getattr(datasets, dataset.folder)


def _url(dataset: Dataset) -> str:
    source = _torchvision_class(dataset)
    return str(source.url if hasattr(source, "url") else source.mirrors[0])


def _download(dataset: Dataset, folder: Path) -> None:
    """Downloads into a temporary folder and moves the files, so that no process reads a partial file."""
    folder.mkdir(parents=True, exist_ok=True)
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        with TemporaryDirectory(prefix=".download-", dir=folder) as temporary:
            options = {} if dataset.split is None else {"split": dataset.split}
            source = _torchvision_class(dataset)(temporary, download=True, **options)
            place = Path(source.base_folder) if dataset.format == "cifar" else Path(dataset.folder) / "raw"
            (folder / place).mkdir(parents=True, exist_ok=True)
            # EMNIST: the other splits too, but no archives.
            for path in (Path(temporary) / place).glob("*-ubyte" if dataset.format == "idx" else "*"):
                path.replace(folder / place / path.name)
    finally:
        socket.setdefaulttimeout(timeout)
