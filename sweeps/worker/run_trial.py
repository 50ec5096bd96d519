"""Runs a claimed trial, in this process or as DDP ranks, and turns its result into an outcome for Optuna."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from lit_dl.cli.lit_cli import parse_config
from lit_dl.config.keys import Config, get_key
from lit_dl.config.overlay import merge, overlay
from lit_dl.config.yaml_io import load_yaml
from lit_dl.errors import LitError
from lit_dl.run.longer_run import go_on_from
from lit_dl.run.resume import NotResumableError
from lit_dl.tracking import Mode
from sweeps.spec.constraint import constraint_values
from sweeps.spec.spec import SweepSpec, processes_of
from sweeps.study.records import TrialClaim, TrialOutcome, read_outcome, write_outcome
from sweeps.trial_folder import TrialFolder
from sweeps.worker.attempt import Row, TrialRequest, run_attempt
from sweeps.worker.callbacks import Reporter, TrialInterrupted
from sweeps.worker.ddp_group import run_group

Run = Callable[[TrialRequest, Reporter, Any], Row]


@dataclass(frozen=True)
class WorkerContext:
    """The settings of a worker that hold for every trial.

    Args:
        run_dir: The run folder of the sweep.
        slot: Number of the slot.
        threads: CPU threads for torch, unless a config has a number of its own.
        wandb: online, offline or disabled; `None`: as stored by the launcher.
        stop: Anything with `is_set()`; set when the worker must stop.
        study_uid: Unique ID of the study; another study may have the same name.
    """

    run_dir: Path
    slot: int
    threads: int
    wandb: Mode | None
    stop: Any
    study_uid: str = ""


def trial_config(spec: SweepSpec, claim: TrialClaim, threads: int) -> Config:
    """Returns the run config of a trial, without defaults and without any path or name of where it runs."""
    config = spec.configuration(claim.values, claim.run, claim.seed_number)
    if claim.max_epochs is not None:
        config = merge(config, {"trainer": {"max_epochs": claim.max_epochs}})
    share = max(1, threads // processes_of(config))
    return {**config, "threads": config.get("threads") or share}


def on_one_device(config: Config) -> Config:
    """Returns the config of a trial changed to run on one device, in this process."""
    several = processes_of(config) > 1
    return merge(config, {"trainer": {"devices": 1, "strategy": "auto"}}) if several else config


def run_trial(
    spec: SweepSpec, claim: TrialClaim, context: WorkerContext, report: Reporter, stop: Any, waiting_s: float
) -> TrialOutcome:
    """Runs a trial to its end, writes its outcome to disk, and returns it for the study.

    Args:
        spec: The spec.
        claim: The trial.
        context: Settings of the worker.
        report: Reports the objective of each epoch to the study.
        stop: Anything with `is_set()`; set when the trial must stop.
        waiting_s: Seconds that the worker waited for the trial.

    Raises:
        TrialInterrupted: The trial must stop. It has no outcome.
        RankDied: A process of the trial's DDP group died.
    """
    folder = TrialFolder(context.run_dir, claim.number).path
    if (outcome := read_outcome(folder, context.study_uid)) is not None:
        return outcome  # the worker of an earlier attempt died after this was written and before the study had it
    request = _request(spec, claim, context)
    if spec.retry_out_of_memory:
        request = replace(request, config=_with_earlier_batch_size(request.config, _earlier_config(claim, context)))
    if claim.extends is not None:
        _go_on(TrialFolder(context.run_dir, claim.extends).path, request)
    run: Run = run_group if processes_of(request.config) > 1 else run_attempt
    row = run(request, report, stop)
    while row["outcome"] == "out_of_memory" and spec.retry_out_of_memory and (less := _halved(request.config)):
        print(f"out of memory ({row['reason']}); again with data.batch_size {get_key(less, 'data.batch_size')}")
        request = replace(request, config=less)
        row = run(request, report, stop)
    row = {**row, "waiting_s": round(waiting_s, 4), "total_s": round(row["total_s"] + waiting_s, 4)}
    outcome = _trial_outcome(spec, row)
    if stop.is_set():  # for example after a suspension: another worker may have the trial and its folder
        raise TrialInterrupted
    write_outcome(folder, context.study_uid, outcome)
    return outcome


def _request(spec: SweepSpec, claim: TrialClaim, context: WorkerContext) -> TrialRequest:
    return TrialRequest(
        number=claim.number,
        attempt=claim.attempt,
        config=trial_config(spec, claim, context.threads),
        metrics=[objective.metric for objective in spec.objectives],
        folder=str(TrialFolder(context.run_dir, claim.number).path),
        study=spec.name,
        run_id=f"{context.study_uid[:8]}-{claim.number}",
        wandb=context.wandb or "offline",
        test=spec.evaluate_test == "all",
        timeout_s=spec.trial_timeout_s,
        slot=context.slot,
        divergence=spec.divergence,
    )


def _earlier_config(claim: TrialClaim, context: WorkerContext) -> Path:
    """Returns the config of an earlier attempt, or of the trial that this one extends."""
    ours = TrialFolder(context.run_dir, claim.number).config
    if ours.exists() or claim.extends is None:
        return ours
    return TrialFolder(context.run_dir, claim.extends).config


def _go_on(shorter: Path, request: TrialRequest) -> None:
    """Lets a trial resume after the last epoch of the one that it extends, or says in its log why it starts anew."""
    try:
        go_on_from(shorter, Path(request.folder), parse_config(request.config))
    except NotResumableError as error:
        print(f"{request.folder}: starts anew: {error}", flush=True)
    except LitError:
        pass  # of the config, which the attempt reports


def _halved(config: Config) -> Config | None:
    """Returns the config with half the batch size and twice the accumulation; `None` if the size cannot be halved."""
    size = get_key(config, "data.batch_size")
    if not isinstance(size, int) or size % 2 or size // 2 < processes_of(config):
        return None
    accumulated = get_key(config, "trainer.accumulate_grad_batches") or 1
    keys = {"data.batch_size": size // 2, "trainer.accumulate_grad_batches": 2 * int(accumulated)}
    return overlay(config, keys)


def _with_earlier_batch_size(config: Config, path: Path) -> Config:
    """Returns the config with the batch size that fitted into memory in an earlier attempt, so that it can resume."""
    size = get_key(load_yaml(path), "data.batch_size") if path.exists() else None
    less: Config | None = config
    while less is not None and get_key(less, "data.batch_size") != size:
        less = _halved(less)
    return less or config


def _trial_outcome(spec: SweepSpec, row: Row) -> TrialOutcome:
    outcome, untold = row["outcome"], row.pop("untold", {})
    if outcome == "completed":
        values = [row.get(f"metrics.{objective.metric}") for objective in spec.objectives]
        if all(value is not None for value in values):
            constraints = constraint_values(spec.constraints, row)
            return TrialOutcome(TrialState.COMPLETE, values, constraints, row, untold)  # type: ignore[arg-type]
        row |= {"outcome": "failed", "reason": "the best epoch has no value of the objective"}
    if outcome in ("diverged", "out_of_memory"):
        # PRUNED with a violated constraint, because samplers ignore failed trials.
        return TrialOutcome(TrialState.PRUNED, None, {outcome: 1.0}, row, untold)
    state = TrialState.PRUNED if outcome in ("pruned", "timed_out") else TrialState.FAIL
    return TrialOutcome(state, None, constraint_values(spec.constraints, row, only_known=True), row, untold)
