"""Hyperparameter sweeps: Optuna studies of Lightning runs on all devices, with retries, pruning and a ranking.

    import sweeps

    sweep = sweeps.launch({"base": ..., "objective": ..., "space": ..., "n_trials": 20}, "runs/mine")
    sweep.trials  # a data frame, also later: sweeps.load("runs/mine").trials

Names are imported when they are first used, so that `import sweeps` imports neither torch nor optuna.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeps.added_trials import AddedTrial
    from sweeps.api import enqueue, launch, load
    from sweeps.sweep import BestConfiguration, Sweep

__all__ = ["AddedTrial", "BestConfiguration", "Sweep", "enqueue", "launch", "load"]

_MODULES = {
    "AddedTrial": "sweeps.added_trials",
    "BestConfiguration": "sweeps.sweep",
    "Sweep": "sweeps.sweep",
    "enqueue": "sweeps.api",
    "launch": "sweeps.api",
    "load": "sweeps.api",
}


if not TYPE_CHECKING:  # a type checker would take any name for one of the package

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module 'sweeps' has no attribute {name!r}")
        return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
