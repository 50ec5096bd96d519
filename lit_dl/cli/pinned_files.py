"""Writes into a config which version of a file it was written for."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from lit_dl.files import expand_path, sha256_of


def pin_backbone(config: Namespace) -> None:
    """Sets the absolute path and the SHA-256 of the file of a backbone, so that a saved config means that file.

    A file that does not exist is refused when the network is built.
    """
    backbone = config.get("model.network.backbone")
    if not isinstance(backbone, Namespace) or "sha256" not in backbone:
        return
    for key in ("checkpoint", "weights"):
        given = backbone.get(key)
        if isinstance(given, str) and (path := Path(expand_path(given))).is_file():
            backbone[key] = str(path.absolute())
            backbone["sha256"] = backbone.get("sha256") or sha256_of(path)
