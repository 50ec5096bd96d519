"""Measures the overhead of a trial in a running worker: claim, config, data, Trainer, W&B, checkpoint, finish.

Each trial trains one epoch of one batch, so nearly all its time is overhead. The first trial of the worker, which loads
wandb and the data, is left out.

    python benchmarks/trial.py [--trials 30]
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import threading
import warnings
from itertools import pairwise
from pathlib import Path

import torch
from pairs import circumstances, spread

from sweeps.spec.parse_spec import parse_spec
from sweeps.spec.preflight import check_spec
from sweeps.study.study import SharedStudy
from sweeps.worker.loop import work
from sweeps.worker.run_trial import WorkerContext


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=30)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    given = {
        "base": {
            "model": {"network": {"width": [300, 100]}, "steps_per_execution": 1},
            "trainer": {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 1, "accelerator": "cpu"},
        },
        "objective": {"metric": "val/acc", "direction": "maximize"},
        "n_trials": args.trials + 1,
        "space": {"model.optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True}},
        "pruner": "MedianPruner",
        "evaluate_test": "none",
        "check": "parse",
    }
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder)
        spec = check_spec(parse_spec(given, run_dir, "benchmark")).spec
        (run_dir / "spec.yaml").write_text(spec.dump())
        study = SharedStudy(run_dir, spec, create=True)
        work(run_dir, None, WorkerContext(run_dir, 0, 1, "offline", threading.Event()))
        trials = study.trials()
    starts = [trial.datetime_start.timestamp() for trial in trials if trial.datetime_start]
    gaps = [after - before for before, after in pairwise(starts[1:])]
    rows = [trial.user_attrs["result"] for trial in trials[1:]]
    print(circumstances())
    print(f"seconds from one claim to the next, {len(gaps)} trials: {spread(gaps)}")
    for name in ("waiting_s", "checkpoint_s", "tracking_s", "train_s", "validate_s", "data_s", "total_s"):
        print(f"  {name:14} {spread([row[name] for row in rows])}")


if __name__ == "__main__":
    main()
