"""`ImageDataModule`: MNIST, other sets of images, and folders of images, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torchvision.transforms.v2 import Transform  # type: ignore[import-untyped]

from lit_dl.data.augmentation import Augmentation
from lit_dl.data.batches import Batch, Batches, Scale
from lit_dl.data.datasets import DATASETS, DatasetName, fetch_dataset
from lit_dl.data.image_source import ImageSource, on_device
from lit_dl.data.in_memory import InMemoryDataModule, check_validation, held_out_of, split
from lit_dl.data.selection import check_classes, fewer, stratified
from lit_dl.errors import ConfigError, unknown_name
from lit_dl.randomness import generator

Scaling = Literal["unit", "standardize", "none"]


class ImageDataModule(InMemoryDataModule):
    """Images in memory, as batches of (batch, channels, height, width) float32 and labels (batch,) int64.

    By default these are the 60,000 + 10,000 digits of MNIST. Or Fashion-MNIST, KMNIST, EMNIST, or files of your own in
    their format; CIFAR-10 or CIFAR-100; or a folder of PNG and JPEG files. EMNIST's images, which are stored
    transposed, are put upright; the labels of every set are counted from 0.

    A folder has a folder for each class, as torchvision's ImageFolder; the classes are numbered in the order of their
    names. Or it has folders `train`, `val` and `test` with such folders. A missing `val` or `test` is drawn from the
    others: as many images for each as `validation` says, with the classes in proportion; the test images are the same
    for every seed. The images are decoded once, in threads, and kept as uint8.

    Args:
        data_dir: Folder with the files: IDX files, raw or .gz, in torchvision's layout or flat; the files of CIFAR, the
            same; or class folders. `None`: MNIST from this package, sets that can be downloaded from ~/.cache/lit_dl.
        dataset: mnist, whose files are checked by MD5; idx for files of your own; folder; or a set that torchvision
            knows.
        batch_size: Samples a batch, at least 1 and at most the training split; over all devices, if several.
        validation: How many training samples are held out, taken from the front (5000, as in the published runs); or a
            fraction in (0, 1), drawn with `seed`. A folder's are drawn in both cases.
        scaling: unit (divide by 255), standardize (then subtract the mean of the training split and divide by its
            standard deviation) or none (0 to 255).
        drop_last: Leave out the last training batch when it is not full.
        seed: Seed of the shuffling, of a fractional split, of `train_samples` and of `augment`. `None`: the run's seed.
        target: class, or even: label 1 for an even digit and 0 for an odd one.
        test_unscaled: Whether to test a second time, on raw pixels from 0 to 255 (metrics `test_unscaled/...`).
        image_size: Of a folder: the side of a square, or height and width. Images are resized to cover it, bilinear
            with antialiasing, so that they keep their aspect ratio, and cut at the center. `None`: all have one size.
        channels: Of a folder: 1 for grey, 3 for RGB. `None`: 3.
        classes: Numbers, from 0, or names of the classes to use, in training, validation and test. They are labelled
            anew, from 0, in the order given. `None`: all.
        train_samples: How many labelled samples to train on: drawn from the training split with the classes in
            proportion, one or more of each. Those of a smaller number are among those of a larger one with the same
            seed. Validation and test stay as they are. `None`: all.
        augment: Transforms of torchvision.transforms.v2, called in turn on the training images alone, as uint8 before
            `scaling`, and random for each image: a function of seed, epoch and place. Any class that keeps shape and
            type will do. Those that cost little, because they are computed for a whole batch: RandomAffine,
            RandomRotation, RandomCrop, RandomErasing, GaussianNoise, RandomHorizontalFlip and the other random
            transforms of only a probability, RandomApply, Compose.
        download: Whether torchvision downloads missing files. `None`: yes, but for CIFAR.

    Raises:
        ConfigError: A value out of range.
        DataError: A file that is missing, damaged or half copied; raised by `prepare_data` and `setup`.
    """

    def __init__(
        self,
        data_dir: str | None = None,
        dataset: DatasetName = "mnist",
        batch_size: int = 50,
        validation: int | float = 5000,
        scaling: Scaling = "unit",
        drop_last: bool = False,
        seed: int | None = None,
        target: Literal["class", "even"] = "class",
        test_unscaled: bool = False,
        image_size: int | list[int] | None = None,
        channels: Literal[1, 3] | None = None,
        classes: list[int | str] | None = None,
        train_samples: int | None = None,
        augment: list[Transform] | None = None,
        download: bool | None = None,
    ) -> None:
        super().__init__(batch_size, drop_last=drop_last, seed=seed)
        check_validation(validation)
        _check_dataset(dataset, target, data_dir, image_size=image_size, channels=channels, download=download)
        if scaling not in ("unit", "standardize", "none"):
            raise ConfigError("scaling", f"must be unit, standardize or none; got {scaling!r}")
        if classes is not None:
            check_classes(classes)
        if train_samples is not None and train_samples < 1:
            raise ConfigError("train_samples", f"must be 1 or more; got {train_samples!r}")
        self.source = ImageSource(
            dataset,
            Path(data_dir).expanduser() if data_dir is not None else None,
            image_size=_height_and_width(image_size),
            channels=channels or 3,
            held_out=validation if dataset == "folder" else 0,
            classes=None if classes is None else tuple(classes),
            is_even=target == "even",
        )
        self.validation = validation
        self.scaling = scaling
        self.train_samples = train_samples
        self.download = download
        self.augmentation = Augmentation(augment, self.seed) if augment else None
        self.test_sets = ["test", "test_unscaled"] if test_unscaled else ["test"]

    def prepare_data(self) -> None:
        """Downloads the files of a data set that torchvision knows, unless they exist.

        Raises:
            DataError: They do not exist and cannot be downloaded, or must not.
        """
        fetch_dataset(self.source.dataset, self.source.data_dir, self.download)

    def setup(self, stage: str) -> None:
        """Reads the files, unless this process already has, and chooses the samples to train on and to validate on.

        Raises:
            ConfigError: Classes, a split, a number of samples or a batch that the data does not have; a transform that
                does not take the images.
            DataError: A file that cannot be used.
        """
        images, labels = self.source.read("train")
        self.train_rows, self.validation_rows = self._split(labels)
        if self.train_samples is not None:
            stream = generator(self.seed, "train_samples")
            self.train_rows = fewer(labels, self.train_rows, self.train_samples, stream)
        self.source.check_test_labels()
        super().setup(stage)
        if self.augmentation is not None:
            self.augmentation.check(images[self.train_rows[:2]])
        if self.scaling == "standardize":
            self.scale = Scale(255.0, *_moments(images[self.train_rows]))
        else:
            self.scale = Scale(255.0 if self.scaling == "unit" else 1.0)

    def _split(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the rows to train on and those to validate on."""
        if not self.source.is_folder:
            return split(len(labels), self.validation, self.seed)
        if own := self.source.own_validation:
            rows = torch.arange(len(labels))
            return rows[:-own], rows[-own:]
        order = stratified(labels, generator(self.seed, "split"))
        held_out = held_out_of(len(labels), self.validation)
        return order[held_out:].sort().values, order[:held_out].sort().values

    def samples(self, part: str, device: torch.device) -> Batch:
        """Returns images (n, channels, height, width) uint8 and labels (n,) int64 of `train` or `test`."""
        return on_device(self.source, part, device)

    @property
    def shape(self) -> list[int]:
        """Shape of an image: channels, height, width."""
        source = self.source
        if source.is_folder and source.image_size is not None:
            return [source.channels, *source.image_size]
        return super().shape

    @property
    def num_classes(self) -> int:
        """Number of distinct classes; for IDX files of your own, one more than the largest label to train on."""
        if self.source.is_even:
            return 2
        return len(self.source.classes) if self.source.classes is not None else self.source.known_classes

    @property
    def class_names(self) -> list[str] | None:
        """The name of each class, in the order of the labels. `None`: the files do not name them."""
        return None if self.source.is_even else self.source.class_names

    def test_dataloader(self) -> Batches | list[Batches]:
        """Returns the test batches, in file order; with `test_unscaled` a list of the scaled and the unscaled."""
        scaled = self._test_batches(self.scale)
        return [scaled, self._test_batches(Scale())] if len(self.test_sets) > 1 else scaled


def _check_dataset(dataset: DatasetName, target: str, data_dir: str | None, **options: Any) -> None:
    """Refuses arguments that do not apply to a data set.

    Raises:
        ConfigError: An argument does not apply, an unknown name, or a folder that is not named.
    """
    if dataset not in DATASETS:
        raise unknown_name("dataset", dataset, DATASETS)
    known = DATASETS[dataset]
    if target not in ("class", "even"):
        raise ConfigError("target", f"must be class or even; got {target!r}")
    if target == "even" and not known.has_digits:
        names = ", ".join(name for name, known in DATASETS.items() if known.has_digits)
        raise ConfigError("target", f"must be class where dataset is {dataset}; even needs digits ({names})")
    if known.format == "folder" and data_dir is None:
        raise ConfigError("data_dir", f"must name the folder of the images where dataset is {dataset}; got null")
    _refuse_others(dataset, known.format == "folder", options)
    if options["channels"] not in (None, 1, 3):
        raise ConfigError("channels", f"must be 1 for grey or 3 for RGB; got {options['channels']!r}")
    if options["download"] and known.download == "never":
        raise ConfigError("download", f"must be null or false where dataset is {dataset}, which is nowhere; got true")


def _refuse_others(dataset: str, is_folder: bool, options: Mapping[str, Any]) -> None:
    for key in ("image_size", "channels"):
        if options[key] is not None and not is_folder:
            raise ConfigError(key, f"must be null where dataset is {dataset}; it is for folder; got {options[key]!r}")


def _height_and_width(size: int | list[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = size if isinstance(size, list) else [size, size]
    if len(sides) != 2 or min(sides) < 1:
        raise ConfigError("image_size", f"must be a side of 1 or more, or [height, width]; got {size!r}")
    return sides[0], sides[1]


def _moments(images: Tensor) -> tuple[float, float]:
    """Returns mean and population standard deviation of the pixels of images, on the [0, 1] scale."""
    counts = torch.bincount(images.flatten(), minlength=256).double()
    values = torch.arange(256, dtype=torch.float64) / 255.0
    mean = float((counts * values).sum() / counts.sum())
    return mean, sqrt(float((counts * (values - mean).square()).sum() / counts.sum()))
