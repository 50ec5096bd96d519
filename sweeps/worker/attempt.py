"""One attempt at a trial, in this process: trains it to its end and returns its row of results."""

from __future__ import annotations

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
from lit_dl.files import is_disk_full
from lit_dl.run.epoch_rows import read_rows
from lit_dl.run.run import Run
from lit_dl.run.run_config import validates_within_epochs
from lit_dl.run.run_result import RunLocation, RunResult
from lit_dl.tracking import Mode
from sweeps.study.records import now
from sweeps.worker.callbacks import Reporter, StopSwitch, TrialInterrupted, TrialPruner, TrialTimedOut

Row = dict[str, Any]

SCHEMA_VERSION = 1
# Out-of-memory errors without a class of their own: torch's CPU allocator, CUDA beside torch's allocator, CUDA's
# libraries.
_NO_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC")


@dataclass(frozen=True)
class TrialRequest:
    """All that an attempt needs, in plain values, so that it can be sent to another process as JSON.

    Args:
        number: Number of the trial.
        attempt: Number of the attempt, from 1.
        config: The run config.
        metrics: Names of the objectives.
        folder: The trial's folder.
        study: Name of the study.
        run_id: W&B run id, the same for all attempts.
        wandb: online, offline or disabled.
        test: Whether a trial that completes is evaluated on the test set.
        timeout_s: Time limit of the trial over all attempts, in seconds; `None`: no limit.
        slot: Number of the worker.
        divergence: Which values that are not finite are a divergence; see `SweepSpec`.
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
    divergence: str | None = None

    def location(self) -> RunLocation:
        """Returns where the run leaves its files; the W&B run is the same for every attempt."""
        return RunLocation(Path(self.folder), f"{self.study}/{self.number:05d}", self.study, self.run_id, self.wandb)


def run_attempt(request: TrialRequest, report: Reporter, stop: Any) -> Row:
    """Runs a trial to its end, whatever the outcome. It resumes after the last completed epoch, if there is one.

    Args:
        request: The trial.
        report: Reports the objective to the study.
        stop: Anything with `is_set()`; set when the process must stop.

    Returns:
        The trial's row of results: outcome, reason, times, metrics. `untold` holds the objectives by step that could
        not be reported to the study.

    Raises:
        TrialInterrupted: The process must stop, or the trial belongs to another worker now. It has no outcome.
    """
    began = perf_counter()
    started = now()
    counts_validations = validates_within_epochs(request.config.get("trainer") or {})
    pruner = TrialPruner(report, request.metrics, counts_validations=counts_validations, divergence=request.divergence)
    try:
        outcome, reason, result = _run_to_end(request, pruner, stop)
    finally:
        _free_memory()
    elapsed_s = round(perf_counter() - began, 4)
    row: Row = {
        "schema": SCHEMA_VERSION,
        "outcome": outcome,
        "reason": reason,
        "slot": request.slot,
        "started": started,
        "finished": now(),
        "elapsed_s": elapsed_s,
        "attempt": request.attempt,
    }
    return row | _result_columns(result) | {"total_s": elapsed_s, "untold": pruner.unreported}


def _run_to_end(request: TrialRequest, pruner: TrialPruner, stop: Any) -> tuple[str, str, RunResult | None]:
    """Returns outcome, reason and result of the run.

    Raises:
        TrialInterrupted: See `run_attempt`.
    """
    run: Run | None = None
    try:
        remaining_s = None if request.timeout_s is None else request.timeout_s - _spent_s(Path(request.folder))
        run = build_run(request.config, request.location(), [StopSwitch(stop, remaining_s)])
        run.recorder.pruner = pruner
        run.open()
        run.fit(resume=True)
        outcome, reason = _outcome(pruner, run)
        test = request.test and outcome == "completed"
        return outcome, reason, run.close(test=test, summary={"outcome": outcome, "trial": request.number})
    except (TrialInterrupted, KeyboardInterrupt):
        _interrupt(run)
        raise TrialInterrupted from None
    except (Exception, SystemExit, TrialTimedOut) as error:
        # An error while stopping is not the trial's fault. Neither is a full disk: a later attempt waits for space.
        if stop.is_set() or is_disk_full(error):
            _interrupt(run)
            raise TrialInterrupted from None
        result = _close_failed(run)
        outcome, reason = _failure(error, request)
        if outcome == "failed":
            traceback.print_exc()
        return outcome, reason, result
    finally:
        run = None  # a traceback may keep this frame alive, and with it the memory of the run


def _spent_s(folder: Path) -> float:
    """Returns the seconds that earlier attempts spent in epochs that are kept; 0 where there are none."""
    try:
        return max((float(row["elapsed_s"]) for row in read_rows(folder / "metrics.csv")), default=0.0)
    except (OSError, KeyError, ValueError):
        return 0.0


def _outcome(pruner: TrialPruner, run: Run) -> tuple[str, str]:
    if pruner.decision == "diverged":
        return "diverged", f"{', '.join(pruner.metrics)} is not finite"
    if pruner.decision == "pruned":
        return "pruned", "the pruner stopped it"
    return "completed", run.why_stopped()


def _failure(error: BaseException, request: TrialRequest) -> tuple[str, str]:
    if isinstance(error, TrialTimedOut):
        return "timed_out", f"it took more than trial_timeout_s, {request.timeout_s:g} s"
    reason = f"{type(error).__name__}: {error}".split("\n")[0][:500]
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in _NO_MEMORY):
        return "out_of_memory", reason
    return "failed", reason


def _close_failed(run: Run | None) -> RunResult | None:
    """Closes a run that failed. An error in that is only printed, so that it does not hide the first one."""
    if run is None or not run.is_open:
        return None
    try:
        return run.close(failed=True)
    except Exception:
        traceback.print_exc()
        return None


def _interrupt(run: Run | None) -> None:
    """Ends the tracking of a run that will be resumed. Its folder is not touched: another worker may own it already."""
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


def _result_columns(result: RunResult | None) -> Row:
    if result is None:
        return {}
    row: Row = {f"{name}_s": round(value, 4) for name, value in result.seconds.items()}
    row |= {"best_epoch": result.best_epoch, "epochs": result.epochs, "parameters": result.parameters}
    row |= {"peak_memory_bytes": result.peak_memory_bytes, "untested": result.untested}
    # Neither JSON nor PostgreSQL's JSON type has NaN.
    row |= {f"metrics.{k}": v for k, v in result.metrics.items() if math.isfinite(v)}
    return row | {f"final.{k}": v for k, v in result.final.items() if math.isfinite(v)}
