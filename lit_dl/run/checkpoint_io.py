"""Checkpoint files that are whole or not there."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import Trainer

from lit_dl.files import retry_on_full_disk, write_bytes


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, syncs and renames it, and waits for space on a full disk.

    Lightning 2.6 writes into the system's folder for temporary files and moves that: where it is another file system,
    as it often is, a process that is killed meanwhile leaves half a checkpoint in the place of a whole one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Saves the checkpoint; what is not a path of this machine (`s3://...`) as Lightning does."""
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        content, file = BytesIO(), Path(path)
        torch.save(checkpoint, content)
        retry_on_full_disk(file.parent, lambda: file.parent.mkdir(parents=True, exist_ok=True))
        write_bytes(file, content.getbuffer(), durable=True)


def write_whole_checkpoints(trainer: Trainer) -> None:
    """Has the Trainer save by `WholeCheckpointIO`; a strategy or plugin that has a way of its own keeps it."""
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = WholeCheckpointIO()
