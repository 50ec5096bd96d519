"""One worker: claim, run, finish, until nothing is left to claim. The one place where a trial ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import torch
from optuna.trial import TrialState

from lit_dl.cli import build_run
from lit_dl.command import quieten
from lit_dl.config import load_yaml
from lit_dl.tracking import Mode
from sweeps.pruning import StopSwitch, TrialInterrupted
from sweeps.results import ranking, rows_of
from sweeps.spec import SweepSpec
from sweeps.spec_file import load_spec
from sweeps.storage import STORAGE_VARIABLE
from sweeps.study import SharedStudy
from sweeps.trial import Desk, run_trial, trial_dir

_STOP_WITHIN_S = 6.0


def work(run_dir: Path, url: str | None, desk: Desk) -> None:
    """Runs trials until none is left to claim or `desk.stop` is set; the last to end evaluates the winner."""
    spec = load_spec(run_dir / "spec.yaml")
    study = SharedStudy(run_dir, spec, url)
    torch.set_num_threads(desk.threads)
    desk = replace(desk, study_uid=study.uid)
    failures = 0
    while not desk.stop.is_set() and failures < spec.max_failures:
        asked = perf_counter()
        claim = study.claim(desk.slot)
        if claim is None:
            break
        waiting_s = perf_counter() - asked
        try:
            with _output_to(trial_dir(run_dir, claim.number) / "log.txt"):
                verdict = run_trial(spec, claim, desk, waiting_s)
        except TrialInterrupted:
            study.release(claim)
            return
        study.finish(claim, verdict)
        failures = failures + 1 if verdict.state == TrialState.FAIL else 0
        _check_device()
    if spec.evaluate_test == "best" and not desk.stop.is_set() and study.is_finished():
        _evaluate_winner(spec, study, run_dir, desk)


def _check_device() -> None:
    """Ends a worker whose GPU takes no more work: after some errors every call fails until the process is a new one."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:
            sys.exit(f"the GPU takes no more work from this process: {error}")


def _evaluate_winner(spec: SweepSpec, study: SharedStudy, run_dir: Path, desk: Desk) -> None:
    """The test set is read by the best configuration alone, once."""
    best = ranking(rows_of(spec, study.trials(), {}), spec.objectives)
    for number in best[0]["numbers"] if best else []:
        if study.take_evaluation(number):
            try:
                metrics = evaluate(trial_dir(run_dir, number), desk)
            except Exception:  # a module without test data, or with a fault in its test: the sweep is done all the same
                traceback.print_exc()
                metrics = {}
            study.set_evaluation(number, metrics)


def evaluate(folder: Path, desk: Desk) -> dict[str, float]:
    """Test metrics of a trial's best checkpoint (of its last, when it kept no best); empty without a checkpoint."""
    checkpoints = [folder / "checkpoints" / f"{name}.ckpt" for name in ("best", "last")]
    path = next((path for path in checkpoints if path.is_file()), None)
    if path is None:
        return {}
    run = build_run(load_yaml(folder / "config.yaml"), callbacks=[StopSwitch(desk.stop)])
    return run.test() if run.can_test and run.load_weights(path) else {}


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Sends what this process prints, from Python or below, to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
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


def _stop_with_launcher(stop: threading.Event) -> None:
    """Stops when the launcher closes our standard input, by will or by its death; hard when that takes too long."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        stop.set()
        threading.Event().wait(_STOP_WITHIN_S)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def main(run_dir: Path, slot: int, threads: int, wandb: Mode, with_launcher: bool) -> int:
    """Runs a worker in this process.

    Returns:
        Exit status: 0 when nothing is left to do here, 143 after a signal, which a launcher takes for a death.

    Args:
        run_dir: The run folder.
        slot: Number of the worker.
        threads: CPU threads.
        wandb: online, offline or disabled.
        with_launcher: Whether standard input is a pipe from the launcher, whose end is ours.
    """
    quieten()
    stop = threading.Event()
    signalled = threading.Event()

    def end(*_: object) -> None:
        signalled.set()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    if with_launcher:
        _stop_with_launcher(stop)
    work(run_dir, os.environ.get(STORAGE_VARIABLE), Desk(run_dir, slot, threads, wandb, stop))
    return 143 if signalled.is_set() else 0
