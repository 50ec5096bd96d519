"""One worker: claim, run, finish, until nothing is left to claim. The one place where a trial ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import torch

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
    while not desk.stop.is_set():
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
    if spec.evaluate_test == "best" and not desk.stop.is_set() and study.is_finished():
        _evaluate_winner(spec, study, run_dir, desk)


def _evaluate_winner(spec: SweepSpec, study: SharedStudy, run_dir: Path, desk: Desk) -> None:
    """The test set is read by the best configuration alone, once."""
    best = ranking(rows_of(spec, study.trials(), {}), spec.objectives)
    for number in best[0]["numbers"] if best else []:
        if study.take_evaluation(number):
            study.set_evaluation(number, evaluate(trial_dir(run_dir, number), desk))


def evaluate(folder: Path, desk: Desk) -> dict[str, float]:
    """Test metrics of a trial's best checkpoint (of its last, when it kept no best); empty without a checkpoint."""
    checkpoints = [folder / "checkpoints" / f"{name}.ckpt" for name in ("best", "last")]
    path = next((path for path in checkpoints if path.is_file()), None)
    if path is None:
        return {}
    run = build_run(load_yaml(folder / "config.yaml"), callbacks=[StopSwitch(desk.stop)])
    run.module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["state_dict"])
    return run.test()


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


def main(run_dir: Path, slot: int, threads: int, wandb: Mode, with_launcher: bool) -> None:
    """Runs a worker in this process.

    Args:
        run_dir: The run folder.
        slot: Number of the worker.
        threads: CPU threads.
        wandb: online, offline or disabled.
        with_launcher: Whether standard input is a pipe from the launcher, whose end is ours.
    """
    quieten()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if with_launcher:
        _stop_with_launcher(stop)
    work(run_dir, os.environ.get(STORAGE_VARIABLE), Desk(run_dir, slot, threads, wandb, stop))
