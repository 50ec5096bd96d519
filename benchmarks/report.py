"""How long a report of many trials takes to write, how large it is, and how fast Chromium opens it.

    python benchmarks/report.py --trials 100 1000 10000 --epochs 20

Makes run folders as sweeps leave them: a config, metrics and a log for each trial, and 8 parameters.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from browser import Browser, program

from sweeps.report.page import write_report
from sweeps.results.files import write_results
from sweeps.results.trial_result import TrialResult
from sweeps.trial_folder import TrialFolder

SPACE = {
    "model.network.depth": {"low": 1, "high": 4, "type": "int"},
    "model.network.width": {"low": 32, "high": 512, "log": True, "type": "int"},
    "model.network.activation": {"choices": ["relu", "tanh", "selu", "silu"]},
    "model.network.dropout": {"low": 0.0, "high": 0.5, "type": "float"},
    "model.optimizer.name": {"choices": ["sgd", "adam"]},
    "model.optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True, "type": "float"},
    "model.optimizer.weight_decay": {"low": 1e-6, "high": 1e-2, "log": True, "type": "float"},
    "data.batch_size": {"choices": [32, 64, 128, 256]},
}
SLOTS = 8


def sample(draw: random.Random) -> dict[str, object]:
    """Values of all parameters."""
    values: dict[str, object] = {}
    for name, entry in SPACE.items():
        if "choices" in entry:
            values[name] = draw.choice(list(entry["choices"]))  # type: ignore[call-overload]
            continue
        low, high = float(entry["low"]), float(entry["high"])  # type: ignore[arg-type]
        value = math.exp(draw.uniform(math.log(low), math.log(high))) if entry.get("log") else draw.uniform(low, high)
        values[name] = round(value) if entry["type"] == "int" else value
    return values


def make_folder(run_dir: Path, trials: int, epochs: int) -> Path:
    """A run folder; a third of its trials were pruned."""
    draw = random.Random(0)
    objective = {"metric": "val/acc", "direction": "maximize"}
    base = {"seed_everything": 0, "trainer": {"max_epochs": epochs}}
    spec = {"name": run_dir.name, "base": base, "objective": objective, "space": SPACE, "n_trials": trials}
    run_dir.mkdir(parents=True)
    (run_dir / "spec.yaml").write_text(yaml.safe_dump(spec))
    write_results(run_dir, [make_trial(run_dir, number, epochs, draw) for number in range(trials)])
    return run_dir


def make_trial(run_dir: Path, number: int, epochs: int, draw: random.Random) -> TrialResult:
    params = sample(draw)
    level = 0.98 - 0.05 * abs(math.log10(float(params["model.optimizer.lr"])) + 2.5)  # type: ignore[arg-type]
    is_pruned = draw.random() < 1 / 3
    ran = draw.randint(1, max(epochs // 2, 1)) if is_pruned else epochs
    curve = [level - 0.4 * math.exp(-epoch / 3) + draw.gauss(0, 0.004) for epoch in range(1, ran + 1)]
    folder = TrialFolder(run_dir, number)
    folder.path.mkdir(parents=True)
    rows = [f"{e},{e * 1.5},{0.5 / e!r},{1 - v!r},{v!r},{v - 0.01!r}" for e, v in enumerate(curve, start=1)]
    head = "epoch,elapsed_s,train/loss,val/loss,val/acc,train/acc"
    folder.metrics.write_text("\n".join([head, *rows]) + "\n")
    folder.config.write_text("".join(f"key_{k}: {k}\n" for k in range(60)) + yaml.safe_dump(params))
    folder.log.write_text("".join(f"trial {number}, epoch {e}: val/acc {v:.4f}\n" for e, v in enumerate(curve)))
    begun = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=30 * (number // SLOTS))
    best = max(range(ran), key=lambda epoch: curve[epoch])
    return TrialResult(
        number,
        "PRUNED" if is_pruned else "COMPLETE",
        "pruned" if is_pruned else "completed",
        str(number),
        reason="the pruner stopped it" if is_pruned else "max_epochs",
        value=curve[best],
        params=params,
        best={"val/acc": curve[best], "val/loss": 1 - curve[best]},
        last={"val/acc": curve[-1], "val/loss": 1 - curve[-1]},
        best_epoch=best + 1,
        epochs=ran,
        seed=0,
        attempt=1,
        slot=number % SLOTS,
        started=begun.isoformat(),
        finished=(begun + timedelta(seconds=1.4 * ran)).isoformat(),
        elapsed_s=1.4 * ran,
        seconds={"train": 1.2 * ran, "data": 0.1 * ran, "total": 1.4 * ran},
        parameters=10000 + number,
    )


def opened(path: Path) -> str:
    """How long Chromium takes to load a report, to draw all of its plots, and to sort and to filter its table."""
    if program() is None:
        return "Chromium is not installed"
    browser = Browser()
    try:
        begun = time.perf_counter()
        browser.open(path)
        drawn_s = time.perf_counter() - begun
        timing = "performance.timing.{} - performance.timing.navigationStart"
        loaded_s = browser.run(timing.format("loadEventEnd")) / 1000
        sort = "(() => { const t = performance.now(); document.querySelectorAll('#trials th button')[3].click();"
        sort_ms = browser.run(f"{sort} return performance.now() - t; }})()")
        find = (
            "(() => { const t = performance.now(), box = document.querySelector('#trials input'); box.value = 'adam 7';"
        )
        find_ms = browser.run(f"{find} box.dispatchEvent(new Event('input')); return performance.now() - t; }})()")
        assert not browser.errors, browser.errors
        return f"loaded {loaded_s:.2f} s, all drawn {drawn_s:.1f} s, sort {sort_ms:.0f} ms, filter {find_ms:.0f} ms"
    finally:
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--epochs", type=int, default=20)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for trials in args.trials:
            run_dir = make_folder(Path(folder) / f"trials-{trials}", trials, args.epochs)
            begun, cpu = time.perf_counter(), time.process_time()
            path = write_report(run_dir)
            written_s, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
            size = path.stat().st_size / 1e6
            print(f"{trials} trials: {written_s:.1f} s (CPU {cpu_s:.1f} s), {size:.1f} MB; {opened(path)}", flush=True)


if __name__ == "__main__":
    main()
