"""Measures how long a slot is idle between two trials of a sweep: from the end of one run to the start of the next.

Two workers run trials of two short epochs of a small network on MNIST, through `sweeps launch`. In an idle slot, the
outcome of a trial is written to disk and reported, and the next trial is claimed.

    python benchmarks/slots.py [--trials 60] [--engine ray] [--storage postgresql+psycopg://...]

`benchmarks/claims.py` says how to start a throwaway server.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles

import yaml
from pairs import circumstances

from sweeps.results.files import read_results
from sweeps.results.trial_result import TrialResult

SPEC = {
    "base": {
        "model": {"network": {"width": [32]}},
        "trainer": {"max_epochs": 2, "limit_train_batches": 20, "limit_val_batches": 1, "accelerator": "cpu"},
    },
    "space": {"model.optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True}},
    "objective": {"metric": "val/loss", "direction": "minimize"},
    "sampler": "RandomSampler",
    "evaluate_test": "none",
}


def run_sweep(folder: Path, args: argparse.Namespace) -> list[TrialResult]:
    """The results of a sweep's trials."""
    (folder / "slots.yaml").write_text(yaml.safe_dump({**SPEC, "n_trials": args.trials, "name": folder.name}))
    words = ["launch", str(folder / "slots.yaml"), "--run_dir", str(folder / "run"), "--workers", "2"]
    words += ["--engine", args.engine, *(["--storage", args.storage] if args.storage else [])]
    subprocess.run([sys.executable, "-m", "sweeps", *words], check=True, capture_output=True)
    return read_results(folder / "run")


def idle(results: list[TrialResult]) -> list[float]:
    """Milliseconds from the end of each run to the start of the next on its slot."""
    slots = defaultdict(list)
    for row in sorted(results, key=lambda result: str(result.started)):
        slots[row.slot].append(row)
    return [
        1e3
        * (datetime.fromisoformat(str(after.started)) - datetime.fromisoformat(str(before.finished))).total_seconds()
        for found in slots.values()
        for before, after in pairwise(found)
    ]


def show(name: str, values: list[float]) -> None:
    most = quantiles(values, n=20)[-1]
    print(f"  {name:36} median {median(values):6.1f}   95 % {most:6.1f}   longest {max(values):6.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--engine", choices=["local", "ray"], default="local")
    parser.add_argument("--storage", help="a database of Optuna's, as SQLAlchemy writes it; default: the journal")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slots-") as folder:
        rows = run_sweep(Path(folder), args)
    print(circumstances())
    print(f"engine {args.engine}, {'database' if args.storage else 'journal'}, {len(rows)} trials, two slots; ms")
    show("a slot idle between two trials", idle(rows))
    show("of that, claiming the next trial", [1e3 * row.seconds["waiting"] for row in rows[2:]])


if __name__ == "__main__":
    main()
