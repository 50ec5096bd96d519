"""Finds the user's own code in a traceback."""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Collection
from pathlib import Path

_OURS = [str(Path(__file__).parents[2] / package) for package in ("lit_dl", "sweeps")]
_INSTALLED = (*sysconfig.get_paths().values(), *_OURS)


def user_line(error: BaseException, packages: Collection[str]) -> str | None:
    """Returns file, number and text of the last line of the user's own code that an error passed through.

    Args:
        error: The error.
        packages: Packages whose code counts as the user's where no other does: those of the classes of the run.

    Returns:
        `None` where there is no such line.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _is_installed(frame.filename)]
    own = own or [frame for frame in frames if {*packages} & {*Path(frame.filename).parts}]
    if not own:
        return None
    path = os.path.relpath(own[-1].filename)
    path = own[-1].filename if path.startswith("..") else path
    return f"{path}:{own[-1].lineno}: {own[-1].line}"


def _is_installed(path: str) -> bool:
    return path.startswith("<") or any(Path(path).is_relative_to(folder) for folder in _INSTALLED)


def ends_an_epoch(error: BaseException) -> bool:
    """Returns whether an error was raised at the end of an epoch or of a validation, after its batches."""
    ends = {"evaluation_loop.py": ("_store_dataloader_outputs", "on_run_end"), "fit_loop.py": ("on_advance_end",)}
    frames = traceback.extract_tb(error.__traceback__)
    is_sanity_check = any(frame.name == "_run_sanity_check" for frame in frames)
    return not is_sanity_check and any(f.name in ends.get(Path(f.filename).name, ()) for f in frames)
