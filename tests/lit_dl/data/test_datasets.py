"""Sets beside MNIST, from made-up files: here already, downloaded from this very machine, or not to be had."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import md5
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, get_args
from zipfile import ZipFile

import numpy as np
import pytest
from idx_files import blobs, idx_bytes
from torchvision import datasets as torchvision_datasets

from lit_dl.cli.lit_cli import build_run
from lit_dl.data.datasets import DATASETS, DatasetName, cache_folder, fetch_dataset, read_dataset
from lit_dl.data.images import ImageDataModule
from lit_dl.errors import DataError

Write = Callable[..., None]
DOWNLOADED = [name for name, dataset in DATASETS.items() if dataset.download == "always"]
NOWHERE = "http://127.0.0.1:9/"  # the discard port: refused at once
LETTER = np.array([[0, 9, 0], [0, 9, 0], [0, 9, 9]], np.uint8)  # an L, upright


def parts(name: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Few images and labels for the two parts of a set, by what the names of the files begin with."""
    dataset = DATASETS[name]  # type: ignore[index]
    first = dataset.labels[0] if dataset.labels else 0
    made = {}
    for part, seed in (("train", 1), ("test", 2)):
        images, labels = blobs(12, seed, side=28)
        made[dataset.file_prefix(part)] = images, labels + first
    return made


def place(name: str, folder: Path, write: Write, zipped: bool = False) -> None:
    for part, (images, labels) in parts(name).items():
        write(folder, part, images, labels, zipped)


def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_datasets.EMNIST, "url", f"{NOWHERE}gzip.zip")
    for name in ("FashionMNIST", "KMNIST"):
        monkeypatch.setattr(getattr(torchvision_datasets, name), "mirrors", [NOWHERE])


# What the files are called and hold


def test_the_names_are_those_of_the_annotation() -> None:
    assert tuple(DATASETS) == get_args(DatasetName)


@pytest.mark.parametrize("name", DOWNLOADED)
def test_files_and_classes_are_torchvisions(name: DatasetName, tmp_path: Path) -> None:
    """torchvision's own loader reads the files that we read, and knows as many classes."""
    dataset = DATASETS[name]
    source = getattr(torchvision_datasets, dataset.folder)
    assert dataset.labels is not None
    if dataset.split is None:
        assert [url.removesuffix(".gz") for url, _ in source.resources] == [
            f"{dataset.file_prefix(part)}-{kind}"
            for part in ("train", "test")
            for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
        ]
        assert len(source.classes) == len(dataset.labels)
    else:
        classes = source.classes_split_dict[dataset.split]
        assert [n for n, text in enumerate(classes) if text != "N/A"] == list(dataset.labels)


@pytest.mark.parametrize("name", DOWNLOADED)
@pytest.mark.parametrize("zipped", [False, True], ids=["raw", "gz"])
def test_files_in_torchvisions_layout_need_no_network(
    name: DatasetName, zipped: bool, tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_network(monkeypatch)
    dataset = DATASETS[name]
    place(name, tmp_path / dataset.folder / "raw", write, zipped)
    data = ImageDataModule(str(tmp_path), name, batch_size=4, validation=2, scaling="none")
    data.prepare_data()
    data.setup("fit")
    assert data.num_classes == len(dataset.labels or ())
    for part in ("train", "test"):
        images, labels = parts(name)[dataset.file_prefix(part)]
        digits = read_dataset(name, tmp_path, part)
        upright = images.transpose(0, 2, 1) if name.startswith("emnist") else images
        assert np.array_equal(digits.images[:, 0].numpy(), upright)
        assert digits.labels.tolist() == (labels - labels.min()).tolist()


def test_torchvision_itself_reads_the_same_letters(tmp_path: Path, write: Write) -> None:
    """Its images lie on their side, its labels start at 1."""
    place("emnist_letters", tmp_path / "EMNIST" / "raw", write)
    theirs = torchvision_datasets.EMNIST(str(tmp_path), split="letters", train=False)
    ours = read_dataset("emnist_letters", tmp_path, "test")
    assert np.array_equal(ours.images[:, 0].numpy(), theirs.data.numpy().transpose(0, 2, 1))
    assert (ours.labels + 1).tolist() == theirs.targets.tolist()


def test_letters_are_put_upright(tmp_path: Path, write: Write) -> None:
    for part in ("train", "test"):
        write(tmp_path, f"emnist-letters-{part}", LETTER.T[None].repeat(3, 0), np.array([12, 12, 12]))
    digits = read_dataset("emnist_letters", tmp_path, "train")
    assert np.array_equal(digits.images[0, 0].numpy(), LETTER)
    assert digits.images.is_contiguous()
    assert digits.labels.tolist() == [11, 11, 11]  # a is 0, l is 11


@pytest.mark.parametrize(("name", "label", "known"), [("kmnist", 10, "0 to 9"), ("emnist_letters", 0, "1 to 26")])
def test_a_label_that_the_set_does_not_have(
    name: DatasetName, label: int, known: str, tmp_path: Path, write: Write
) -> None:
    part = DATASETS[name].file_prefix("train")
    write(tmp_path, part, np.zeros((2, 2, 2)), np.array([3, label]))
    with pytest.raises(DataError) as caught:
        read_dataset(name, tmp_path, "train")
    path = tmp_path / f"{part}-labels-idx1-ubyte"
    assert str(caught.value) == f"{path}: must hold labels from {known}; holds {label}; of another set?"


# Downloads


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """Address of a server on this machine, the folder that it serves, and the paths it was asked for."""
    folder, asked = tmp_path / "served", list[str]()
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            if self.command == "GET":
                asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}/", folder, asked
        http.shutdown()


def serve_kmnist(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    resources = []
    for part, contents in parts("kmnist").items():
        for kind, values in zip(("images-idx3-ubyte", "labels-idx1-ubyte"), contents, strict=True):
            content = gzip.compress(idx_bytes(values))
            (folder / f"{part}-{kind}.gz").write_bytes(content)
            resources.append((f"{part}-{kind}.gz", md5(content).hexdigest()))
    monkeypatch.setattr(torchvision_datasets.KMNIST, "mirrors", [url])
    monkeypatch.setattr(torchvision_datasets.KMNIST, "resources", resources)
    return [name for name, _ in resources]


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_set_is_downloaded_once_into_torchvisions_layout(
    server: tuple[str, Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, served, asked = server
    names = serve_kmnist(url, served, monkeypatch)
    data = ImageDataModule(str(tmp_path / "data"), "kmnist", batch_size=4, validation=2)
    data.prepare_data()
    data.prepare_data()
    assert asked == [f"/{name}" for name in names for _ in range(2)]  # torchvision asks once more, for redirections
    assert files_below(tmp_path / "data") == sorted(f"KMNIST/raw/{name.removesuffix('.gz')}" for name in names)
    assert len(torchvision_datasets.KMNIST(str(tmp_path / "data")).data) == 12
    data.setup("fit")
    assert len(data.train_rows) == 10


def test_the_cache_is_where_the_environment_says(
    server: tuple[str, Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, served, _ = server
    serve_kmnist(url, served, monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fetch_dataset("kmnist", None)
    assert (tmp_path / "cache" / "lit_dl" / "KMNIST" / "raw" / "t10k-labels-idx1-ubyte").is_file()
    assert len(read_dataset("kmnist", None, "test").labels) == 12
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "lit_dl"


def test_emnist_brings_its_other_sets_along(
    server: tuple[str, Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, served, asked = server
    archive = served / "gzip.zip"
    with ZipFile(archive, "w") as file:
        for name in ("emnist_letters", "emnist_digits"):
            for part, (images, labels) in parts(name).items():
                file.writestr(f"gzip/{part}-images-idx3-ubyte.gz", gzip.compress(idx_bytes(images)))
                file.writestr(f"gzip/{part}-labels-idx1-ubyte.gz", gzip.compress(idx_bytes(labels)))
    monkeypatch.setattr(torchvision_datasets.EMNIST, "url", f"{url}gzip.zip")
    monkeypatch.setattr(torchvision_datasets.EMNIST, "md5", md5(archive.read_bytes()).hexdigest())
    fetch_dataset("emnist_letters", tmp_path / "data")
    fetch_dataset("emnist_digits", tmp_path / "data")
    assert asked == ["/gzip.zip"] * 2  # for redirections, then for the file; none for the second set
    assert len(files_below(tmp_path / "data")) == 8
    assert len(read_dataset("emnist_digits", tmp_path / "data", "test").labels) == 12


def test_a_download_that_breaks_off_leaves_nothing(
    server: tuple[str, Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, served, _ = server
    last = served / serve_kmnist(url, served, monkeypatch)[-1]
    last.write_bytes(last.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"could not download it from .* \(File not found or corrupted\.\); put "):
        fetch_dataset("kmnist", tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize("name", ["kmnist", "emnist_letters"])
def test_no_files_and_no_network(name: DatasetName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_network(monkeypatch)
    with pytest.raises(DataError) as caught:
        fetch_dataset(name, tmp_path)
    dataset = DATASETS[name]
    missing = tmp_path / dataset.folder / "raw" / f"{dataset.file_prefix('train')}-images-idx3-ubyte"
    message = str(caught.value)
    assert message.startswith(f"{missing}: no such file, and torchvision could not download it from {NOWHERE}")
    assert message.endswith(
        f"put the files of {name} there, raw or .gz, or name the folder that has them in data.data_dir"
    )
    assert "refused" in message
    assert "\n" not in message


def test_one_missing_file_is_named(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    no_network(monkeypatch)
    place("kmnist", tmp_path / "KMNIST" / "raw", write)
    (tmp_path / "KMNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"^.*/KMNIST/raw/t10k-labels-idx1-ubyte: no such file, and "):
        fetch_dataset("kmnist", tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_network(monkeypatch)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="File exists"):
        fetch_dataset("kmnist", tmp_path / "file")


def test_a_run_finds_out_before_it_starts(
    config: Callable[..., dict[str, Any]], tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_network(monkeypatch)
    values = {"data__data_dir": str(tmp_path), "data__dataset": "kmnist", "data__validation": 2, "data__batch_size": 4}
    run = build_run(config(**values, model__network__input_shape=[1, 28, 28]))
    with pytest.raises(DataError, match="could not download"):
        run.check()
    place("kmnist", tmp_path, write)
    run.check()


@pytest.mark.parametrize("name", ["mnist", "idx"])
def test_what_is_packaged_or_yours_is_never_downloaded(name: DatasetName, tmp_path: Path) -> None:
    fetch_dataset(name, tmp_path)
    assert list(tmp_path.iterdir()) == []
