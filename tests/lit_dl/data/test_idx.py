from __future__ import annotations

import gzip
from collections.abc import Callable
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
import torch

from lit_dl.data.idx import ASSETS, MNIST_MD5, read_idx_pair
from lit_dl.data.images import ImageDataModule
from lit_dl.errors import DataError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
PICTURES = np.random.default_rng(0).integers(0, 256, (6, 3, 4)).astype(np.uint8)
NUMBERS = np.array([3, 1, 4, 1, 5, 9], np.uint8)

Write = Callable[..., None]


@pytest.mark.parametrize("zipped", [False, True], ids=["raw", "gz"])
@pytest.mark.parametrize("layout", ["", "MNIST/raw", "raw"])
def test_raw_and_gz_files_flat_and_in_torchvisions_layout(
    tmp_path: Path, write: Write, layout: str, zipped: bool
) -> None:
    write(tmp_path / layout, "train", PICTURES, NUMBERS, zipped)
    digits = read_idx_pair(tmp_path, "train", False)
    assert (digits.images.shape, digits.images.dtype) == ((6, 1, 3, 4), torch.uint8)
    assert digits.labels.dtype == torch.int64
    assert np.array_equal(digits.images[:, 0].numpy(), PICTURES)
    assert digits.labels.tolist() == NUMBERS.tolist()


def test_files_are_read_once_a_process(tmp_path: Path, write: Write) -> None:
    write(tmp_path, "train", PICTURES, NUMBERS)
    assert read_idx_pair(tmp_path, "train", False) is read_idx_pair(tmp_path, "train", False)


def damaged(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_idx_pair(folder, "train", False)
    return str(caught.value)


def test_a_missing_file_is_named_with_where_it_was_looked_for(tmp_path: Path, write: Write) -> None:
    assert damaged(tmp_path) == (
        f"{tmp_path / IMAGES}: no such file, nor with .gz, here or in MNIST/raw below; check data.data_dir"
    )
    write(tmp_path, "train", PICTURES, NUMBERS)
    (tmp_path / LABELS).unlink()
    assert damaged(tmp_path).startswith(f"{tmp_path / LABELS}: no such file")


def test_a_file_that_is_not_idx(tmp_path: Path, write: Write) -> None:
    write(tmp_path, "train", PICTURES, NUMBERS)
    (tmp_path / IMAGES).write_bytes((tmp_path / LABELS).read_bytes() + bytes(100))
    assert damaged(tmp_path) == (
        f"{tmp_path / IMAGES}: must start with the magic number 0x00000803; starts with 0x00000801; damaged?"
    )


@pytest.mark.parametrize("content", [b"", b"\0\0\x08", b"\0\0\x08\x03\0\0\0\x06"])
def test_a_file_shorter_than_its_header(tmp_path: Path, write: Write, content: bytes) -> None:
    write(tmp_path, "train", PICTURES, NUMBERS)
    (tmp_path / IMAGES).write_bytes(content)
    assert damaged(tmp_path).startswith(f"{tmp_path / IMAGES}: must ")


@pytest.mark.parametrize(("change", "held"), [(lambda c: c[:-1], 87), (lambda c: c + b"x", 89)], ids=["short", "long"])
def test_a_file_of_the_wrong_size(tmp_path: Path, write: Write, change: Callable[[bytes], bytes], held: int) -> None:
    write(tmp_path, "train", PICTURES, NUMBERS)
    path = tmp_path / IMAGES
    path.write_bytes(change(path.read_bytes()))
    assert damaged(tmp_path) == f"{path}: must hold 88 bytes for shape (6, 3, 4); holds {held}; copy it again"


def test_a_half_copied_gz(tmp_path: Path, write: Write) -> None:
    write(tmp_path, "train", PICTURES, NUMBERS, zipped=True)
    path = tmp_path / f"{IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:-20])
    assert damaged(tmp_path).startswith(f"{path}: cannot be decompressed (")


@pytest.mark.parametrize(
    "content",
    [b"not gz at all", gzip.compress(bytes(500), mtime=0)[:12] + b"\xff" * 30],
    ids=["text", "damaged"],  # pytest would make the id from the bytes, which differ by time and by version
)
def test_a_gz_that_is_none(tmp_path: Path, write: Write, content: bytes) -> None:
    write(tmp_path, "train", PICTURES, NUMBERS, zipped=True)
    path = tmp_path / f"{IMAGES}.gz"
    path.write_bytes(content)
    assert damaged(tmp_path).startswith(f"{path}: cannot be decompressed (")


def test_a_gz_with_a_wrong_checksum(tmp_path: Path, write: Write) -> None:
    write(tmp_path, "train", PICTURES, NUMBERS, zipped=True)
    path = tmp_path / f"{IMAGES}.gz"
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    assert damaged(tmp_path).startswith(f"{path}: cannot be decompressed (")


def test_fewer_labels_than_images(tmp_path: Path, write: Write) -> None:
    write(tmp_path, "train", PICTURES, NUMBERS[:5])
    assert damaged(tmp_path) == f"{tmp_path / LABELS}: must have a label for each of 6 images; has 5"


def test_content_other_than_mnists_passes_as_idx_and_not_as_mnist(tmp_path: Path, write: Write) -> None:
    write(tmp_path, "train", PICTURES, NUMBERS)
    digest = md5((tmp_path / IMAGES).read_bytes()).hexdigest()
    ImageDataModule(str(tmp_path), dataset="idx", batch_size=2, validation=2).setup("fit")
    with pytest.raises(DataError) as caught:
        ImageDataModule(str(tmp_path), dataset="mnist", batch_size=2, validation=2).setup("fit")
    assert str(caught.value) == (
        f"{tmp_path / IMAGES}: is not MNIST's (MD5 {digest}); copy it again, or set data.dataset to idx for a set of"
        " your own"
    )


def test_one_wrong_byte_in_mnist_is_found(tmp_path: Path) -> None:
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        content = bytearray(gzip.decompress((ASSETS / f"{name}.gz").read_bytes()))
        if name.startswith("t10k-labels"):
            content[-1] ^= 1
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte: is not MNIST's \(MD5 "):
        read_idx_pair(tmp_path, "t10k", True)


def test_mnist_is_packaged_whole() -> None:
    """Against the sums that torchvision and Keras publish through their own loaders."""
    train, test = read_idx_pair(None, "train", True), read_idx_pair(None, "t10k", True)
    assert train.images.shape == (60_000, 1, 28, 28)
    assert test.images.shape == (10_000, 1, 28, 28)
    pixels = np.bincount(train.images.numpy().ravel(), minlength=256) / train.images.numel()
    values = np.arange(256) / 255
    mean = (pixels * values).sum()
    assert mean == pytest.approx(0.1307, abs=5e-5)
    assert np.sqrt((pixels * (values - mean) ** 2).sum()) == pytest.approx(0.3081, abs=5e-5)
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_the_sums_in_the_readme_are_those_that_are_checked() -> None:
    text = (ASSETS / "README.md").read_text()
    assert all(f"{name} |" in text and digest in text for name, digest in MNIST_MD5.items())
