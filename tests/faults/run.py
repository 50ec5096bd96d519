"""Kills parts of a real sweep at random until it is done, and holds what is left against a sweep without a fault.

    python tests/faults --trials 200 --kills 50
    python tests/faults --trials 200 --kills 50 --storage postgresql --workers 0 --joined 2
    python tests/faults --trials 200 --kills 50 --engine ray
    python tests/faults --trials 20 --kills 10 --model mnist

Exit status 0 when nothing was lost, doubled or changed; 1, with what was, otherwise.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import checks
import psutil
import yaml
from attacked import AttackedSweep, Setting, slot_of
from optuna.trial import FrozenTrial
from postgresql import Server

from sweeps.results.files import read_results
from sweeps.study.crashes import MAX_CRASHES
from sweeps.study.records import now
from sweeps.trial_folder import TrialFolder

_WEIGHTS = {"launcher": 2, "worker": 5, "joined": 5, "rank": 5, "actor": 3}
_WEIGHTS |= {"fork_server": 2, "server": 2, "suspend": 2}
_STUCK_AFTER_S = 180.0


@dataclass
class Attack:
    """What is done to a sweep.

    Args:
        kills: How often something is killed (or suspended).
        kinds: Of what, from launcher, worker, joined, rank, actor, fork_server, server, suspend.
        seed: Of the choice of victims and moments.
    """

    kills: int
    kinds: list[str]
    seed: int = 0


@dataclass
class Outcome:
    """What came of it."""

    made: list[dict[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    attempts: int = 0
    launches: int = 0
    seconds: float = 0.0

    def summary(self, total: int, finished: int, doubled: int) -> str:
        """In a line."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(k["kind"] for k in self.made).items()))
        return (
            f"{total} trials, {len(self.made)} kills ({kinds}), {self.launches} launches, {self.attempts} attempts, "
            f"lost {total - finished}, doubled {doubled}, {len(self.faults)} faults, {self.seconds:.0f} s"
        )


def attack(sweep: AttackedSweep, plan: Attack, total: int) -> Outcome:
    """Runs the sweep to its end, killing on the way; one kill for each share of the trials that is finished."""
    draw, outcome, began = random.Random(plan.seed), Outcome(), time.monotonic()
    strike_at, moved, mark = None, time.monotonic(), None
    while not sweep.tend():
        time.sleep(0.05)
        trials = sweep.trials()
        finished = sum(trial.state.is_finished() for trial in trials)
        if (now_mark := (finished, len(outcome.made), sum(len(t.intermediate_values) for t in trials))) != mark:
            mark, moved = now_mark, time.monotonic()
        if time.monotonic() - moved > _STUCK_AFTER_S:
            outcome.faults.append(f"nothing happened for {_STUCK_AFTER_S:.0f} s at {finished} trials")
            break
        made = len(outcome.made)
        if not trials or made == plan.kills or finished < made * (total - 2) / plan.kills:
            continue
        if strike_at is None:
            strike_at = time.monotonic() + draw.uniform(0.0, 2.0)
        elif time.monotonic() > strike_at and (struck := _strike(sweep, plan, draw, trials)):
            outcome.made.append({**struck, "at_s": round(time.monotonic() - began, 2), "finished": finished})
            strike_at = None
    outcome.seconds, outcome.launches = time.monotonic() - began, sweep.launches
    outcome.faults += sweep.unplanned
    if len(outcome.made) < plan.kills:
        outcome.faults.append(f"the sweep was over after {len(outcome.made)} kills")
    left = sweep.wait_for_the_end(60)
    outcome.faults += [f"still running: {process.pid} {_words(process)}" for process in left]
    return outcome


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return "(gone)"


def _strike(
    sweep: AttackedSweep, plan: Attack, draw: random.Random, trials: list[FrozenTrial]
) -> dict[str, Any] | None:
    """What was done to whom; `None` when there is nobody of that kind, or only such as must be spared."""
    kind = draw.choices(plan.kinds, [_WEIGHTS[kind] for kind in plan.kinds])[0]
    for_s = draw.uniform(0.5, 4.0)
    if kind == "server":
        sweep.kill_server(for_s)
        return {"kind": kind, "for_s": round(for_s, 1)}
    running = {
        trial.user_attrs.get("owner", {}).get("slot"): trial for trial in trials if trial.state.name == "RUNNING"
    }
    victims = _victims(sweep, kind, draw.random() < 0.7, running)
    if not victims:
        return None
    victim = draw.choice(victims)
    trial = running.get(slot_of(victim))
    about = {"kind": kind, "victim": _words(victim)[-60:], "trial": trial.number if trial else None}
    about["epoch"] = max(trial.intermediate_values, default=0) if trial else None
    if kind == "suspend":
        sweep.suspend(victim, for_s)
    else:
        sweep.kill(victim)
    return about


def _victims(
    sweep: AttackedSweep, kind: str, busy: bool, running: dict[int | None, FrozenTrial]
) -> list[psutil.Process]:
    """Processes of a kind, spared those whose trial died twice without an epoch in between: it would fail, rightly.

    Args:
        sweep: The sweep.
        kind: Of victims; suspend: workers of any kind.
        busy: Only such as have a trial; otherwise they may be starting, claiming or waiting.
        running: The trials that run, by slot.
    """
    kinds = ("worker", "joined") if kind == "suspend" else (kind,)
    found = [victim for each in kinds for victim in sweep.victims(each)]
    if kind in ("launcher", "actor", "rank", "fork_server"):
        return [] if any(_is_spared(trial) for trial in running.values()) else found
    owned = [(victim, running.get(slot_of(victim))) for victim in found]
    return [victim for victim, trial in owned if (not busy if trial is None else not _is_spared(trial))]


def _is_spared(trial: FrozenTrial) -> bool:
    deaths = trial.user_attrs.get("deaths", {"count": 0, "epoch": 0})
    return deaths["count"] >= MAX_CRASHES - 1 and max(trial.intermediate_values, default=0) <= deaths["epoch"]


def spec_of(model: str, trials: int, devices: int) -> dict[str, Any]:
    """A sweep whose draws, values and prunings depend on the numbers of the trials alone, not on their order."""
    here = {"accelerator": "cpu", **({"devices": devices, "strategy": "ddp"} if devices > 1 else {})}
    spec: dict[str, Any] = {"n_trials": trials, "sampler": {"class_path": "RandomSampler", "init_args": {"seed": 5}}}
    if model == "mnist":
        network = {"depth": 1, "width": 32, "dropout": 0.1}
        spec["base"] = {
            "model": {"network": network},
            "data": {"batch_size": 200},
            "trainer": {"max_epochs": 3, **here},
        }
        spec["objective"] = {"metric": "val/acc", "direction": "maximize"}
        spec["space"] = {"model.optimizer.lr": {"low": 1e-3, "high": 1.0, "log": True}}
        spec["space"]["model.network.width"] = {"low": 16, "high": 64}
        pruner = {"lower": 0.85, "n_warmup_steps": 1}
    else:
        base = {"model": {"class_path": "standin.StandIn"}, "data": {"class_path": "standin.Points"}}
        spec["base"] = {**base, "trainer": {"max_epochs": 8, "log_every_n_steps": 1, **here}}
        spec["base"]["early_stopping"] = {"patience": 3}
        spec["objective"] = {"metric": "valid_loss", "direction": "minimize"}
        spec["space"] = {"model.lr": {"low": 1e-3, "high": 30.0, "log": True}}
        spec["space"]["model.dropout"] = {"low": 0.0, "high": 0.5}
        pruner = {"upper": 3.0, "n_warmup_steps": 2}
    return {**spec, "pruner": {"class_path": "ThresholdPruner", "init_args": pruner}}


def write_spec(folder: Path, model: str, trials: int, devices: int = 1) -> Path:
    """The spec as a file; the study has its name."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{model}.yaml"
    path.write_text(yaml.safe_dump(spec_of(model, trials, devices)))
    return path


def run_reference(folder: Path, spec: Path, wandb: str) -> Path:
    """The run folder of the same sweep without a fault; one that is there already is taken."""
    sweep = AttackedSweep(spec, folder, Setting(wandb=wandb))
    try:
        outcome = attack(sweep, Attack(0, []), total=0)
    finally:
        sweep.close()
    assert not outcome.faults, outcome.faults
    return sweep.run_dir


def compare(sweep: AttackedSweep, reference: AttackedSweep, total: int) -> tuple[list[str], list[str]]:
    """What was lost or doubled, and what is otherwise than without faults."""
    if broken := [*checks.unreadable(sweep.folder)]:
        return [], broken  # and so not to be compared
    trials, expected = sweep.trials(), reference.trials()
    rows = read_results(sweep.run_dir)
    lost = [*checks.lost_or_doubled(trials, total)]
    late: set[int] = set()
    if sweep.setting.server is None:
        lost += checks.told_twice(sweep.run_dir / "study.journal")
    else:  # which was away at times: training goes on meanwhile, and nobody can be asked whether to prune
        late = checks.pruned_late(sweep.run_dir, reference.run_dir)
    other = [*checks.other_trials(trials, expected, late, away=sweep.setting.server is not None)]
    other += checks.other_rows(sweep.run_dir, reference.run_dir, late)
    folders = {row.number: TrialFolder(sweep.run_dir_of(row.slot), row.number).path for row in rows}
    wandb = sweep.setting.wandb == "offline"
    other += checks.other_epochs(folders, reference.run_dir, wandb, late)
    return lost, other


def survive(
    folder: Path, spec: Path, setting: Setting, plan: Attack, total: int, reference: Path
) -> tuple[str, Outcome]:
    """Runs a sweep under attack and checks what it left.

    Args:
        folder: For its files.
        spec: The spec.
        setting: How to run it.
        plan: What to do to it.
        total: Its trials.
        reference: Folder of the sweep without a fault; made when it is not there.

    Returns:
        The summary, and what came of it.
    """
    reference.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    run_reference(reference, spec, setting.wandb)
    sweep = AttackedSweep(spec, folder, setting)
    try:
        outcome = attack(sweep, plan, total)
    finally:
        sweep.close()
    (folder / "kills.json").write_text(json.dumps(outcome.made, indent=1))
    lost, other = compare(sweep, AttackedSweep(spec, reference, Setting()), total)
    outcome.faults += lost + other
    trials = sweep.trials()
    outcome.attempts = sum(trial.user_attrs.get("attempt", 0) for trial in trials)
    finished = {trial.number for trial in trials if trial.state.is_finished() and trial.number < total}
    return outcome.summary(total, len(finished), max(0, len(trials) - total) + len(lost)), outcome


def main(argv: list[str] | None = None) -> int:
    """The command; exits with 2 for an unknown option or a bad value."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--model", choices=("standin", "mnist"), default="standin")
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--storage", choices=("journal", "postgresql"), default="journal")
    parser.add_argument("--workers", type=int, default=2, help="that the launcher starts")
    parser.add_argument("--joined", type=int, default=0, help="workers that are started separately")
    parser.add_argument("--devices", type=int, default=1, help="of each trial")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of victims")
    parser.add_argument("--wandb", choices=("offline", "disabled"), default="offline")
    parser.add_argument("--folder", type=Path, help="where to leave everything; default: a temporary one, removed")
    parser.add_argument("--reference", type=Path, help="folder of a sweep without a fault, to be used again")
    parser.add_argument("--dry_run", action="store_true", help="check the options, start nothing")
    args = parser.parse_args(argv)
    kinds = ["launcher", "suspend", *(["joined"] if args.joined else [])]
    kinds += ["worker"] if args.workers else []
    kinds += ["fork_server"] if args.workers and args.engine == "local" else []
    kinds += ["rank"] if args.devices > 1 else []
    kinds += ["actor"] if args.engine == "ray" else []
    kinds += ["server"] if args.storage == "postgresql" else []
    if args.dry_run:
        print(f"{args.trials} trials of {args.model} on {args.engine} and {args.storage}; {args.kills} of {kinds}")
        return 0
    folder = args.folder or Path(tempfile.mkdtemp(prefix="faults-"))
    reference = args.reference or folder / "reference"
    with ExitStack() as stack:
        server = Server() if args.storage == "postgresql" else None
        if server is not None:
            stack.callback(server.close)
        setting = Setting(args.workers, args.joined, args.engine, args.wandb, server)
        spec = write_spec(folder, args.model, args.trials, args.devices)
        plan = Attack(args.kills, kinds, args.seed)
        summary, outcome = survive(folder / "attacked", spec, setting, plan, args.trials, reference)
    print(f"{now()} {args.model}, {args.engine}, {args.storage}: {summary}")
    print("\n".join(outcome.faults))
    if args.folder is None and not outcome.faults:
        shutil.rmtree(folder)
    return 1 if outcome.faults else 0
