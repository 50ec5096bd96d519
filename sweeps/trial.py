"""Where Optuna meets Lightning: a claimed trial becomes a run, and the run a verdict."""

from __future__ import annotations

import gc
import math
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from optuna.trial import TrialState

from lit_dl.cli import build_run
from lit_dl.config import Config
from lit_dl.run import Run
from lit_dl.run_result import Place, RunResult
from lit_dl.tracking import Mode
from sweeps.pruning import ReportAndPrune, StopSwitch, TrialInterrupted
from sweeps.spec import SweepSpec
from sweeps.study import Claim, Verdict

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Desk:
    """What a worker gives every trial that it runs.

    Args:
        run_dir: The run folder of the sweep.
        slot: Number of the worker.
        threads: CPU threads for torch; a config that says its own keeps it.
        wandb: online, offline or disabled.
        stop: Set when the worker must stop; anything with `is_set()`.
        study_uid: Tells the study from others with the same name.
    """

    run_dir: Path
    slot: int
    threads: int
    wandb: Mode
    stop: Any
    study_uid: str = ""


def trial_dir(run_dir: Path, number: int) -> Path:
    """The folder of a trial."""
    return run_dir / "trials" / f"{number:05d}"


def trial_config(spec: SweepSpec, claim: Claim, threads: int) -> Config:
    """The run config of a trial: complete, but for defaults, and without a path or name of where it runs."""
    config = spec.configuration(claim.values, claim.run, claim.seed_number)
    return {**config, "threads": config.get("threads") or threads}


def place_of(spec: SweepSpec, number: int, desk: Desk) -> Place:
    """Where a trial's run leaves its files; the same W&B run for every attempt."""
    run_id = f"{desk.study_uid[:8]}-{number}"
    return Place(trial_dir(desk.run_dir, number), f"{spec.name}/{number:05d}", spec.name, run_id, desk.wandb)


def run_trial(spec: SweepSpec, claim: Claim, desk: Desk, waiting_s: float) -> Verdict:
    """Runs a trial to its end, whatever that is.

    Raises:
        TrialInterrupted: The worker must stop; nothing is told of the trial.
    """
    began = perf_counter()
    started = _now()
    reported = max(claim.trial.storage.get_trial(claim.trial._trial_id).intermediate_values, default=0)
    judge = ReportAndPrune(claim.trial, [objective.metric for objective in spec.objectives], reported)
    run: Run | None = None
    result: RunResult | None = None
    try:
        config = trial_config(spec, claim, desk.threads)
        run = build_run(config, place_of(spec, claim.number, desk), [judge, StopSwitch(desk.stop)])
        run.open()
        run.fit()
        outcome, reason = _outcome(judge, run)
        test = spec.evaluate_test == "all" and outcome == "completed"
        result = run.close(test=test, summary={"outcome": outcome, "trial": claim.number})
    except (TrialInterrupted, KeyboardInterrupt):
        _abandon(run)
        raise TrialInterrupted from None
    except (Exception, SystemExit) as error:
        if desk.stop.is_set():  # whatever goes wrong while stopping is not the trial's doing
            _abandon(run)
            raise TrialInterrupted from None
        result = _abandon(run)
        outcome, reason = _failure(error)
        if outcome == "failed":
            traceback.print_exc()
    finally:
        run = None
        _free_memory()
    seconds = {"waiting": waiting_s, **(result.seconds if result else {}), "total": perf_counter() - began + waiting_s}
    row = {"schema": SCHEMA_VERSION, "outcome": outcome, "reason": reason, "slot": desk.slot, "started": started}
    row |= {"finished": _now(), "elapsed_s": round(perf_counter() - began, 4), "attempt": claim.attempt}
    return _verdict(spec, outcome, {**row, **_row(result, seconds)})


def _outcome(judge: ReportAndPrune, run: Run) -> tuple[str, str]:
    if judge.verdict == "diverged":
        return "diverged", f"{', '.join(judge.metrics)} is not finite"
    if judge.verdict == "pruned":
        return "pruned", "the pruner stopped it"
    return "completed", run.why_stopped()


def _failure(error: BaseException) -> tuple[str, str]:
    reason = f"{type(error).__name__}: {error}".split("\n")[0][:500]
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
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


def _free_memory() -> None:
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _row(result: RunResult | None, seconds: dict[str, float]) -> dict[str, Any]:
    row: dict[str, Any] = {f"{name}_s": round(value, 4) for name, value in seconds.items()}
    if result is None:
        return row
    row |= {"best_epoch": result.best_epoch, "epochs": result.epochs, "parameters": result.parameters}
    row |= {"peak_memory_bytes": result.peak_memory_bytes}
    # JSON has no NaN, and neither does PostgreSQL's.
    row |= {f"metrics.{k}": v for k, v in result.metrics.items() if math.isfinite(v)}
    row |= {f"final.{k}": v for k, v in result.final.items() if math.isfinite(v)}
    return row


def _verdict(spec: SweepSpec, outcome: str, row: dict[str, Any]) -> Verdict:
    if outcome == "completed":
        values = [row.get(f"metrics.{objective.metric}") for objective in spec.objectives]
        if all(value is not None for value in values):
            return Verdict(TrialState.COMPLETE, values, None, row)  # type: ignore[arg-type]
        row |= {"outcome": "failed", "reason": "the best epoch has no value of the objective"}
    if outcome in ("diverged", "out_of_memory"):
        # PRUNED with a violated constraint: samplers learn from that, and never look at FAIL.
        return Verdict(TrialState.PRUNED, None, outcome, row)
    return Verdict(TrialState.PRUNED if outcome == "pruned" else TrialState.FAIL, None, None, row)
