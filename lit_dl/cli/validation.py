"""Checks of values that the parser accepts and a run cannot use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args
from zipfile import is_zipfile

from lit_dl.config.keys import Config, flatten
from lit_dl.config.parser_errors import readable_type
from lit_dl.errors import ConfigError


def check_seed(seed: object) -> None:
    """Refuses a seed that the generators do not accept.

    Raises:
        ConfigError: The seed is neither true (a random seed), nor false, nor a whole number in [0, 2**32).
    """
    if not isinstance(seed, bool) and not (isinstance(seed, int) and 0 <= seed < 2**32):
        raise ConfigError("seed_everything", f"must be a whole number from 0 to {2**32 - 1}; got {seed!r}")


def refuse_null(config: Config, types: Mapping[str, Any]) -> None:
    """Refuses null where the annotation does not allow it; jsonargparse accepts null for any type.

    Args:
        config: In normal form.
        types: Annotations by dotted key.

    Raises:
        ConfigError: A value must not be null.
    """
    for key, value in flatten(config):
        kind = types.get(key)
        if value is None and kind is not None and not (kind is Any or type(None) in get_args(kind)):
            raise ConfigError(key, f"must be {readable_type(str(kind))}; got null")


def check_checkpoint(path: Path) -> None:
    """Refuses a file that cannot be a checkpoint.

    Raises:
        ConfigError: The file is missing, or `torch.save` did not write it.
    """
    if not is_zipfile(path):
        what = "is not what torch.save writes" if path.exists() else "does not exist"
        raise ConfigError("ckpt_path", f"must be a checkpoint of Lightning's; {path} {what}")


def make_folder(path: Path) -> None:
    """Creates the folder of a run.

    Raises:
        ConfigError: The folder cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError("run_dir", f"must be a folder that can be written; {path}: {error.strerror}") from None
