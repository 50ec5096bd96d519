"""Measures the cost of the diagnostics by layer: epochs with them against the same epochs without.

One thread, batch size 50, full MNIST, validation, checkpoints and W&B offline. There are two measures, because the
speed of the machine drifts by more than the cost: whole runs with and without diagnostics in turn, and the share of the
CPU time of a run that is spent inside the callback and its hooks. The first epoch takes more samples than later ones,
so it is also measured alone.

    python benchmarks/diagnostics.py [--pairs 5]
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import process_time
from typing import Any
from unittest.mock import patch

import torch
from pairs import circumstances, paired, ratio, spread

from lit_dl.callbacks.layer_activity import LayerActivity
from lit_dl.callbacks.layer_health import LayerHealth
from lit_dl.cli.lit_cli import build_run
from lit_dl.run.run_result import RunLocation

NETWORKS: dict[str, dict[str, Any]] = {
    "784-300-100-10": {"width": [300, 100]},
    "depth 20, width 100": {"depth": 20, "width": 100},
}
TIMED: dict[type, tuple[str, ...]] = {
    LayerHealth: (
        "on_train_epoch_start",
        "on_before_optimizer_step",
        "on_validation_start",
        "on_validation_end",
        "on_train_epoch_end",
    ),
    LayerActivity: ("_apply", "_observe"),
}


def train(network: dict[str, Any], epochs: int, diagnostics: bool) -> None:
    """Trains as a worker of a sweep does."""
    config = {
        "model": {"network": network},
        "data": {"batch_size": 50},
        "trainer": {"max_epochs": epochs, "accelerator": "cpu"},
        "threads": 1,
        "diagnostics": diagnostics,
    }
    with tempfile.TemporaryDirectory() as folder:
        run = build_run(config, RunLocation(Path(folder), "benchmark", wandb="offline"))
        run.open()
        run.fit()
        run.close()


def inside(network: dict[str, Any], epochs: int) -> float:
    """Returns the share of the CPU time of a run that is spent inside the diagnostics."""
    spent = 0.0

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> None:
            nonlocal spent
            started = process_time()
            function(*args)
            spent += process_time() - started

        return call

    with ExitStack() as patches:
        for cls, names in TIMED.items():
            for name in names:
                patches.enter_context(patch.object(cls, name, timed(getattr(cls, name))))
        started = process_time()
        train(network, epochs, True)
        return spent / (process_time() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    print(circumstances())
    print(f"CPU seconds: median (least to greatest) of {args.pairs} pairs")
    for name, network in NETWORKS.items():
        for epochs in (1, 3):
            with_them, without = paired(
                lambda n=network, e=epochs: train(n, e, True),
                lambda n=network, e=epochs: train(n, e, False),
                args.pairs,
            )
            shares = [inside(network, epochs) for _ in range(args.pairs)]
            print(f"{name}, {epochs} epochs: with {spread(with_them)}, ratio {ratio(with_them, without)}", flush=True)
            print(f"    inside the diagnostics: {spread(shares)} of the time", flush=True)


if __name__ == "__main__":
    main()
