"""`InMemoryDataModule`: the base of data modules with all tensors in memory, on the device that trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor

from lit_dl.data.augmentation import Augmentation
from lit_dl.data.batches import Batch, Batches, Scale
from lit_dl.errors import ConfigError
from lit_dl.randomness import generator, run_seed

_EVAL_BATCH_SIZE = 1000  # over all devices; for validation, test and prediction


class InMemoryDataModule(LightningDataModule):
    """Batches of (inputs, targets) from tensors in memory.

    A subclass implements `samples`, sets `train_rows` and `validation_rows` in `setup`, and may set `scale` there, and
    `augmentation`, which changes training images.

    Several devices share every batch. `batch_size`, order and number of batches mean the same as on one device, and a
    sample of a validation or test set is counted once. So a module of ours learns the same as on one device, except for
    rounding: after some epochs, weights and metrics differ by less than 1e-12 of their size when trainer.precision is
    64-true, and by less than 1e-5 in float32. (With ReLU in float32, rounding may put a unit on the other side of zero.
    Then the runs diverge in the end, as they do when the rows of a batch change places.) Batch norm computes its
    statistics from the share of a device.

    Args:
        batch_size: Samples of one optimizer step, over all devices; 1 or more, and one or more for each device.
        shuffle: Whether each epoch has an order of its own, drawn from the seed and the epoch alone.
        drop_last: Leave out the last training batch when it is not full.
        seed: Seed of all random numbers. `None`: the run's seed.

    Raises:
        ConfigError: A value out of range.
    """

    train_rows: Tensor
    validation_rows: Tensor
    scale = Scale()
    samples_depend_on_seed: ClassVar[bool] = False
    """Whether `samples` draws them from the seed, so that runs with other seeds cannot share them."""
    augmentation: Augmentation | None = None

    def __init__(self, batch_size: int, shuffle: bool = True, drop_last: bool = False, seed: int | None = None) -> None:
        super().__init__()
        if batch_size < 1:
            raise ConfigError("batch_size", f"must be 1 or more; got {batch_size!r}")
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = run_seed() if seed is None else seed
        self.test_sets = ["test"]  # prefix of the metrics of each test dataloader

    def samples(self, part: str, device: torch.device) -> Batch:
        """Returns all inputs (n, ...) and targets (n, ...) of a part.

        Args:
            part: `train`, which includes the validation split, or `test`.
            device: The device of the result.
        """
        raise NotImplementedError

    @property
    def shape(self) -> list[int]:
        """Shape of one sample's input."""
        return list(self.samples("train", torch.device("cpu"))[0].shape[1:])

    @property
    def num_classes(self) -> int | None:
        """Number of distinct classes, labelled from 0; `None` where the targets are numbers."""
        return None

    def describe(self, module: LightningModule) -> str | None:  # noqa: ARG002
        """Returns the text that `lit-dl fit` prints about a trained module at the end; `None`: nothing."""
        return None

    def setup(self, stage: str) -> None:  # noqa: ARG002 - Lightning's signature
        """Refuses batches larger than the training split, or too small for the devices. A subclass splits first.

        Raises:
            ConfigError: There is less than one batch, or a device would have no sample of a batch.
        """
        samples = len(self.train_rows)
        if self.batch_size > samples:
            raise ConfigError(
                "batch_size", f"must be at most the training split of {samples:,}; got {self.batch_size:,}"
            )
        if self.smallest_batch < self.world_size:
            fix = "choose more" if self.batch_size < self.world_size else "choose another, or set data.drop_last"
            raise ConfigError(
                "batch_size",
                f"must leave no batch with fewer samples than the {self.world_size} devices, of {samples:,}; "
                f"got {self.batch_size}; {fix}",
            )
        if len(self.validation_rows) < self.world_size:
            raise ConfigError(
                "validation",
                f"must hold out a sample for each of {self.world_size} devices, or more; "
                f"leaves {len(self.validation_rows)}",
            )

    def order(self, epoch: int) -> Tensor:
        """Returns the rows of the training split in the order of an epoch, counted from 1: (n,) int64."""
        if not self.shuffle:
            return self.train_rows
        return self.train_rows[torch.randperm(len(self.train_rows), generator=generator(self.seed, "order", epoch))]

    def train_dataloader(self) -> Batches:
        """Returns the training batches, shuffled or in order."""

        def order() -> Tensor:
            return self.order(self._epoch)

        module = self.trainer.lightning_module if self.trainer is not None else None
        options = {"batch_size": self.batch_size, "drop_last": self.drop_last, "steps": steps_per_execution(module)}
        augment = self._augment if self.augmentation is not None else None
        return self._batches("train", order=order, rows=len(self.train_rows), augment=augment, **options)

    def _augment(self, inputs: Tensor, minibatches: Sequence[tuple[int, int]]) -> Tensor:
        """Returns training inputs of this device, changed at random; see `Batches`."""
        assert self.augmentation is not None
        return self.augmentation(inputs, self._epoch, minibatches, self.rank, self.world_size)

    def val_dataloader(self) -> Batches:
        """Returns the validation batches, in order."""
        return self._batches("train", order=lambda: self.validation_rows, rows=len(self.validation_rows))

    def test_dataloader(self) -> Batches | list[Batches]:
        """Returns the test batches, in order; a list when there are several `test_sets`."""
        return self._test_batches(self.scale)

    def predict_dataloader(self) -> Batches:
        """Returns the batches of the first test set, in order.

        Raises:
            ConfigError: There are several devices. Their predictions would not be in order.
        """
        if self.world_size > 1:
            raise ConfigError("trainer.devices", f"must be 1 to predict; got {self.world_size}")
        return self._test_batches(self.scale)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:  # noqa: ARG002
        """Returns the batch unchanged: `samples` are on the device that trains."""
        return batch

    def _test_batches(self, scale: Scale) -> Batches:
        rows = torch.arange(len(self.samples("test", self._device)[1]))
        if len(rows) < self.world_size:
            raise ConfigError(
                "trainer.devices", f"must be at most the {len(rows)} samples to test; got {self.world_size}"
            )
        return self._batches("test", order=lambda: rows, rows=len(rows), scale=scale)

    def _batches(self, part: str, rows: int, **options: Any) -> Batches:
        # The largest size for which the last batch, too, has a row for every device.
        batch_size = next(size for size in range(_EVAL_BATCH_SIZE, 0, -1) if not 0 < rows % size < self.world_size)
        defaults = {"scale": self.scale, "batch_size": batch_size, "rank": self.rank, "world_size": self.world_size}
        return Batches(*self.samples(part, self._device), rows=rows, **{**defaults, **options})

    @property
    def smallest_batch(self) -> int:
        """Samples of the smallest training batch, over all devices."""
        return self.batch_size if self.drop_last else len(self.train_rows) % self.batch_size or self.batch_size

    @property
    def world_size(self) -> int:
        """Number of devices that share every batch, each with a process."""
        return self.trainer.world_size if self.trainer is not None else 1

    @property
    def rank(self) -> int:
        """Rank of this process among them, from 0."""
        return self.trainer.global_rank if self.trainer is not None else 0

    @property
    def _epoch(self) -> int:
        return self.trainer.current_epoch + 1 if self.trainer is not None else 1

    @property
    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")


def steps_per_execution(module: object) -> int:
    """Returns the number of minibatches that a module takes in one `training_step`; 1 when it has no such number."""
    return int(getattr(module, "steps_per_execution", 1))


def check_validation(validation: int | float) -> None:
    """Refuses a size of the validation split that is neither a number of samples nor a fraction.

    Raises:
        ConfigError: It is not positive, or a float of 1 or more.
    """
    if not validation > 0 or (isinstance(validation, float) and validation >= 1):
        raise ConfigError(
            "validation", f"must be a number of samples, 1 or more, or a fraction in (0, 1); got {validation!r}"
        )


def split(samples: int, validation: int | float, seed: int) -> tuple[Tensor, Tensor]:
    """Returns the rows of the training split and of the validation split, (n,) int64 each.

    Args:
        samples: Number of samples.
        validation: Size of the validation split: a number, taken from the front, or a fraction, drawn.
        seed: Seed of a drawn split.

    Raises:
        ConfigError: One of the splits would be empty.
    """
    held_out = held_out_of(samples, validation)
    rows = torch.arange(samples)
    if validation < 1:
        rows = rows[torch.randperm(samples, generator=generator(seed, "split"))]
    return rows[held_out:], rows[:held_out]


def held_out_of(samples: int, validation: int | float) -> int:
    """Returns how many samples a number or a fraction holds out.

    Raises:
        ConfigError: None would be left on one of the two sides.
    """
    held_out = int(validation) if validation >= 1 else round(samples * validation)
    if not 0 < held_out < samples:
        raise ConfigError("validation", f"must leave some of {samples:,} samples for each split; got {validation!r}")
    return held_out
