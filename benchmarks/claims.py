"""Measures the time to claim and finish a trial as a study grows, in `SharedStudy` and in bare Optuna.

Two processes run trials that train nothing. The space has six parameters, one of them conditional; each trial reports
three epochs. Bare Optuna does the same by `ask` and `tell` on its own journal file (or on the same server, with
--storage), with the same sampler.

    python benchmarks/claims.py [--n_trials 2000] [--samplers TPESampler] [--storage postgresql://...] [--profile]

A throwaway server, which listens on the loopback alone (as a user who is not root):

    initdb -D /tmp/pg -A trust -U postgres && pg_ctl -D /tmp/pg -o "-h 127.0.0.1 -p 5433 -k /tmp" start
    python benchmarks/claims.py --storage postgresql+psycopg://postgres@127.0.0.1:5433/postgres
"""

from __future__ import annotations

import argparse
import cProfile
import multiprocessing
import pstats
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import optuna
from optuna.pruners import NopPruner
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from pairs import circumstances

from sweeps.spec.parse_spec import parse_spec
from sweeps.spec.spec import SweepSpec
from sweeps.study.records import TrialOutcome
from sweeps.study.sampling import build_sampler, suggest_one
from sweeps.study.study import SharedStudy

EPOCHS = (1, 2, 3)
WINDOW = 50
SPACE = {
    "model.optimizer.name": {"choices": ["sgd", "adam"]},
    "model.optimizer.momentum": {"low": 0.0, "high": 0.99, "type": "float", "when": {"model.optimizer.name": ["sgd"]}},
    "model.optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True, "type": "float"},
    "model.network.width": {"low": 16, "high": 512, "log": True, "type": "int"},
    "model.network.dropout": {"low": 0.0, "high": 0.5, "type": "float"},
    "data.batch_size": {"choices": [32, 64, 128]},
}
Values = dict[str, Any]


@dataclass
class Times:
    """Seconds of each trial as (number, elapsed, CPU): of claim and finish, and of the reports between them."""

    own: list[tuple[int, float, float]] = field(default_factory=list)
    reports: list[tuple[int, float, float]] = field(default_factory=list)


class Clock:
    """Adds up the elapsed time and the CPU time of the blocks that it times, in seconds."""

    def __init__(self) -> None:
        self.elapsed, self.cpu = 0.0, 0.0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        elapsed, cpu = time.perf_counter(), time.process_time()
        yield
        self.elapsed += time.perf_counter() - elapsed
        self.cpu += time.process_time() - cpu


def loss(values: Values, epoch: int) -> float:
    """A loss with a minimum inside the space, so that TPE has something to model."""
    lr, width = values["model.optimizer.lr"], values["model.network.width"]
    return (lr - 0.01) ** 2 * 1e4 + abs(width - 128) / 128 + values["model.network.dropout"] + 1.0 / epoch


def make_spec(run_dir: Path, sampler: str, n_trials: int) -> SweepSpec:
    """The spec of the study."""
    given: Values = {
        "base": {},
        "space": SPACE,
        "n_trials": n_trials,
        "objective": {"metric": "val/loss", "direction": "minimize"},
    }
    return parse_spec({**given, "sampler": sampler}, run_dir, f"claims {sampler} {time.time_ns()}")


def ours(run_dir: Path, spec: SweepSpec, url: str | None) -> Iterator[tuple[int, Clock, Clock]]:
    """Runs trials through `SharedStudy` until none is left."""
    study = SharedStudy(run_dir, spec, url)
    while True:
        own, reports = Clock(), Clock()
        with own():
            claim = study.claim(slot=0)
        if claim is None:
            return
        with reports():
            for epoch in EPOCHS:
                study.report(claim, epoch, loss(claim.values, epoch))
        outcome = TrialOutcome(TrialState.COMPLETE, [loss(claim.values, EPOCHS[-1])], None, {"outcome": "completed"})
        with own():
            study.finish(claim, outcome)
        yield claim.number, own, reports


def bare(run_dir: Path, spec: SweepSpec, url: str | None) -> Iterator[tuple[int, Clock, Clock]]:
    """Runs trials as Optuna's example of `ask` and `tell` does, with one sampler a process."""
    study = optuna.load_study(study_name=spec.name, storage=bare_storage(run_dir, url), pruner=NopPruner())
    study.sampler = build_sampler(spec, multiprocessing.current_process().pid or 0)
    while True:
        own, reports = Clock(), Clock()
        with own():
            trial = study.ask()
            values = spec.space.sample(lambda parameter, trial=trial: suggest_one(trial, parameter))  # type: ignore[misc]
        with reports():
            for epoch in EPOCHS:
                trial.report(loss(values, epoch), epoch)
                trial.should_prune()
        with own():
            study.tell(trial, loss(values, EPOCHS[-1]))
        if trial.number >= spec.n_trials:
            return
        yield trial.number, own, reports


def bare_storage(run_dir: Path, url: str | None) -> BaseStorage:
    return RDBStorage(url) if url else JournalStorage(JournalFileBackend(str(run_dir / "bare.journal")))


def work(way: Callable[..., Iterator[Any]], run_dir: Path, spec: SweepSpec, url: str | None, profiled: bool) -> Times:
    """Runs trials in one process; with `profiled`, prints a profile of the last hundred."""
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    times, profile, running = Times(), cProfile.Profile(), False
    for number, own, reports in way(run_dir, spec, url):
        times.own.append((number, own.elapsed, own.cpu))
        times.reports.append((number, reports.elapsed, reports.cpu))
        if profiled and not running and number >= spec.n_trials - 200:
            running = True
            profile.enable()
    profile.disable()
    if running:
        pstats.Stats(profile).sort_stats("tottime").print_stats(22)
    return times


def measure(way: Callable[..., Iterator[Any]], sampler: str, args: argparse.Namespace) -> list[Times]:
    """Returns the times of each process."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder)
        spec = make_spec(run_dir, sampler, args.n_trials)
        if way is ours:
            SharedStudy(run_dir, spec, args.storage, create=True)
        else:
            optuna.create_study(study_name=spec.name, storage=bare_storage(run_dir, args.storage))
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            given = [(way, run_dir, spec, args.storage, args.profile and location == 0) for location in range(2)]
            return pool.starmap(work, given)


def figures(rows: list[tuple[int, float, float]], at: int) -> tuple[float, float, float]:
    """Returns milliseconds of the trials up to `at`: median and 95th percentile of elapsed, median of CPU time."""
    chosen = [(elapsed, cpu) for number, elapsed, cpu in rows if at - WINDOW <= number < at]
    elapsed = [1e3 * elapsed for elapsed, _ in chosen]
    return median(elapsed), quantiles(elapsed, n=20)[-1], median(1e3 * cpu for _, cpu in chosen)


def show(name: str, found: list[Times], places: list[int]) -> list[tuple[float, float, float]]:
    """Prints a table; returns the figures of claim and finish for each number of trials."""
    own = [figures([row for times in found for row in times.own], at) for at in places]
    reports = [figures([row for times in found for row in times.reports], at) for at in places]
    print(f"{name}, ms a trial      claim and finish: median   95 %   CPU     three reports: median   95 %   CPU")
    for at, a, b in zip(places, own, reports, strict=True):
        print(
            f"  trials to {at:6} {a[0]:27.1f} {a[1]:6.1f} {a[2]:5.1f} {b[0]:26.1f} {b[1]:6.1f} {b[2]:5.1f}", flush=True
        )
    return own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n_trials", type=int, default=2000)
    parser.add_argument("--samplers", nargs="+", default=["RandomSampler", "TPESampler"])
    parser.add_argument("--storage", help="a database of Optuna's, as SQLAlchemy writes it; default: the journal")
    parser.add_argument("--profile", action="store_true", help="print where the last hundred trials of a process go")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(f"{circumstances()}, Optuna {optuna.__version__}; {args.n_trials} trials over 2 processes")
    places = sorted({at for at in (100, 500, 2000, 10_000) if at < args.n_trials} | {args.n_trials})
    for sampler in args.samplers:
        first = show(f"{sampler}, sweeps", measure(ours, sampler, args), places)
        second = show(f"{sampler}, bare Optuna", measure(bare, sampler, args), places)
        ratios = [
            f"{at}: {a[0] / b[0]:.2f} ({a[2] / b[2]:.2f})" for at, a, b in zip(places, first, second, strict=True)
        ]
        print(f"  ratio of the medians (of the CPU), at {', '.join(ratios)}", flush=True)


if __name__ == "__main__":
    main()
