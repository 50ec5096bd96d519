"""`MNISTDataModule`: MNIST and data sets in its format, in memory."""

from __future__ import annotations

from functools import lru_cache
from math import sqrt
from pathlib import Path
from typing import Literal

import torch

from lit_dl.data.batches import Batch, Batches, Scale
from lit_dl.data.datasets import DATASETS, DatasetName, fetch_dataset, read_dataset
from lit_dl.data.idx import LabeledImages
from lit_dl.data.in_memory import InMemoryDataModule, check_validation, split
from lit_dl.errors import ConfigError, unknown_name

Scaling = Literal["unit", "standardize", "none"]


class MNISTDataModule(InMemoryDataModule):
    """The 60,000 + 10,000 digits of MNIST, as batches of images (batch, 1, 28, 28) float32 and labels (batch,) int64.

    Or Fashion-MNIST, KMNIST or EMNIST, or files of your own in their format. EMNIST's images, which are stored
    transposed, are put upright; the labels of every set are counted from 0.

    Args:
        data_dir: Folder with IDX files, raw or .gz, in torchvision's layout or flat. `None`: MNIST from this package,
            other sets from ~/.cache/lit_dl.
        dataset: mnist, whose files are checked by MD5; idx for files of your own; or a set that torchvision downloads
            into `data_dir` when it is not there.
        batch_size: Samples a batch, at least 1 and at most the training split; over all devices, if several.
        validation: How many training samples are held out, taken from the front (5000, as in the published runs); or a
            fraction in (0, 1), drawn with `seed`.
        scaling: unit (divide by 255), standardize (then subtract the mean of the training split and divide by its
            standard deviation) or none (0 to 255).
        drop_last: Leave out the last training batch when it is not full.
        seed: Seed of the shuffling and of a fractional split. `None`: the run's seed.
        target: class, or even: label 1 for an even digit and 0 for an odd one.
        test_unscaled: Whether to test a second time, on raw pixels from 0 to 255 (metrics `test_unscaled/...`).

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
    ) -> None:
        super().__init__(batch_size, drop_last=drop_last, seed=seed)
        check_validation(validation)
        if dataset not in DATASETS:
            raise unknown_name("dataset", dataset, DATASETS)
        if scaling not in ("unit", "standardize", "none"):
            raise ConfigError("scaling", f"must be unit, standardize or none; got {scaling!r}")
        if target not in ("class", "even"):
            raise ConfigError("target", f"must be class or even; got {target!r}")
        if target == "even" and not DATASETS[dataset].has_digits:
            names = ", ".join(name for name, known in DATASETS.items() if known.has_digits)
            raise ConfigError("target", f"must be class where dataset is {dataset}; even needs digits ({names})")
        self.data_dir = Path(data_dir).expanduser() if data_dir is not None else None
        self.dataset = dataset
        self.validation = validation
        self.scaling = scaling
        self.target = target
        self.test_sets = ["test", "test_unscaled"] if test_unscaled else ["test"]

    def prepare_data(self) -> None:
        """Downloads the files of a data set that torchvision knows, unless they exist.

        Raises:
            DataError: They do not exist and cannot be downloaded.
        """
        fetch_dataset(self.dataset, self.data_dir)

    def setup(self, stage: str) -> None:
        """Reads the files, unless this process already has, and splits the training images.

        Raises:
            ConfigError: A split or a batch that is too large.
            DataError: A file that cannot be used.
        """
        samples = len(read_dataset(self.dataset, self.data_dir, "train").labels)
        self.train_rows, self.validation_rows = split(samples, self.validation, self.seed)
        super().setup(stage)
        if self.scaling == "standardize":
            seed = self.seed if isinstance(self.validation, float) else 0
            self.scale = Scale(255.0, *_training_moments(self.dataset, self.data_dir, self.validation, seed))
        else:
            self.scale = Scale(255.0 if self.scaling == "unit" else 1.0)

    def samples(self, part: str, device: torch.device) -> Batch:
        """Returns images (n, 1, height, width) uint8 and labels (n,) int64 of `train` or `test`."""
        images, labels = _on_device(self.dataset, self.data_dir, part, device)
        return images, (labels % 2 == 0).long() if self.target == "even" else labels

    @property
    def classes(self) -> int:
        """Number of distinct classes; for files of your own, one more than the largest label to train on."""
        if self.target == "even":
            return 2
        known = DATASETS[self.dataset].labels
        return len(known) if known else int(self.samples("train", torch.device("cpu"))[1].max()) + 1

    def test_dataloader(self) -> Batches | list[Batches]:
        """Returns the test batches, in file order; with `test_unscaled` a list of the scaled and the unscaled."""
        scaled = self._test_batches(self.scale)
        return [scaled, self._test_batches(Scale())] if len(self.test_sets) > 1 else scaled


@lru_cache(maxsize=4)
def _on_device(dataset: DatasetName, data_dir: Path | None, part: str, device: torch.device) -> LabeledImages:
    read = read_dataset(dataset, data_dir, part)
    return LabeledImages(read.images.to(device), read.labels.to(device))


@lru_cache(maxsize=8)
def _training_moments(
    dataset: DatasetName, data_dir: Path | None, validation: int | float, seed: int
) -> tuple[float, float]:
    """Returns mean and population standard deviation of the pixels of the training split, on the [0, 1] scale."""
    read = read_dataset(dataset, data_dir, "train")
    rows, _ = split(len(read.labels), validation, seed)
    counts = torch.bincount(read.images[rows].flatten(), minlength=256).double()
    values = torch.arange(256, dtype=torch.float64) / 255.0
    mean = float((counts * values).sum() / counts.sum())
    return mean, sqrt(float((counts * (values - mean).square()).sum() / counts.sum()))
