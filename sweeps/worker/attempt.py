"""One attempt at a trial, in this process: a run, and how it ended."""

from __future__ import annotations

import csv
import gc
import math
import traceback
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from lit_dl.cli.lit_cli import build_run
from lit_dl.config.keys import Config
from lit_dl.run.run import Run
from lit_dl.run.run_result import RunLocation, RunResult
from lit_dl.tracking import Mode
from sweeps.study.records import now
from sweeps.study.retry import is_disk_full
from sweeps.worker.callbacks import ReportAndPrune, Reporter, StopSwitch, TrialInterrupted, TrialTimedOut

SCHEMA_VERSION = 1
# What has no class of its own: torch's allocator for the CPU, CUDA outside of torch's allocator, and its libraries.
_NO_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC")


@dataclass(frozen=True)
class TrialRequest:
    """What an attempt needs to know, in plain values: it crosses to other processes as JSON.

    Args:
        number: Of the trial.
        attempt: From 1.
        config: The run config.
        metrics: Names of the objectives.
        folder: The trial's folder.
        study: Name of the study.
        run_id: The W&B id of all attempts.
        wandb: online, offline or disabled.
        test: Whether a trial that completes is evaluated on the test set.
        timeout_s: Seconds that a trial may take over all attempts; `None`: no limit.
        slot: Number of the worker.
    """

    number: int
    attempt: int
    config: Config
    metrics: list[str]
    folder: str
    study: str
    run_id: str
    wandb: Mode
    test: bool
    timeout_s: float | None
    slot: int

    def location(self) -> RunLocation:
        """Where the run leaves its files; the same W&B run for every attempt."""
        return RunLocation(Path(self.folder), f"{self.study}/{self.number:05d}", self.study, self.run_id, self.wandb)


Row = dict[str, Any]


def run_attempt(request: TrialRequest, report: Reporter, stop: Any) -> Row:
    """Runs a trial, from its last completed epoch where there is one, to its end, whatever that is.

    Args:
        request: The trial.
        report: Tells the study of every epoch.
        stop: Set when the process must stop; anything with `is_set()`.

    Returns:
        Its row in the table of results: outcome, reason, times, metrics; and what the study is still to be told.

    Raises:
        TrialInterrupted: The process must stop, or the trial is another's now; nothing is to be told of it.
    """
    began, started = perf_counter(), now()
    judge = ReportAndPrune(report, request.metrics)
    left_s = None if request.timeout_s is None else request.timeout_s - _spent_s(Path(request.folder))
    run: Run | None = None
    result: RunResult | None = None
    try:
        run = build_run(request.config, request.location(), [judge, StopSwitch(stop, left_s)])
        run.open()
        run.fit(resume=True)
        outcome, reason = _outcome(judge, run)
        test = request.test and outcome == "completed"
        result = run.close(test=test, summary={"outcome": outcome, "trial": request.number})
    except (TrialInterrupted, KeyboardInterrupt):
        _interrupt(run)
        raise TrialInterrupted from None
    except (Exception, SystemExit, TrialTimedOut) as error:
        # What goes wrong while stopping is not the trial's doing, and neither is a full disk, which is waited for.
        if stop.is_set() or is_disk_full(error):
            _interrupt(run)
            raise TrialInterrupted from None
        result = _abandon(run)
        outcome, reason = _failure(error, request)
        if outcome == "failed":
            traceback.print_exc()
    finally:
        run = None
        _free_memory()
    elapsed_s = perf_counter() - began
    row: Row = {
        "schema": SCHEMA_VERSION,
        "outcome": outcome,
        "reason": reason,
        "slot": request.slot,
        "started": started,
    }
    row |= {"finished": now(), "elapsed_s": round(elapsed_s, 4), "attempt": request.attempt}
    return row | _figures(result) | {"total_s": round(elapsed_s, 4), "untold": judge.untold}


def _spent_s(folder: Path) -> float:
    """Seconds that earlier attempts spent in epochs that are kept."""
    try:
        with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
            return max((float(row["elapsed_s"]) for row in csv.DictReader(file)), default=0.0)
    except (OSError, KeyError, ValueError, TypeError):
        return 0.0


def _outcome(judge: ReportAndPrune, run: Run) -> tuple[str, str]:
    if judge.verdict == "diverged":
        return "diverged", f"{', '.join(judge.metrics)} is not finite"
    if judge.verdict == "pruned":
        return "pruned", "the pruner stopped it"
    return "completed", run.why_stopped()


def _failure(error: BaseException, request: TrialRequest) -> tuple[str, str]:
    if isinstance(error, TrialTimedOut):
        return "timed_out", f"it took more than trial_timeout_s, {request.timeout_s:g} s"
    reason = f"{type(error).__name__}: {error}".split("\n")[0][:500]
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in _NO_MEMORY):
        return "out_of_memory", reason
    return "failed", reason


def _abandon(run: Run | None) -> RunResult | None:
    """Closes a run that did not end by itself, and lets nothing that goes wrong in that hide why."""
    if run is None or not run.is_open:
        return None
    try:
        return run.close(failed=True)
    except Exception:
        traceback.print_exc()
        return None


def _interrupt(run: Run | None) -> None:
    """Ends the tracking of a run and leaves its folder alone: it goes on later, and may be another's already."""
    if run is None or run.tracker is None:
        return
    try:
        run.tracker.finish({}, failed=True)
    except Exception:
        traceback.print_exc()


def _free_memory() -> None:
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


def _figures(result: RunResult | None) -> Row:
    if result is None:
        return {}
    row: Row = {f"{name}_s": round(value, 4) for name, value in result.seconds.items()}
    row |= {"best_epoch": result.best_epoch, "epochs": result.epochs, "parameters": result.parameters}
    row |= {"peak_memory_bytes": result.peak_memory_bytes}
    # JSON has no NaN, and neither does PostgreSQL's.
    row |= {f"metrics.{k}": v for k, v in result.metrics.items() if math.isfinite(v)}
    return row | {f"final.{k}": v for k, v in result.final.items() if math.isfinite(v)}
