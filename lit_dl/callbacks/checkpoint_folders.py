"""A callback that keeps the files of the user's `ModelCheckpoint` apart from those of the run."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class CheckpointFolders(Callback):
    """Gives a `ModelCheckpoint` a folder of its own where it would write into that of `best.ckpt` and `last.ckpt`.

    One that names no folder would write there, or, where a run is tracked, into a folder that Lightning names after the
    W&B run. With loggers of the user's the rule of Lightning holds: it writes below the first of them.

    Args:
        ours: The folder of `best.ckpt` and `last.ckpt`.
        has_logger: Whether the user has loggers.
    """

    def __init__(self, ours: Path, has_logger: bool) -> None:
        self.ours, self.has_logger = ours.absolute(), has_logger

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        for callback in trainer.checkpoint_callbacks:
            if not isinstance(callback, ModelCheckpoint) or (callback.dirpath is None and self.has_logger):
                continue
            folder = Path(callback.dirpath or Path(trainer.default_root_dir, "checkpoints")).absolute()
            callback.dirpath = str(folder / type(callback).__name__ if folder == self.ours else folder)
