"""`ImageSource`: which images a data module has, read from their files once by each process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from lit_dl.data.cifar import cifar_names
from lit_dl.data.datasets import DATASETS, DatasetName, data_folder, read_dataset
from lit_dl.data.idx import LabeledImages
from lit_dl.data.image_folder import folder_classes, read_folder
from lit_dl.data.in_memory import held_out_of
from lit_dl.data.selection import Class, class_numbers, relabel, stratified
from lit_dl.errors import ConfigError, DataError
from lit_dl.randomness import generator

_TEST_SEED = 0  # a test set that is drawn is the same for every seed of a run


@dataclass(frozen=True)
class ImageSource:
    """Images of a data set, with those of the classes that are wanted.

    Args:
        dataset: A name of `DATASETS`.
        data_dir: The folder of its files. `None`: where the data set is by default.
        image_size: Height and width that images of a folder are resized to. `None`: they have one size.
        channels: Of images of a folder: 1 for grey, 3 for RGB.
        held_out: A number or a fraction of the images of a folder without `test`: they are drawn for the test set.
        classes: Numbers or names of the classes that are wanted. `None`: all.
        is_even: Whether the labels say that a digit is even.
    """

    dataset: DatasetName
    data_dir: Path | None
    image_size: tuple[int, int] | None = None
    channels: int = 3
    held_out: int | float = 0
    classes: tuple[Class, ...] | None = None
    is_even: bool = False

    @property
    def is_folder(self) -> bool:
        """Whether the images are files in folders, sorted by class."""
        return DATASETS[self.dataset].format == "folder"

    @property
    def known_classes(self) -> int:
        """Number of classes in the files; for IDX files of the user, one more than the largest label to train on."""
        if self.is_folder:
            return len(folder_classes(self._folder))
        labels = DATASETS[self.dataset].labels
        return len(labels) if labels else int(read_dataset(self.dataset, self.data_dir, "train").labels.max()) + 1

    @property
    def class_names(self) -> list[str] | None:
        """The names of the classes that are wanted, in the order of their labels. `None`: the files have no names."""
        names = self._known_names()
        if names is None or self.classes is None:
            return names
        return [names[number] for number in class_numbers(self.classes, names, len(names))]

    def read(self, part: str) -> LabeledImages:
        """Returns the images (n, channels, height, width) uint8 and labels (n,) int64 of `train` or `test`.

        `train` ends with the images that a folder has for validation.

        Raises:
            ConfigError: Classes that the data set does not have.
            DataError: A file that cannot be used.
        """
        return _read(self, part)

    @property
    def own_validation(self) -> int:
        """How many images at the end of `train` are those that a folder has for validation."""
        if not self.is_folder:
            return 0
        parts = read_folder(self._folder, self.image_size, self.channels).parts
        return len(self._wanted(parts["val"].labels)[0]) if "val" in parts else 0

    def check_test_labels(self) -> None:
        """Refuses IDX files of the user whose test labels are no labels of the training images.

        Raises:
            DataError: A label is too large.
        """
        if DATASETS[self.dataset].labels is not None or self.is_folder or self.classes is not None or self.is_even:
            return
        try:
            largest = int(self.read("test").labels.max())
        except DataError:
            return  # no test files are needed to train; a test says what is wrong with them
        if largest >= self.known_classes:
            raise DataError(
                f"{self.data_dir}: must have test labels below {self.known_classes}, as the training labels are; has "
                f"{largest}"
            )

    @property
    def _folder(self) -> Path:
        folder = data_folder(self.dataset, self.data_dir)
        assert folder is not None
        return folder

    def _known_names(self) -> list[str] | None:
        if self.is_folder:
            return folder_classes(self._folder)
        return cifar_names(self.dataset, self._folder) if DATASETS[self.dataset].format == "cifar" else None

    def _wanted(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the rows of the classes that are wanted, and their labels."""
        if self.classes is None:
            return torch.arange(len(labels)), labels
        names = self._known_names() if any(isinstance(name, str) for name in self.classes) else None
        return relabel(labels, class_numbers(self.classes, names, self.known_classes))

    def _read_all(self, part: str) -> LabeledImages:
        """Returns the images of all classes."""
        if not self.is_folder:
            return read_dataset(self.dataset, self.data_dir, part)
        parts = dict(read_folder(self._folder, self.image_size, self.channels).parts)
        if "test" not in parts:
            parts["train"], parts["test"] = _divided(parts["train"], self.held_out)
        return _joined(parts["train"], parts["val"]) if part == "train" and "val" in parts else parts[part]


def _divided(labeled: LabeledImages, held_out: int | float) -> tuple[LabeledImages, LabeledImages]:
    """Returns the images without, and only, those that are drawn for a test set."""
    order = stratified(labeled.labels, generator(_TEST_SEED, "test"))
    number = held_out_of(len(order), held_out)
    rest, drawn = order[number:].sort().values, order[:number].sort().values
    return LabeledImages(labeled.images[rest], labeled.labels[rest]), LabeledImages(
        labeled.images[drawn], labeled.labels[drawn]
    )


def _joined(one: LabeledImages, other: LabeledImages) -> LabeledImages:
    return LabeledImages(torch.cat([one.images, other.images]), torch.cat([one.labels, other.labels]))


@lru_cache(maxsize=4)
def _read(source: ImageSource, part: str) -> LabeledImages:
    images, labels = source._read_all(part)
    if source.classes is not None:
        rows, wanted = source._wanted(labels)
        counts = wanted.bincount(minlength=len(source.classes))
        if part == "train" and not counts.all():
            name = source.classes[int(counts.argmin())]
            raise ConfigError("classes", f"must be classes with training images; {name!r} has none")
        images, digits, labels = images[rows], labels[rows], wanted
    else:
        digits = labels
    if source.is_even:
        labels = (digits % 2 == 0).long()
        if source.classes is not None and len(labels.unique()) < 2:
            raise ConfigError(
                "classes", f"must be even and odd digits where target is even; got {list(source.classes)}"
            )
    return LabeledImages(images, labels)


@lru_cache(maxsize=4)
def on_device(source: ImageSource, part: str, device: torch.device) -> LabeledImages:
    """Returns what `ImageSource.read` returns, on a device."""
    images, labels = source.read(part)
    return LabeledImages(images.to(device), labels.to(device))
