"""Claims, leases and the budget against a simple model, in any order of events that Hypothesis thinks of."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import optuna
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from sweeps.claims import Claim, Verdict
from sweeps.database import LEASE_S
from sweeps.owners import Owner
from sweeps.samplers import build_sampler
from sweeps.spec import SweepSpec
from sweeps.spec_file import parse_spec
from sweeps.study import MOST_DEATHS, SharedStudy

VERDICTS = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


@dataclass
class Worker:
    """A process of some machine, and every claim that it was ever given."""

    pid: int
    machine: str
    claims: list[Claim]
    lives: bool = True

    def identity(self) -> Owner:
        return {"machine": self.machine, "pid": self.pid, "started": "then"}


@dataclass
class Expected:
    """What the model knows of a trial."""

    config: int
    seed_number: int
    state: str = "WAITING"
    attempt: int = 0
    owner: Worker | None = None
    lease: float = 0.0
    epoch: int = 0
    deaths: int = 0
    died_at: int = 0


@dataclass
class Server:
    """A database's clock and lock."""

    machine: Claims

    def lock(self) -> AbstractContextManager[None]:
        return nullcontext()

    def now(self) -> float:
        return self.machine.clock

    def lease(self) -> float:
        return self.machine.clock + LEASE_S


class Claims(RuleBasedStateMachine):
    """Workers on two machines that share a study; who acts is `self.actor`."""

    has_server = False

    def __init__(self) -> None:
        super().__init__()
        self.clock = 1000.0
        self.folder = Path(tempfile.mkdtemp(prefix="claims-"))
        self.workers: list[Worker] = []
        self.model: list[Expected] = []
        self.ended: list[str] = []
        self.patches = ExitStack()

    @initialize(
        configurations=st.integers(1, 5), seeds=st.integers(1, 3), runs=st.integers(0, 2), most=st.integers(1, 4)
    )
    def begin(self, configurations: int, seeds: int, runs: int, most: int) -> None:
        named = {f"run{number}": {"trainer.max_epochs": number + 1} for number in range(runs)}
        self.spec = a_spec(n_trials=(configurations + runs) * seeds, seeds=seeds, runs=named, max_failures=most)
        storage = InMemoryStorage()
        study = optuna.create_study(storage=storage, study_name="claims", sampler=build_sampler(self.spec, 0))
        replaced = {
            "sweeps.study.open_study": lambda *_: (storage, study),
            "sweeps.study.database_of": lambda *_: Server(self) if self.has_server else None,
            "sweeps.study.identity": lambda: self.actor.identity(),
            "sweeps.study.is_here": lambda owner: owner.get("machine") == self.actor.machine,
            "sweeps.study.is_alive": self.is_alive,
            "sweeps.study.now": self.time,
            "sweeps.claims.now": self.time,
        }
        for name, function in replaced.items():
            self.patches.enter_context(patch(name, function))
        self.start("A")
        self.launch()
        self.model = [Expected(number // seeds, number % seeds) for number in range(runs * seeds)]

    def teardown(self) -> None:
        try:
            if self.workers:
                self.finish_the_rest()
        finally:
            self.patches.close()
            shutil.rmtree(self.folder)

    def is_alive(self, owner: Owner, elsewhere: bool = True) -> bool:
        if owner and owner["machine"] != self.actor.machine:
            return elsewhere
        return any(worker.identity() == owner and worker.lives for worker in self.workers)

    def time(self) -> str:
        """Later at every look, so that no two trials end at once."""
        self.clock += 1e-4
        return f"{self.clock:015.4f}"

    def living(self, choice: int) -> Worker:
        """A worker that lives, who now acts."""
        found = [worker for worker in self.workers if worker.lives] or [self.start("A")]
        self.actor = found[choice % len(found)]
        return self.actor

    @rule(machine=st.sampled_from("AB"))
    def join(self, machine: str) -> None:
        self.start(machine)

    def start(self, machine: str) -> Worker:
        self.workers.append(Worker(len(self.workers) + 1, machine, []))
        self.actor = self.workers[-1]
        return self.actor

    @rule(choice=st.integers(0, 9))
    def kill(self, choice: int) -> None:
        self.living(choice).lives = False

    @rule(seconds=st.floats(0.1, 2 * LEASE_S))
    def wait(self, seconds: float) -> None:
        self.clock += seconds

    @rule()
    def launch(self) -> None:
        self.study = SharedStudy(self.folder, self.spec, create=True)
        self.ended = []

    def is_failing(self) -> bool:
        last = self.ended[-self.spec.max_failures :]
        return len(last) == self.spec.max_failures and set(last) == {"failed"}

    def next_trial(self) -> int | None:
        if self.is_failing():
            return None
        waiting = [number for number, trial in enumerate(self.model) if trial.state == "WAITING"]
        if waiting:
            return waiting[0]
        if len(self.model) == self.spec.n_trials:
            return None
        first = len(self.model)
        self.model += [Expected(first, seed_number) for seed_number in range(self.spec.seeds)]
        return first

    @rule(choice=st.integers(0, 9))
    def claim(self, choice: int) -> None:
        worker = self.living(choice)
        claim, number = self.study.claim(worker.pid), self.next_trial()
        assert (claim.number if claim else None) == number
        if claim is None:
            return
        trial = self.model[claim.number]
        assert claim.attempt > trial.attempt
        assert claim.seed_number == trial.seed_number
        trial.state, trial.attempt, trial.owner = "RUNNING", claim.attempt, worker
        trial.lease = self.clock + LEASE_S
        worker.claims.append(claim)

    def some_claim(self, choice: int, latest: bool) -> tuple[Claim, Expected, bool]:
        """A claim of the worker who acts, maybe one that is long another's; its trial; whether it is still the one."""
        claim = self.actor.claims[-1 if latest else choice % len(self.actor.claims)]
        trial = self.model[claim.number]
        return claim, trial, trial.state == "RUNNING" and trial.attempt == claim.attempt

    @rule(choice=st.integers(0, 9), latest=st.booleans(), outcome=st.sampled_from([*VERDICTS, "failed"]))
    def finish(self, choice: int, latest: bool, outcome: str) -> None:
        if not self.living(choice).claims:
            return
        claim, trial, is_current = self.some_claim(choice, latest)
        row = {"outcome": outcome, "finished": self.time(), "by": claim.attempt}
        values = [1.0] if outcome == "completed" else None
        assert self.study.finish(claim, Verdict(VERDICTS[outcome], values, None, row)) == is_current
        if is_current:
            trial.state = VERDICTS[outcome].name
            self.ended.append(outcome)

    @rule(choice=st.integers(0, 9), latest=st.booleans())
    def report(self, choice: int, latest: bool) -> None:
        if not self.living(choice).claims:
            return
        claim, trial, is_current = self.some_claim(choice, latest)
        assert self.study.report(claim, trial.epoch + 1, 0.5) == (None if is_current else "stale")
        trial.epoch += is_current

    @rule(choice=st.integers(0, 9), latest=st.booleans())
    def renew(self, choice: int, latest: bool) -> None:
        if not self.living(choice).claims:
            return
        claim, trial, is_current = self.some_claim(choice, latest)
        assert self.study.renew(claim) == is_current
        if is_current:
            trial.lease = self.clock + LEASE_S

    @rule(choice=st.integers(0, 9), latest=st.booleans())
    def release(self, choice: int, latest: bool) -> None:
        if not self.living(choice).claims:
            return
        claim, trial, is_current = self.some_claim(choice, latest)
        self.study.release(claim)
        if is_current:
            trial.state = "WAITING"

    @rule(choice=st.integers(0, 9), latest=st.booleans())
    def lose(self, choice: int, latest: bool) -> None:
        if not self.living(choice).claims:
            return
        claim, trial, is_current = self.some_claim(choice, latest)
        self.study.lose(claim, "a rank died")
        if is_current:
            self.die(trial)

    def die(self, trial: Expected) -> bool:
        """Whether the trial waits again."""
        trial.deaths = trial.deaths + 1 if trial.epoch <= trial.died_at else 1
        trial.died_at = trial.epoch
        trial.state = "WAITING" if trial.deaths < MOST_DEATHS else "FAIL"
        if trial.state == "FAIL":
            self.ended.append("killed")
        return trial.state == "WAITING"

    def is_lost(self, trial: Expected, elsewhere: bool) -> bool:
        assert trial.owner is not None
        if trial.owner.machine == self.actor.machine:
            return not trial.owner.lives
        return trial.lease <= self.clock if self.has_server else elsewhere

    @rule(choice=st.integers(0, 9), elsewhere=st.booleans())
    def reclaim(self, choice: int, elsewhere: bool) -> None:
        self.living(choice)
        running = [(number, trial) for number, trial in enumerate(self.model) if trial.state == "RUNNING"]
        lost = [(number, trial) for number, trial in running if self.is_lost(trial, elsewhere)]
        assert self.study.reclaim(elsewhere) == [number for number, trial in lost if self.die(trial)]

    @rule(choice=st.integers(0, 9))
    @precondition(lambda self: not any(trial.state == "RUNNING" for trial in self.model))
    def die_in_a_claim(self, choice: int) -> None:
        """A worker is killed after it took a trial, and before it had written anything else."""
        worker = self.living(choice)
        number = self.next_trial()
        if number is None:
            return
        fresh = self.model[number].attempt == 0
        with patch.object(optuna.Trial, "set_user_attr", side_effect=Killed), suppress(Killed):
            self.study.claim(worker.pid)
        worker.lives = False
        trial = self.model[number]
        if fresh and trial.config == number:  # its repeats are not queued yet
            del self.model[number + 1 :]
        self.start(worker.machine)
        assert self.study.reclaim() == ([number] if self.die(trial) else [])

    @invariant()
    def the_study_is_as_the_model_has_it(self) -> None:
        if not self.workers:
            return
        trials = self.study.trials()
        assert len(trials) <= self.spec.n_trials
        assert [trial.state.name for trial in trials] == [trial.state for trial in self.model]
        assert [trial.user_attrs.get("attempt", 0) for trial in trials] == [trial.attempt for trial in self.model]
        for trial, expected in zip(trials, self.model, strict=True):
            if trial.state.is_finished() and "by" in trial.user_attrs["result"]:
                assert trial.user_attrs["result"]["by"] == expected.attempt
        finals = all(trial.state not in ("WAITING", "RUNNING") for trial in self.model)
        assert self.study.is_finished() == (finals and len(self.model) == self.spec.n_trials)
        assert self.study.is_over() == (self.study.is_finished() or self.is_failing())

    def finish_the_rest(self) -> None:
        """Whatever happened: one worker, left alone for long enough, ends all that is asked for."""
        for worker in self.workers:
            worker.lives = False
        self.clock += 2 * LEASE_S
        self.launch()
        for number, machine in enumerate("AB"):
            self.start(machine)
            self.reclaim(number, False)
        for _ in range(self.spec.n_trials):
            self.claim(0)
            if self.actor.claims:
                self.finish(0, True, "completed")
        assert self.study.is_finished()
        self.the_study_is_as_the_model_has_it()
        values = {}
        for trial in self.study.trials():
            values.setdefault(trial.user_attrs["config_id"], set()).add(str(trial.params))
        assert all(len(found) == 1 for found in values.values())  # repeats over seeds are of one configuration
        assert len(values) == self.spec.n_trials // self.spec.seeds


class Killed(BaseException):
    """kill -9."""


class ClaimsInADatabase(Claims):
    """The same with leases, by the clock of a database."""

    has_server = True


def a_spec(**changes: Any) -> SweepSpec:
    given = {
        "base": {"model": {"class_path": "no.Model"}},
        "objective": {"metric": "loss", "direction": "minimize"},
        "space": {"x": {"low": 0.0, "high": 1.0}, "kind": {"choices": ["a", "b"]}},
        "sampler": {"class_path": "RandomSampler", "init_args": {"seed": 11}},
        **changes,
    }
    return parse_spec(given, Path(), "claims")


_SETTINGS = settings(
    derandomize=True,
    deadline=None,
    max_examples=4,
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
)
TestClaims = Claims.TestCase
TestClaims.settings = _SETTINGS
TestClaimsInADatabase = ClaimsInADatabase.TestCase
TestClaimsInADatabase.settings = _SETTINGS
