"""The engines by name. A new engine is a subclass of `Engine` in a file of its own, and a row here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeps.engines.engine import Engine

# By import path, because an engine may need packages that are not installed everywhere.
ENGINES = {
    "local": "sweeps.engines.local.LocalEngine",
    "ray": "sweeps.engines.ray.RayEngine",
}


def find_engine(name: str) -> type[Engine]:
    """Returns the class of an engine of `ENGINES`."""
    module, _, cls = ENGINES[name].rpartition(".")
    engine: type[Engine] = getattr(import_module(module), cls)
    return engine
