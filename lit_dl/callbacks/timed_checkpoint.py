"""Lightning's ModelCheckpoint, with the seconds it took."""

from __future__ import annotations

from time import perf_counter

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class TimedCheckpoint(ModelCheckpoint):
    """ModelCheckpoint that counts, in `seconds`, the time of its writing."""

    seconds = 0.0

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        started = perf_counter()
        super()._save_checkpoint(trainer, filepath)
        self.seconds += perf_counter() - started
