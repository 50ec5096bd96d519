"""CIFAR from small files in the format of the real ones, which torchvision's own classes read too."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from image_files import write_cifar10, write_cifar100, write_pickle
from torchvision import datasets

from lit_dl.data.cifar import CIFAR, read_cifar
from lit_dl.data.datasets import DATASETS, fetch_dataset
from lit_dl.data.images import ImageDataModule
from lit_dl.errors import ConfigError, DataError

SOURCES = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision takes the files although their MD5 is another."""
    for source in SOURCES.values():
        monkeypatch.setattr(source, "_check_integrity", lambda self: True)
        monkeypatch.setattr(source, "meta", {**source.meta, "md5": None})


@pytest.mark.parametrize("name", SOURCES)
def test_the_files_are_torchvisions(name: str) -> None:
    files, source = CIFAR[name], SOURCES[name]
    assert files.folder == source.base_folder
    assert files.parts == {
        "train": [file for file, _ in source.train_list],
        "test": [file for file, _ in source.test_list],
    }
    assert (files.names_file, files.names) == (source.meta["filename"], source.meta["key"])
    assert DATASETS[name].labels == range(files.classes)  # type: ignore[index]


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("part", ["train", "test"])
def test_what_is_read_is_what_torchvision_reads(name: str, part: str, tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    write_cifar100(tmp_path)
    theirs = SOURCES[name](str(tmp_path), train=part == "train")
    ours = read_cifar(name, tmp_path, part)
    assert np.array_equal(ours.images.numpy(), theirs.data.transpose(0, 3, 1, 2))
    assert ours.labels.tolist() == theirs.targets
    data = ImageDataModule(str(tmp_path), name, batch_size=4, validation=2, seed=0)  # type: ignore[arg-type]
    data.prepare_data()
    data.setup("fit")
    assert data.class_names == theirs.classes
    assert (data.num_classes, data.shape) == (len(theirs.classes), [3, 32, 32])


def test_the_files_may_lie_directly_in_the_folder(tmp_path: Path) -> None:
    written = write_cifar10(tmp_path)
    images = read_cifar("cifar10", tmp_path / "cifar-10-batches-py", "test").images
    assert np.array_equal(images.reshape(12, -1).numpy(), written["test_batch"][0])


def test_classes_are_chosen_by_name(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    options = {"batch_size": 2, "validation": 2, "seed": 0}
    named = ImageDataModule(str(tmp_path), "cifar10", classes=["dog", "cat"], **options)  # type: ignore[arg-type]
    numbered = ImageDataModule(str(tmp_path), "cifar10", classes=[5, 3], **options)  # type: ignore[arg-type]
    assert named.source.read("train").labels.tolist() == numbered.source.read("train").labels.tolist()
    assert named.class_names == numbered.class_names == ["dog", "cat"]
    with pytest.raises(ConfigError, match=r"^classes: 'dgo' is not one of airplane, .*; did you mean 'dog'\?$"):
        ImageDataModule(str(tmp_path), "cifar10", classes=["dgo", "cat"], **options).setup("fit")  # type: ignore[arg-type]


# Errors


def test_a_missing_file_says_where_it_is_expected_and_nothing_is_downloaded(tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    with pytest.raises(DataError) as caught:
        fetch_dataset("cifar10", tmp_path)
    assert str(caught.value) == (
        f"{path}: no such file, nor in {tmp_path}; put the files of cifar10 there, name their folder in data.data_dir, "
        "or set data.download to true"
    )
    write_cifar10(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "batches.meta").unlink()
    with pytest.raises(DataError, match=r"batches.meta: no such file"):
        fetch_dataset("cifar10", tmp_path)


def test_a_download_that_was_asked_for_fails_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: False)
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar.tar.gz")
    with pytest.raises(
        DataError, match=r"data_batch_1: no such file, and .* from http://127.0.0.1:9/.*\(.*refused.*\)"
    ):
        fetch_dataset("cifar10", tmp_path, download=True)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is no file of CIFAR (EOFError"),
        (b"hello", "is no file of CIFAR (UnpicklingError"),
        (pickle.dumps([1, 2]), "must hold a dictionary; holds a list"),
        (pickle.dumps({"data": [1], "labels": [1]}), "must hold data (n, 3072) uint8 and labels (n)"),
        (pickle.dumps(np.float64), "is no file of CIFAR (UnpicklingError: it asks for numpy.float64)"),
    ],
    ids=["empty", "text", "list", "rows", "class"],
)
def test_a_file_that_is_no_batch(content: bytes, says: str, tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_cifar("cifar10", tmp_path, "test")
    assert str(caught.value).startswith(f"{path}: {says}")


def test_half_a_file(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"test_batch: is no file of CIFAR .*; damaged\?$"):
        read_cifar("cifar10", tmp_path, "test")


@pytest.mark.parametrize("label", [10, -1, "3"])
def test_a_label_that_the_set_does_not_have(label: object, tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    pixels = np.zeros((2, 3072), np.uint8)
    write_pickle(tmp_path / "cifar-10-batches-py" / "test_batch", {"data": pixels, "labels": [1, label]})
    with pytest.raises(DataError, match=f"must hold labels from 0 to 9; holds {label!r}; damaged\\?$"):
        read_cifar("cifar10", tmp_path, "test")


class Command:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.mkdir, ("made-by-a-pickle",)


def test_a_file_calls_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps({"data": Command()}))
    with pytest.raises(DataError, match=r"it asks for posix.mkdir"):
        read_cifar("cifar10", tmp_path, "test")
    assert not (tmp_path / "made-by-a-pickle").exists()
