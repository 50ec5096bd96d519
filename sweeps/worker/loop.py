"""The worker: claims trials, runs them and finishes them until the study is over."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter, sleep

import torch

from lit_dl.cli.command import ignore_slurm, silence_lightning
from lit_dl.cli.lit_cli import build_run
from lit_dl.config.yaml_io import load_yaml
from lit_dl.errors import ConfigError, LitError
from lit_dl.files import retry_on_full_disk
from lit_dl.tracking import Mode, forget_enclosing_wandb_run, resolve_wandb_mode
from sweeps.processes.parent_watch import kill_own_group, on_parent_exit
from sweeps.results.ranking import ranking, winners
from sweeps.results.trial_result import finished_results
from sweeps.spec.parse_spec import load_spec
from sweeps.spec.spec import SweepSpec
from sweeps.study.records import RESULT, Evaluation, TrialClaim
from sweeps.study.retry import OutageRetry, transient_reason
from sweeps.study.study import SharedStudy
from sweeps.trial_folder import TrialFolder
from sweeps.worker.callbacks import StopSwitch, TrialInterrupted
from sweeps.worker.checkpoint_retention import CheckpointRetention
from sweeps.worker.ddp_group import RankDied
from sweeps.worker.run_trial import WorkerContext, on_one_device, run_trial
from sweeps.worker.watchdog import watchdog

_STOP_WITHIN_S = 6.0
_LOOK_AGAIN_S = 0.5
_SIGNALLED = 128 + signal.SIGTERM


def work(run_dir: Path, url: str | None, context: WorkerContext, patient: bool = False) -> None:
    """Runs trials until the study is over or `context.stop` is set. Then it evaluates the winner on the test set.

    Args:
        run_dir: The run folder.
        url: Storage; `None`: the journal in the run folder.
        context: Settings of the worker.
        patient: Whether to wait for a storage that does not answer at the start. A launcher has just used it.
    """
    spec = load_spec(run_dir / "spec.yaml")
    retry = OutageRetry(context.stop)
    open_study = partial(SharedStudy, run_dir, spec, url)
    study = retry(open_study) if patient else open_study()
    study.retry = retry
    _check_gpus(spec)
    spec.space.load()  # so that a worker without the module of the function ends, and not each of its trials
    torch.set_num_threads(context.threads)
    context = replace(
        context, study_uid=study.attributes.uid, wandb=resolve_wandb_mode(context.wandb or study.attributes.wandb)
    )
    retention = CheckpointRetention(spec, run_dir)
    while not context.stop.is_set():
        asked = perf_counter()
        claim = study.claim(context.slot)
        if claim is not None:
            _run(spec, study, claim, context, retention, perf_counter() - asked)
            _check_device()
        elif study.is_over():
            break
        else:  # trials of other workers may be requeued
            study.reclaim()
            context.stop.wait(_LOOK_AGAIN_S)
    if not context.stop.is_set() and study.is_finished():
        is_over = spec.evaluate_test != "best" or _evaluate_winner(spec, study, run_dir, context)
        retention.apply(study.trials(), is_over)


def _check_gpus(spec: SweepSpec) -> None:
    """Refuses to work when trials need more GPUs than this worker sees: every trial would fail and so end the sweep.

    Raises:
        ConfigError: This worker sees fewer GPUs than a slot has.
    """
    seen, asked = torch.cuda.device_count(), spec.slot.gpus or 0
    if asked > seen:
        raise ConfigError("slot.gpus", f"must be GPUs that a worker sees; got {asked:g}, and this one sees {seen}")


def _run(
    spec: SweepSpec,
    study: SharedStudy,
    claim: TrialClaim,
    context: WorkerContext,
    retention: CheckpointRetention,
    waiting_s: float,
) -> None:
    folder = TrialFolder(context.run_dir, claim.number).path
    lease = study.lease(claim, context.stop.is_set)
    limit = watchdog(spec.trial_timeout_s, folder, context.study_uid, claim, context.slot, lease)
    try:
        with _output_to(folder / "log.txt"), lease, limit:
            outcome = run_trial(spec, claim, context, partial(study.report, claim), lease, waiting_s)
    except TrialInterrupted:
        study.release(claim)
    except RankDied as error:
        study.requeue_crashed(claim, str(error))
    else:
        if study.finish(claim, outcome):
            (folder / RESULT).unlink(missing_ok=True)
            study.stopping.decide()
        if spec.keep != "all":
            retention.apply(study.trials())


def _check_device() -> None:
    """Exits if the GPU is unusable: after some CUDA errors every call fails until the process is replaced."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:
            sys.exit(f"the GPU takes no more work from this process: {error}")


def _evaluate_winner(spec: SweepSpec, study: SharedStudy, run_dir: Path, context: WorkerContext) -> bool:
    """Evaluates the runs of the best configurations on the test set, once; returns whether all are evaluated."""
    ranked = ranking(finished_results(spec, study.trials(), {}), spec.objectives)
    numbers = [number for entry in winners(ranked) for number in entry.numbers]
    for number in numbers:
        folder = TrialFolder(run_dir, number)
        if folder.checkpoint() is not None and study.attributes.claim_evaluation(number):
            study.attributes.set_evaluation(number, evaluate(folder, context))
    evaluated = study.attributes.evaluations()
    return evaluated.keys() >= set(numbers)  # otherwise another worker evaluates, and needs the checkpoint


def evaluate(folder: TrialFolder, context: WorkerContext) -> Evaluation:
    """Returns the test metrics of a trial's checkpoint, or why there are none: the sweep is complete without them."""
    try:
        run = build_run(on_one_device(load_yaml(folder.config)), callbacks=[StopSwitch(context.stop)])
        return Evaluation(run.test(folder.checkpoint()))
    except LitError as error:
        return Evaluation(untested=str(error))
    except Exception as error:  # of the user's test code
        traceback.print_exc()
        return Evaluation(untested=f"{type(error).__name__}: {error}".splitlines()[0])


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Redirects standard output and error of this process, also of native code, to a file."""

    def make() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    retry_on_full_disk(path, make)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    with path.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in enumerate(kept, start=1):
            os.dup2(copy, number)
            os.close(copy)


def _stop_within(seconds: float, stop: threading.Event) -> None:
    """Sets `stop`, and kills this process and its group if they still run after so many seconds."""
    stop.set()
    sleep(seconds)
    kill_own_group()


def main(run_dir: Path, url: str | None, slot: int, threads: int, wandb: Mode | None, stop_on_stdin_eof: bool) -> int:
    """Runs a worker in this process.

    Args:
        run_dir: The run folder.
        url: Storage; `None`: the journal in the run folder.
        slot: Number of the slot.
        threads: CPU threads.
        wandb: online, offline or disabled; `None`: as stored by the launcher.
        stop_on_stdin_eof: Whether standard input is a pipe from the launcher. The worker stops when it ends.

    Returns:
        Exit status: 0 when nothing is left to do; 143 after a signal, upon which a launcher starts another worker.
    """
    silence_lightning()
    ignore_slurm()
    forget_enclosing_wandb_run()
    stop = threading.Event()
    signalled = threading.Event()

    def end(*_: object) -> None:
        if signalled.is_set():  # the second signal: do not wait any longer, for example for a database that hangs
            os._exit(_SIGNALLED)
        signalled.set()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    if stop_on_stdin_eof:
        on_parent_exit(partial(_stop_within, _STOP_WITHIN_S, stop))
    try:
        work(run_dir, url, WorkerContext(run_dir, slot, threads, wandb, stop), stop_on_stdin_eof)
    except Exception as error:
        if not stop.is_set() or transient_reason(error) is None:  # stopped while it waited for its storage
            raise
    except TrialInterrupted:  # during the evaluation on the test set
        pass
    return _SIGNALLED if signalled.is_set() else 0
