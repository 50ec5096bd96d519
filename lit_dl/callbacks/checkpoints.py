"""Lightning's ModelCheckpoint, with the seconds it took, in a folder that may have been moved."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class TimedCheckpoint(ModelCheckpoint):
    """ModelCheckpoint that counts, in `seconds`, the time of its writing, over all attempts at a run.

    Its state is good in another place too, when the whole folder was moved there.
    """

    seconds = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        with warnings.catch_warnings():  # a run that goes on finds its own checkpoints there
            warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
            super().setup(trainer, pl_module, stage)

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        started = perf_counter()
        super()._save_checkpoint(trainer, filepath)
        self.seconds += perf_counter() - started

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict.get("seconds", 0.0)
        super().load_state_dict(_moved(state_dict, str(self.dirpath)))


def _moved(state: dict[str, Any], folder: str) -> dict[str, Any]:
    """The state with its paths in `folder`, if the best checkpoint that it names is there."""
    best = Path(folder) / Path(state["best_model_path"]).name
    if not best.is_file():
        return state
    before = str(state["dirpath"])
    paths = {key: value.replace(before, folder) for key, value in state.items() if isinstance(value, str)}
    models = {path.replace(before, folder): score for path, score in state["best_k_models"].items()}
    return {**state, **paths, "best_k_models": models}


class BestCheckpoint(TimedCheckpoint):
    """Keeps the best epoch, and a backup of the one before it until `drop_backup`: a killed run redoes an epoch."""

    @property
    def path(self) -> Path:
        """The file of the best epoch."""
        return Path(self.format_checkpoint_name({}))

    @property
    def backup(self) -> Path:
        """The file of the best epoch before it, while that may be needed."""
        return self.path.with_name(f".{self.path.name}.previous")

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        if trainer.is_global_zero and self.path.exists():
            with suppress(OSError):  # it is there from earlier in this epoch, or the file system has no links
                os.link(self.path, self.backup)
        super()._save_checkpoint(trainer, filepath)

    def drop_backup(self) -> None:
        """Drops the previous best."""
        self.backup.unlink(missing_ok=True)

    def roll_back(self, is_ahead: bool) -> None:
        """Makes the files those of the end of an epoch.

        Args:
            is_ahead: The file of the best epoch is of a later epoch.
        """
        if is_ahead:
            self.path.unlink()
            with suppress(FileNotFoundError):
                self.backup.replace(self.path)
        self.drop_backup()


class LastCheckpoint(TimedCheckpoint):
    """Keeps the last epoch. (ModelCheckpoint's `save_last` would keep the last that was best.)

    Args:
        best: Whose previous file is needed no more when an epoch's end is on disk.
        options: Those of ModelCheckpoint.
    """

    def __init__(self, best: BestCheckpoint | None, **options: Any) -> None:
        super().__init__(**options)
        self.best = best

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        super()._save_checkpoint(trainer, filepath)
        if self.best is not None and trainer.is_global_zero:
            self.best.drop_backup()
