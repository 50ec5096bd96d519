"""MNIST, or IDX files like it, as a LightningDataModule: read once a process, kept in memory, batches cut from it."""

from __future__ import annotations

from functools import lru_cache
from math import sqrt
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from lit_dl.data.batches import Batches, Scale
from lit_dl.data.idx import Digits, read_digits
from lit_dl.errors import ConfigError
from lit_dl.randomness import generator, run_seed

Scaling = Literal["unit", "standardize", "none"]


class MNISTDataModule(LightningDataModule):
    """The 60,000 + 10,000 digits of MNIST, as batches of images (batch, 1, 28, 28) float32 and labels (batch,) int64.

    Args:
        data_dir: Folder with IDX files, raw or .gz, in torchvision's layout or flat. `None`: MNIST from this package.
        dataset: mnist, whose files are checked by MD5, or idx for files of your own in the same format.
        batch_size: Samples a batch, at least 1 and at most the training split.
        validation: How many training samples are held out, taken from the front (5000, as in the published runs); or a
            fraction in (0, 1), drawn with `seed`.
        scaling: unit (divide by 255), standardize (then subtract the mean of the training split and divide by its
            standard deviation) or none (0 to 255).
        drop_last: Leave out the last training batch when it is not full.
        seed: Seed of the shuffling and of a fractional split. `None`: the run's seed.

    Raises:
        ConfigError: A value out of range.
        DataError: A file that is missing, damaged or half copied; raised by `setup`.
    """

    def __init__(
        self,
        data_dir: str | None = None,
        dataset: Literal["mnist", "idx"] = "mnist",
        batch_size: int = 50,
        validation: int | float = 5000,
        scaling: Scaling = "unit",
        drop_last: bool = False,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ConfigError("batch_size", f"must be 1 or more; got {batch_size!r}")
        if not validation > 0 or (isinstance(validation, float) and validation >= 1):
            raise ConfigError(
                "validation", f"must be a number of samples, 1 or more, or a fraction in (0, 1); got {validation!r}"
            )
        if dataset not in ("mnist", "idx"):
            raise ConfigError("dataset", f"must be mnist or idx; got {dataset!r}")
        if scaling not in ("unit", "standardize", "none"):
            raise ConfigError("scaling", f"must be unit, standardize or none; got {scaling!r}")
        self.data_dir = Path(data_dir).expanduser() if data_dir is not None else None
        self.is_mnist = dataset == "mnist"
        self.batch_size, self.validation, self.scaling, self.drop_last = batch_size, validation, scaling, drop_last
        self.seed = run_seed() if seed is None else seed

    def setup(self, stage: str) -> None:  # noqa: ARG002 - Lightning's signature
        """Reads the files, unless this process already has, and splits the training digits.

        Raises:
            ConfigError: A split or a batch larger than what there is.
            DataError: A file that cannot be used.
        """
        train = self._digits("train")
        self.train_rows, self.validation_rows = split(len(train.labels), self.validation, self.seed)
        if self.batch_size > len(self.train_rows):
            raise ConfigError(
                "batch_size", f"must be at most the training split of {len(self.train_rows):,}; got {self.batch_size:,}"
            )
        if self.scaling == "standardize":
            key = (
                self.data_dir,
                self.is_mnist,
                self.validation,
                self.seed if isinstance(self.validation, float) else 0,
            )
            mean, deviation = _training_moments(*key)
            self.scale = Scale(255.0, mean, deviation)
        else:
            self.scale = Scale(255.0 if self.scaling == "unit" else 1.0)

    @property
    def shape(self) -> list[int]:
        """Channels, height and width of an image."""
        return list(self._digits("train").images.shape[1:])

    def train_dataloader(self) -> Batches:
        """Training batches, shuffled from the seed and the epoch alone."""

        def order() -> Tensor:
            epoch = self.trainer.current_epoch + 1 if self.trainer is not None else 1
            shuffled = torch.randperm(len(self.train_rows), generator=generator(self.seed, "order", epoch))
            return self.train_rows[shuffled]

        module = self.trainer.lightning_module if self.trainer is not None else None
        return self._batches("train", order, len(self.train_rows), drop_last=self.drop_last, steps=steps_of(module))

    def val_dataloader(self) -> Batches:
        """Validation batches, in file order."""
        return self._batches("train", lambda: self.validation_rows, len(self.validation_rows), batch_size=1000)

    def test_dataloader(self) -> Batches:
        """Test batches, in file order."""
        rows = torch.arange(len(self._digits("t10k").labels))
        return self._batches("t10k", lambda: rows, len(rows), batch_size=1000)

    predict_dataloader = test_dataloader

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:  # noqa: ARG002
        """The batch as it is: `_batches` keeps the whole set on the device that trains."""
        return batch

    def _digits(self, part: str) -> Digits:
        return read_digits(self.data_dir, part, self.is_mnist)

    def _batches(self, part: str, order: Any, rows: int, batch_size: int | None = None, **options: Any) -> Batches:
        device = self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")
        images, labels = _on_device(self.data_dir, part, self.is_mnist, device)
        return Batches(
            images,
            labels,
            scale=self.scale,
            order=order,
            rows=rows,
            batch_size=batch_size or self.batch_size,
            **options,
        )


def steps_of(module: object) -> int:
    """How many minibatches a module wants in one `training_step`; 1 when it does not say."""
    return int(getattr(module, "steps_per_execution", 1))


def split(samples: int, validation: int | float, seed: int) -> tuple[Tensor, Tensor]:
    """Rows of the training split and of the validation split, (n,) int64 each.

    Raises:
        ConfigError: Nothing would be left to train on.
    """
    held_out = int(validation) if validation >= 1 else round(samples * validation)
    if not 0 < held_out < samples:
        raise ConfigError("validation", f"must leave some of {samples:,} samples for each split; got {validation!r}")
    rows = torch.arange(samples)
    if validation < 1:
        rows = rows[torch.randperm(samples, generator=generator(seed, "split"))]
    return rows[held_out:], rows[:held_out]


@lru_cache(maxsize=4)
def _on_device(data_dir: Path | None, part: str, is_mnist: bool, device: torch.device) -> Digits:
    digits = read_digits(data_dir, part, is_mnist)
    return Digits(digits.images.to(device), digits.labels.to(device))


@lru_cache(maxsize=8)
def _training_moments(data_dir: Path | None, is_mnist: bool, validation: int | float, seed: int) -> tuple[float, float]:
    """Mean and population standard deviation of the training split's pixels, on the [0, 1] scale."""
    digits = read_digits(data_dir, "train", is_mnist)
    rows, _ = split(len(digits.labels), validation, seed)
    counts = torch.bincount(digits.images[rows].flatten(), minlength=256).double()
    values = torch.arange(256, dtype=torch.float64) / 255.0
    mean = float((counts * values).sum() / counts.sum())
    return mean, sqrt(float((counts * (values - mean).square()).sum() / counts.sum()))
