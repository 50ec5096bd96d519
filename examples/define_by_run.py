"""A search space that is a function: it suggests values to Optuna and returns the keys of the run config.

From the folder above: `sweeps launch examples/define_by_run.yaml`. Use a function where one value follows from another;
for ranges and choices by themselves YAML is shorter.
"""

from __future__ import annotations

from typing import Any

from optuna import Trial


def suggest(trial: Trial) -> dict[str, Any]:
    """Returns a network within a budget of weights, and a learning rate that grows with the batch size."""
    batch_size = trial.suggest_categorical("batch_size", [16, 32, 64])
    keys = {
        "data.batch_size": batch_size,
        "model.hidden": trial.suggest_int("hidden", 4, 32, log=True),
        "model.lr": batch_size * trial.suggest_float("lr_per_sample", 1e-5, 1e-3, log=True),
    }
    if keys["model.hidden"] >= 16:  # a small network needs no dropout
        keys["model.dropout"] = trial.suggest_float("dropout", 0.0, 0.5)
    return keys
