"""Atomic writing of checkpoint files."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import Trainer

from lit_dl.files import retry_on_full_disk, write_bytes


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file beside it, syncs and renames it, and waits while the disk is full.

    Lightning 2.6 writes to the system's temporary folder and moves the file from there. That is often another file
    system: then a process that is killed during the move leaves half a checkpoint in the place of a whole one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Saves the checkpoint. A remote path (`s3://...`) is left to Lightning."""
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        file = Path(path)
        content = BytesIO()
        torch.save(checkpoint, content)
        retry_on_full_disk(file.parent, lambda: file.parent.mkdir(parents=True, exist_ok=True))
        write_bytes(file, content.getbuffer(), durable=True)


def save_atomically(trainer: Trainer) -> None:
    """Sets `AtomicCheckpointIO` on the Trainer, unless its strategy or a plugin has a CheckpointIO of its own."""
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()
