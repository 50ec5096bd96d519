"""The quickstart as a user runs it: wall time, share of training, memory of a worker, start-up times.

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

from sweeps.results import read_results

SPEC = Path(__file__).parent.parent / "configs" / "sweeps" / "quickstart.yaml"


def sweeps(*words: str) -> str:
    """Runs a command of ours and gives what it printed."""
    done = subprocess.run([sys.executable, "-m", "sweeps", *words], capture_output=True, text=True, check=True)
    return done.stdout


def watch_memory(peak: list[int], stop: threading.Event) -> None:
    """Keeps the greatest resident size of any worker."""
    me = psutil.Process()
    while not stop.wait(0.5):
        for child in me.children(recursive=True):
            try:
                if child.name().startswith("worker-"):
                    peak[0] = max(peak[0], child.memory_info().rss)
            except psutil.Error:
                continue


def busy_share(rows: list[dict[str, object]], workers: int, begun: float) -> tuple[float, float]:
    """Share of the workers' time in trials, from the first claim until no trial was left to claim."""
    from datetime import datetime

    spans = [tuple(datetime.fromisoformat(str(row[k])).timestamp() for k in ("started", "finished")) for row in rows]
    first, last_start = min(a for a, _ in spans), max(a for a, _ in spans)
    inside = sum(max(0.0, min(b, last_start) - a) for a, b in spans)
    training = sum(
        float(str(row["train_s"])) + float(str(row["validate_s"])) + float(str(row["data_s"])) for row in rows
    )
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
        print(f"best {best['value']:.4f} on validation, {best['metrics.test/acc']:.4f} on test")
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
