"""The sets of images that `data.dataset` names: their files, their labels, and how to get them."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from zipfile import BadZipFile

from lit_dl.data.idx import Digits, file_names, find, read_digits
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
_TIMEOUT_S = 30.0  # torchvision waits for a silent server as long as the system does


@dataclass(frozen=True)
class Dataset:
    """What the files of a set are called and hold.

    Args:
        folder: torchvision's class, and the folder of its files.
        labels: Labels in the files; served from 0. `None`: any.
        has_digits: Whether a class is a digit.
        split: EMNIST's name for it.
        is_downloaded: Whether torchvision gets the files where they are missing.
    """

    folder: str = "MNIST"
    labels: range | None = range(10)
    has_digits: bool = False
    split: str | None = None
    is_downloaded: bool = True

    def part(self, name: str) -> str:
        """What the files of `train` or `test` begin with."""
        if self.split is not None:
            return f"emnist-{self.split}-{name}"
        return "train" if name == "train" else "t10k"


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


def read_dataset(name: DatasetName, data_dir: Path | None, part: str) -> Digits:
    """The images, upright, and the labels, from 0, of `train` or `test`; read once a process.

    Raises:
        DataError: A file that cannot be used.
    """
    dataset = DATASETS[name]
    place = _place(dataset, data_dir)
    is_emnist = dataset.folder == "EMNIST"
    return read_digits(place, dataset.part(part), name == "mnist", dataset.folder, dataset.labels, is_emnist)


def fetch_dataset(name: DatasetName, data_dir: Path | None) -> None:
    """Has torchvision download the files of a set, unless they are there.

    Raises:
        DataError: Neither there nor to be had.
    """
    dataset = DATASETS[name]
    place = _place(dataset, data_dir)
    if not dataset.is_downloaded or place is None:
        return
    missing = _missing(dataset, place)
    if missing is None:
        return
    try:
        _download(dataset, place)
    except (OSError, RuntimeError, HTTPException, BadZipFile) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise DataError(
            f"{missing}: no such file, and torchvision could not download it from {_url(dataset)} ({reason}); put the"
            f" files of {name} there, raw or .gz, or name the folder that has them in data.data_dir"
        ) from None


def cache_folder() -> Path:
    """Where downloaded sets are kept when no folder is named."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lit_dl"


def _place(dataset: Dataset, data_dir: Path | None) -> Path | None:
    return cache_folder() if data_dir is None and dataset.is_downloaded else data_dir


def _missing(dataset: Dataset, place: Path) -> Path | None:
    """The first file that is not there, as torchvision would place it."""
    for part in ("train", "test"):
        for name in file_names(dataset.part(part)):
            try:
                find(place, name, dataset.folder)
            except DataError:
                return place / dataset.folder / "raw" / name
    return None


def _source(dataset: Dataset) -> Any:
    """torchvision's class; imported only where a download is needed."""
    from torchvision import datasets  # type: ignore[import-untyped]

    return getattr(datasets, dataset.folder)


def _url(dataset: Dataset) -> str:
    source = _source(dataset)
    return str(source.mirrors[0] if dataset.split is None else source.url)


def _download(dataset: Dataset, place: Path) -> None:
    """Downloads beside the place and renames, so that nobody ever reads a part of a file."""
    place.mkdir(parents=True, exist_ok=True)
    raw = place / dataset.folder / "raw"
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        with TemporaryDirectory(prefix=".download-", dir=place) as beside:
            options = {} if dataset.split is None else {"split": dataset.split}
            _source(dataset)(beside, download=True, **options)
            raw.mkdir(parents=True, exist_ok=True)
            for path in (Path(beside) / dataset.folder / "raw").glob("*-ubyte"):  # EMNIST: the other splits too
                path.replace(raw / path.name)
    finally:
        socket.setdefaulttimeout(timeout)
