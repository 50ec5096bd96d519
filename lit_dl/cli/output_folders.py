"""Puts what the loggers, callbacks and profiler of a Trainer write into the folder of the run."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

# The arguments of Lightning's own classes, and of many others, that name a folder to write to.
_FOLDERS = ("default_root_dir", "dirpath", "save_dir", "log_dir", "output_dir")


def write_below(folder: Path, trainer: Namespace, confined: bool) -> Namespace:
    """Returns the arguments of a Trainer with the folders that they name below a folder.

    Trials that run at the same time, from one working directory, so never write over each other's files.

    Args:
        folder: The folder.
        trainer: Parsed arguments of the Trainer, with its callbacks, loggers and profiler.
        confined: Whether absolute paths are moved below the folder too.
    """

    def place(path: str) -> str:
        full = Path(path).expanduser()
        if "://" in path or (full.is_absolute() and not confined):
            return path
        return str(folder / full.relative_to(full.anchor))

    placed: Namespace = _with_folders(trainer, place)
    return placed


def _with_folders(value: Any, place: Callable[[str], str], name: str = "") -> Any:
    if name in _FOLDERS and isinstance(value, str | PathLike):
        return place(str(value))
    if isinstance(value, Namespace):
        return Namespace(**{key: _with_folders(part, place, key) for key, part in vars(value).items()})
    if isinstance(value, dict):
        return {key: _with_folders(part, place, key) for key, part in value.items()}
    return [_with_folders(part, place) for part in value] if isinstance(value, list) else value
