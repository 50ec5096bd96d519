"""Writing of checkpoint files: whole or not at all, and so that they load without unpickling."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from lit_dl.errors import DataError
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


_HYPERPARAMETERS = (LightningModule.CHECKPOINT_HYPER_PARAMS_KEY, LightningDataModule.CHECKPOINT_HYPER_PARAMS_KEY)


def leave_out_objects(checkpoint: dict[str, Any]) -> None:
    """Removes the hyperparameters from a checkpoint that only unpickling can restore, such as paths and modules.

    Unpickling a file can run any code. A run needs none of these to resume or to be tested, because its config builds
    the module. `load_from_checkpoint` takes them as keyword arguments.
    """
    for key in _HYPERPARAMETERS:
        given = checkpoint.get(key, {})
        if is_plain(given):
            continue
        checkpoint[key] = {name: value for name, value in given.items() if is_plain(value)}
        names = ", ".join(name for name in given if name not in checkpoint[key])
        warnings.warn(
            f"best.ckpt and last.ckpt leave out hyperparameters that are no plain values: {names}; "
            "give them to load_from_checkpoint",
            stacklevel=2,
        )
    if not is_plain(checkpoint.get(LightningModule.CHECKPOINT_HYPER_PARAMS_TYPE)):
        del checkpoint[LightningModule.CHECKPOINT_HYPER_PARAMS_TYPE]  # the class that OmegaConf keeps them in


def is_plain(value: Any) -> bool:
    """Returns whether a value can be saved, and loaded again without unpickling."""
    content = BytesIO()
    try:
        torch.save(value, content)
        content.seek(0)
        torch.load(content, weights_only=True)
    except Exception:  # an object may raise anything while it is saved
        return False
    return True


@contextmanager
def loads_plainly(path: Path | None) -> Iterator[None]:
    """Context manager: the error for a checkpoint that only unpickling can load.

    Raises:
        DataError: The file that is loaded inside is such a one.
    """
    try:
        yield
    except UnpicklingError as error:
        raise DataError(
            f"{path}: must load without unpickling, which can run any code; it holds objects "
            f"({str(error).splitlines()[0]})"
        ) from None
