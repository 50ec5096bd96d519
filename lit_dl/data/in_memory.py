"""What data modules share whose tensors stay in memory, on the device that trains, with batches cut from them."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor

from lit_dl.data.batches import Batch, Batches, Scale
from lit_dl.errors import ConfigError
from lit_dl.randomness import generator, run_seed

_EVALUATED = 1000  # rows a batch, over all devices, where no step is taken


class InMemoryDataModule(LightningDataModule):
    """Batches of (inputs, targets) from tensors in memory.

    A subclass answers `samples`, sets `train_rows` and `validation_rows` in `setup`, and may set `scale` there.

    On several devices all of them share every batch: `batch_size`, order and number of batches mean what they mean on
    one, and a sample of a validation or test set is counted once. A module of ours then learns what it learns on one
    device, but for rounding: after some epochs weights and metrics differ by less than 1e-12 of their size when
    trainer.precision is 64-true, and by less than 1e-5 in float32. (With ReLU in float32 a unit that rounding puts on
    the other side of zero makes it another run in the end, as it does where the rows of a batch change places.) Dropout
    and noise draw other numbers on each device, and batch norm takes its statistics from a device's share.

    Args:
        batch_size: Samples of one optimizer step, over all devices; 1 or more, and one or more for each device.
        shuffle: Whether each epoch has an order of its own, drawn from the seed and the epoch alone.
        drop_last: Leave out the last training batch when it is not full.
        seed: Seed of everything that is drawn. `None`: the run's seed.

    Raises:
        ConfigError: A value out of range.
    """

    train_rows: Tensor
    validation_rows: Tensor
    scale = Scale()

    def __init__(self, batch_size: int, shuffle: bool = True, drop_last: bool = False, seed: int | None = None) -> None:
        super().__init__()
        if batch_size < 1:
            raise ConfigError("batch_size", f"must be 1 or more; got {batch_size!r}")
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        self.seed = run_seed() if seed is None else seed
        self.test_sets = ["test"]  # one for each test dataloader: what the metrics on it are called

    def samples(self, part: str, device: torch.device) -> Batch:
        """All inputs (n, ...) and targets (n, ...) of a part, on a device.

        Args:
            part: `train`, which validation is a part of, or `test`.
            device: Where they shall be.
        """
        raise NotImplementedError

    @property
    def shape(self) -> list[int]:
        """Shape of one sample's input."""
        return list(self.samples("train", torch.device("cpu"))[0].shape[1:])

    @property
    def classes(self) -> int | None:
        """Number of distinct classes, labelled from 0; `None` where the targets are numbers."""
        return None

    def describe(self, module: LightningModule) -> str | None:  # noqa: ARG002
        """What `lit-dl fit` prints about a trained module at the end; `None`: nothing."""
        return None

    def setup(self, stage: str) -> None:  # noqa: ARG002 - Lightning's signature
        """Refuses batches larger than the training split, which a subclass has made, or too small for the devices.

        Raises:
            ConfigError: There is less than one batch, or a device would have nothing of one.
        """
        samples = len(self.train_rows)
        if self.batch_size > samples:
            raise ConfigError(
                "batch_size", f"must be at most the training split of {samples:,}; got {self.batch_size:,}"
            )
        if self.smallest_batch < self.ranks:
            fix = "choose more" if self.batch_size < self.ranks else "choose another, or set data.drop_last"
            raise ConfigError(
                "batch_size",
                f"must leave no batch with fewer samples than the {self.ranks} devices, of {samples:,}; "
                f"got {self.batch_size}; {fix}",
            )
        if len(self.validation_rows) < self.ranks:
            raise ConfigError(
                "validation",
                f"must hold out a sample for each of {self.ranks} devices, or more; leaves {len(self.validation_rows)}",
            )

    def train_dataloader(self) -> Batches:
        """Training batches; shuffled or in order."""

        def order() -> Tensor:
            if not self.shuffle:
                return self.train_rows
            epoch = self.trainer.current_epoch + 1 if self.trainer is not None else 1
            shuffled = torch.randperm(len(self.train_rows), generator=generator(self.seed, "order", epoch))
            return self.train_rows[shuffled]

        module = self.trainer.lightning_module if self.trainer is not None else None
        options = {"batch_size": self.batch_size, "drop_last": self.drop_last, "steps": steps_of(module)}
        return self._batches("train", order=order, rows=len(self.train_rows), **options)

    def val_dataloader(self) -> Batches:
        """Validation batches, in order."""
        return self._batches("train", order=lambda: self.validation_rows, rows=len(self.validation_rows))

    def test_dataloader(self) -> Batches | list[Batches]:
        """Test batches, in order; a list when there are several `test_sets`."""
        return self._test_batches(self.scale)

    def predict_dataloader(self) -> Batches:
        """Batches of the first test set, in order.

        Raises:
            ConfigError: There are several devices: nobody would put their predictions in order.
        """
        if self.ranks > 1:
            raise ConfigError("trainer.devices", f"must be 1 to predict; got {self.ranks}")
        return self._test_batches(self.scale)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:  # noqa: ARG002
        """The batch as it is: `samples` are on the device that trains."""
        return batch

    def _test_batches(self, scale: Scale) -> Batches:
        rows = torch.arange(len(self.samples("test", self._device)[1]))
        if len(rows) < self.ranks:
            raise ConfigError("trainer.devices", f"must be at most the {len(rows)} samples to test; got {self.ranks}")
        return self._batches("test", order=lambda: rows, rows=len(rows), scale=scale)

    def _batches(self, part: str, rows: int, **options: Any) -> Batches:
        # The last batch, too, has rows for every device.
        evaluated = next(size for size in range(_EVALUATED, 0, -1) if not 0 < rows % size < self.ranks)
        defaults = {"scale": self.scale, "batch_size": evaluated, "rank": self.rank, "ranks": self.ranks}
        return Batches(*self.samples(part, self._device), rows=rows, **{**defaults, **options})

    @property
    def smallest_batch(self) -> int:
        """Samples of the smallest training batch, over all devices."""
        return self.batch_size if self.drop_last else len(self.train_rows) % self.batch_size or self.batch_size

    @property
    def ranks(self) -> int:
        """How many devices, each with a process, share every batch."""
        return self.trainer.world_size if self.trainer is not None else 1

    @property
    def rank(self) -> int:
        """Which of them this process has."""
        return self.trainer.global_rank if self.trainer is not None else 0

    @property
    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")


def steps_of(module: object) -> int:
    """How many minibatches a module wants in one `training_step`; 1 when it does not say."""
    return int(getattr(module, "steps_per_execution", 1))


def check_validation(validation: int | float) -> None:
    """Refuses a size of the validation split that is neither a number nor a fraction.

    Raises:
        ConfigError: It is not positive, or a float of 1 or more.
    """
    if not validation > 0 or (isinstance(validation, float) and validation >= 1):
        raise ConfigError(
            "validation", f"must be a number of samples, 1 or more, or a fraction in (0, 1); got {validation!r}"
        )


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
