"""A callback that shortens every epoch to one batch, from outside of the Trainer's arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class Tried(Exception):
    """Enough was tried. Ends `fit`."""


class OneBatchEpochs(Callback):
    """Ends each epoch after one training batch, and one validation batch of each loader.

    The arguments of the Trainer stay as they are, and so does what is derived from them, such as the length of a
    schedule. Where the run validates at all, it validates after the first batch.

    Args:
        is_enough: Told the number of epochs so far; says whether `fit` ends.
    """

    def __init__(self, is_enough: Callable[[int], bool]) -> None:
        self.is_enough = is_enough
        self.epochs = 0
        """Epochs so far."""
        self.validates_every: tuple[int | None, float | None] = (1, None)
        """What the Trainer says: epochs, and batches."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        others = [callback for callback in trainer.callbacks if callback is not self]  # type: ignore[attr-defined]
        trainer.callbacks = [self, *others]  # type: ignore[attr-defined]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        loop: Any = trainer
        self.validates_every = (trainer.check_val_every_n_epoch, loop.val_check_batch)
        every, epochs = self.validates_every[0] or 1, trainer.max_epochs or 1
        if every <= epochs or epochs < 0:
            trainer.check_val_every_n_epoch = 1
            loop.val_check_batch, loop._val_check_time_interval = 1, None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        if self.epochs and self.is_enough(self.epochs):
            raise Tried
        self.epochs += 1

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        if batch_idx > 0:
            raise StopIteration  # by which Lightning's loops end an epoch

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        loop = trainer.fit_loop.epoch_loop.val_loop
        if trainer.enable_validation:
            trainer.validating = True
            loop.setup_data()
            trainer.training = True
            self._limits, loop._max_batches = loop._max_batches, [min(1, limit) for limit in loop._max_batches]

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        if not trainer.sanity_checking:  # the loaders have their limits now
            trainer.fit_loop.epoch_loop.val_loop._max_batches = self._limits
