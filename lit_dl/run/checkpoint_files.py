"""`best.ckpt` and `last.ckpt` of a run, safe against a crash between the two."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import perf_counter

SaveCheckpoint = Callable[[Path], None]
"""Saves a checkpoint. All ranks call it, because a sharded strategy saves collectively."""


class CheckpointFiles:
    """Saves the checkpoints of the best and of the last epoch, and can roll the best one back.

    An epoch ends with the writing of `last.ckpt`. A run that is killed before that trains the epoch again, and must
    find the best checkpoint of the epochs before. So a new best checkpoint leaves a backup of the previous one, which
    is deleted when `last.ckpt` of the same epoch is written.

    Args:
        folder: Folder of the files. It is made when the first one is saved.
        keeps_last: Whether the last epoch is kept. Without it no run resumes, and no backup is needed.
    """

    def __init__(self, folder: Path, keeps_last: bool) -> None:
        self.best = folder / "best.ckpt"
        self.last = folder / "last.ckpt"
        self.backup = folder / ".best.ckpt.previous"
        self.keeps_last = keeps_last
        self.has_best = False
        """Whether `best.ckpt` is of this run."""
        self.seconds = 0.0
        """Time spent in saving, over all attempts at the run."""

    def save_best(self, save: SaveCheckpoint, is_writer: bool) -> None:
        """Saves the best checkpoint, and backs up the previous one.

        Args:
            save: Saves a checkpoint.
            is_writer: Whether this rank writes files.
        """
        if is_writer and self.keeps_last and self.best.exists():
            with suppress(OSError):  # there is a backup from this epoch already, or the file system has no hard links
                os.link(self.best, self.backup)
        self.has_best = True
        self._save(self.best, save)

    def save_last(self, save: SaveCheckpoint, is_writer: bool) -> None:
        """Saves the checkpoint of the last epoch, which completes it, and deletes the backup."""
        self._save(self.last, save)
        if is_writer:
            self.backup.unlink(missing_ok=True)

    def _save(self, path: Path, save: SaveCheckpoint) -> None:
        started = perf_counter()
        save(path)
        self.seconds += perf_counter() - started

    def roll_back(self, is_ahead: bool, is_writer: bool) -> None:
        """Makes the best checkpoint that of the end of the epoch from which the run resumes.

        Args:
            is_ahead: Whether `best.ckpt` is of a later epoch.
            is_writer: Whether this rank writes files.
        """
        if is_writer and is_ahead:
            self.best.unlink()
            with suppress(FileNotFoundError):
                self.backup.replace(self.best)
        if is_writer:
            self.backup.unlink(missing_ok=True)
        self.has_best = True
