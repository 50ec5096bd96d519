"""Measures the quickstart as a user runs it: wall time, share of training, memory of a worker, start-up times.

python benchmarks/quickstart.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import psutil
from pairs import circumstances, spread, wall_s

from sweeps.results.files import read_results
from sweeps.results.trial_result import TrialResult

SPEC = Path(__file__).parent.parent / "configs" / "sweeps" / "quickstart.yaml"


def sweeps(*words: str) -> str:
    """Runs a `sweeps` command and returns its output."""
    done = subprocess.run([sys.executable, "-m", "sweeps", *words], capture_output=True, text=True, check=True)
    return done.stdout


def watch_memory(peak: list[int], stop: threading.Event) -> None:
    """Stores the largest resident size of any worker."""
    me = psutil.Process()
    while not stop.wait(0.5):
        for child in me.children(recursive=True):
            try:
                if child.name().startswith("worker-"):
                    peak[0] = max(peak[0], child.memory_info().rss)
            except psutil.Error:
                continue


def busy_share(results: list[TrialResult], workers: int, begun: float) -> tuple[float, float]:
    """Returns the share of the workers' time that is training, validation and data, and the seconds until the first
    claim. The time runs from the first claim until no trial was left to claim."""
    from datetime import datetime

    times = [(str(result.started), str(result.finished)) for result in results]
    spans = [tuple(datetime.fromisoformat(time).timestamp() for time in pair) for pair in times]
    first, last_start = min(a for a, _ in spans), max(a for a, _ in spans)
    inside = sum(max(0.0, min(b, last_start) - a) for a, b in spans)
    training = sum(result.seconds[part] for result in results for part in ("train", "validate", "data"))
    total = sum(b - a for a, b in spans)
    return inside / (workers * (last_start - first)) * training / total, first - begun


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "quickstart"
        peak, stop = [0], threading.Event()
        watcher = threading.Thread(target=watch_memory, args=(peak, stop))
        watcher.start()
        begun = time.time()
        elapsed = wall_s(lambda: sweeps("launch", str(SPEC), "--run_dir", str(run_dir), "--wandb", "offline"))
        stop.set()
        watcher.join()
        status = json.loads(sweeps("status", str(run_dir), "--json"))
        best = json.loads(sweeps("best", str(run_dir), "--json"))
        share, until_first = busy_share(read_results(run_dir), status["workers"], begun)
        print(circumstances())
        print(f"quickstart: {elapsed:.1f} s with {status['workers']} workers, {status['outcomes']}")
        print(f"best {best['value']:.4f} on validation, {best['best.test/acc']:.4f} on test")
        print(f"until the first trial: {until_first:.1f} s (start, checks, start of the workers)")
        print(f"while trials remain, share of the workers' time in training, validation and data: {share:.1%}")
        print(f"greatest resident size of a worker: {peak[0] / 2**20:.0f} MiB")
        checks = [
            wall_s(lambda: sweeps("launch", str(SPEC), "--run_dir", f"{folder}/dry", "--dry_run")) for _ in range(3)
        ]
        print(f"checks before trial 0 (--dry_run): {spread(checks)} s")
        for words in (("--help",), ("status", str(run_dir)), ("best", str(run_dir))):
            print(f"sweeps {words[0]}: {median([wall_s(lambda w=words: sweeps(*w)) for _ in range(5)]):.2f} s")


if __name__ == "__main__":
    main()
