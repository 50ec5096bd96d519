"""Reads folders of PNG and JPEG files, one for each class, into tensors, and checks them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lit_dl.data.idx import LabeledImages
from lit_dl.errors import DataError

PARTS = ("train", "val", "test")
EXTENSIONS = (".png", ".jpg", ".jpeg")


class ImageFolder(NamedTuple):
    """The images of a folder.

    Args:
        parts: Those of `train`, `val` and `test`, as far as there are folders of these names; of a folder without them
            all are `train`.
        names: The names of the classes, sorted.
    """

    parts: dict[str, LabeledImages]
    names: list[str]


class Listing(NamedTuple):
    """The files of a folder with their labels, by part, and the names of the classes."""

    parts: dict[str, list[tuple[str, int]]]
    names: list[str]


def list_folder(folder: Path) -> Listing:
    """Returns the image files of class folders, sorted, as `torchvision.datasets.ImageFolder` finds them.

    Args:
        folder: Has a folder for each class; or folders `train`, and perhaps `val` and `test`, that have them.

    Raises:
        DataError: There is no such folder, less than two classes, a class without images, or the parts have different
            classes.
    """
    folders = _folders(folder)
    parts, names = {}, _class_names(folders["train"])
    for part, place in folders.items():
        if (others := _class_names(place)) != names:
            differing = ", ".join(sorted({*names} ^ {*others}))
            raise DataError(
                f"{place}: must have the classes of {folders['train'].name}; only one of them has {differing}"
            )
        parts[part] = _files(place, names)
    return Listing(parts, names)


def folder_classes(folder: Path) -> list[str]:
    """Returns the names of the classes, sorted.

    Raises:
        DataError: There is no such folder, or less than two classes.
    """
    return _class_names(_folders(folder)["train"])


def _folders(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; check data.data_dir")
    folders = {part: folder / part for part in PARTS if (folder / part).is_dir()}
    if folders and "train" not in folders:
        raise DataError(f"{folder}: must have a folder train beside {' and '.join(folders)}")
    return folders or {"train": folder}


def _class_names(folder: Path) -> list[str]:
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    if len(names) < 2:
        has = f"one, {names[0]}" if names else "none"
        raise DataError(f"{folder}: must have a folder of images for each of two classes or more; has {has}")
    return names


def _files(folder: Path, names: Sequence[str]) -> list[tuple[str, int]]:
    from torchvision.datasets.folder import make_dataset  # type: ignore[import-untyped]

    labels = {name: label for label, name in enumerate(names)}
    files: list[tuple[str, int]] = make_dataset(folder, labels, EXTENSIONS, allow_empty=True)
    used = {label for _, label in files}
    if empty := [name for name, label in labels.items() if label not in used]:
        raise DataError(f"{folder / empty[0]}: must have images ({', '.join(EXTENSIONS)}); has none")
    return files


@lru_cache(maxsize=2)
def read_folder(folder: Path, size: tuple[int, int] | None, channels: int) -> ImageFolder:
    """Reads class folders of images. Each process reads them once.

    Args:
        folder: See `list_folder`.
        size: Height and width to resize to. `None`: all images have one size.
        channels: 1 for grey, 3 for RGB.

    Raises:
        DataError: What `list_folder` raises; an image that cannot be decoded, or that has another size.
    """
    listing = list_folder(folder)
    parts = {}
    for part, files in listing.parts.items():
        images = read_images([Path(path) for path, _ in files], size, channels)
        parts[part] = LabeledImages(images, torch.tensor([label for _, label in files]))
    shapes = {part: tuple(images.shape[1:]) for part, (images, _) in parts.items()}
    for part, shape in shapes.items():
        if shape != shapes["train"]:
            raise DataError(f"{folder / part}: {_different(shape[1:], shapes['train'][1:])}")
    return ImageFolder(parts, listing.names)


def read_images(paths: Sequence[Path], size: tuple[int, int] | None, channels: int) -> Tensor:
    """Decodes images in several threads: (n, channels, height, width) uint8.

    Raises:
        DataError: An image that cannot be decoded, or that has another size than the first.
    """
    with ThreadPoolExecutor() as pool:
        decoded = pool.map(lambda path: read_image(path, size, channels), paths)
        images = torch.empty(0, dtype=torch.uint8)
        for row, (path, image) in enumerate(zip(paths, decoded, strict=True)):
            if row == 0:
                images = torch.empty(len(paths), *image.shape, dtype=torch.uint8)
            if image.shape != images.shape[1:]:
                pool.shutdown(cancel_futures=True)
                raise DataError(f"{path}: {_different(tuple(image.shape[1:]), tuple(images.shape[2:]))}")
            images[row] = image
    return images


def read_image(path: Path, size: tuple[int, int] | None, channels: int) -> Tensor:
    """Decodes an image: (channels, height, width) uint8. See `read_folder`.

    An image is resized so that it covers the size, by bilinear interpolation with antialiasing, and what stands out on
    two sides is cut off; so it keeps its aspect ratio. It is turned as its EXIF data says.

    Raises:
        DataError: It cannot be decoded.
    """
    from torchvision.transforms.v2 import functional  # type: ignore[import-untyped]

    try:
        with Image.open(path) as file:
            pixels = _pixels(ImageOps.exif_transpose(file), channels)
    except Exception as error:  # damaged bytes raise nearly anything
        reason = str(error).replace(f" {str(path)!r}", "") or type(error).__name__
        raise DataError(f"{path}: cannot be decoded as an image ({reason}); damaged?") from None
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    if size is None or tuple(image.shape[1:]) == size:
        return image
    factor = max(wanted / there for wanted, there in zip(size, image.shape[1:], strict=True))
    covering = [max(wanted, round(there * factor)) for wanted, there in zip(size, image.shape[1:], strict=True)]
    resized: Tensor = functional.resize(image, covering, antialias=True)
    return functional.center_crop(resized, list(size))  # type: ignore[no-any-return]


def _pixels(image: Image.Image, channels: int) -> np.ndarray:
    """Returns the pixels (height, width, channels) uint8 of an image of any kind."""
    if image.mode.startswith("I"):  # 16 bits, of which Pillow would take the lower 8
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return pixels[:, :, None] if channels == 1 else pixels


def _different(size: Sequence[int], first: Sequence[int]) -> str:
    sizes = f"{first[0]} x {first[1]}; is {size[0]} x {size[1]}"
    return f"must have the height and width of the first image, {sizes}; set data.image_size"
