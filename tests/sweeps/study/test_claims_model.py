"""Claims, leases and the budget against a simple model, in any order of events that Hypothesis thinks of."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import optuna
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from sweeps.spec.parse_spec import parse_spec
from sweeps.spec.spec import SweepSpec
from sweeps.study.configurations import configuration
from sweeps.study.deferred_suggest import DeferredSuggestion
from sweeps.study.liveness import Owner
from sweeps.study.postgresql import LEASE_S
from sweeps.study.records import TrialClaim, TrialOutcome
from sweeps.study.sampling import build_sampler
from sweeps.study.study import MAX_CRASHES, SharedStudy

VERDICTS = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


@dataclass
class Worker:
    """A process of some machine, and every claim that it was ever given."""

    pid: int
    machine: str
    study: SharedStudy
    claims: list[TrialClaim] = field(default_factory=list)
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
    is_sampled: bool = False
    deaths: int = 0
    died_at: int = 0


@dataclass
class Server:
    """A database's clock and lock."""

    machine: Claims

    def lock(self) -> AbstractContextManager[None]:
        return nullcontext()

    def check_lock(self) -> None:
        """It is held."""

    def now(self) -> float:
        return self.machine.clock

    def lease(self) -> float:
        return self.machine.clock + LEASE_S


def holds(claims: Claims) -> bool:
    """Whether a living worker was ever given a trial."""
    return any(worker.lives and worker.claims for worker in claims.workers)


class Storage(InMemoryStorage):
    """In memory; finds trials that wait again, which Optuna's own does not."""

    def get_all_trials(self, study_id: int, *args: Any, **options: Any) -> Any:
        self._prev_waiting_trial_number[study_id] = 0
        return super().get_all_trials(study_id, *args, **options)


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
        self.storage = Storage()

    @initialize(
        configurations=st.integers(1, 5), seeds=st.integers(1, 3), runs=st.integers(0, 2), most=st.integers(1, 4)
    )
    def begin(self, configurations: int, seeds: int, runs: int, most: int) -> None:
        named = {f"run{number}": {"trainer.max_epochs": number + 1} for number in range(runs)}
        self.spec = a_spec(n_trials=(configurations + runs) * seeds, seeds=seeds, runs=named, max_failures=most)
        study = optuna.create_study(storage=self.storage, study_name="claims", sampler=build_sampler(self.spec, 0))
        replaced = {
            "sweeps.study.study.open_study": lambda *_: (self.storage, study),
            "sweeps.study.study.database_of": lambda *_: Server(self) if self.has_server else None,
            "sweeps.study.study.identity": lambda: self.actor.identity(),
            "sweeps.study.crashes.is_here": lambda owner: owner.get("machine") == self.actor.machine,
            "sweeps.study.crashes.is_alive": self.is_alive,
            "sweeps.spec.spec.SweepSpec.dump": lambda _: "",  # which takes the longest of all
            "sweeps.study.study.now": self.time,
            "sweeps.study.attributes.now": self.time,
            "sweeps.study.records.now": self.time,
        }
        for name, function in replaced.items():
            self.patches.enter_context(patch(name, function))
        self.launch()
        self.start("A")
        self.model = [Expected(number // seeds, number % seeds, is_sampled=True) for number in range(runs * seeds)]

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
        return any(worker.pid == owner.get("pid") and worker.lives for worker in self.workers)

    def time(self) -> str:
        """Later at every look, so that no two trials end at once."""
        self.clock += 1e-4
        return f"{self.clock:015.4f}"

    def living(self, choice: int) -> Worker:
        """A worker that lives, who now acts."""
        found = [worker for worker in self.workers if worker.lives] or [self.start("A")]
        self.actor = found[choice % len(found)]
        return self.actor

    def holder(self, choice: int) -> None:
        """Has a living worker act that was given a trial, maybe long ago."""
        found = [worker for worker in self.workers if worker.lives and worker.claims]
        self.actor = found[choice % len(found)]

    @rule(machine=st.sampled_from("AB"))
    def join(self, machine: str) -> None:
        self.start(machine)

    def start(self, machine: str) -> Worker:
        self.workers.append(Worker(len(self.workers) + 1, machine, SharedStudy(self.folder, self.spec)))
        self.actor = self.workers[-1]
        return self.actor

    @rule(choice=st.integers(0, 9))
    def kill(self, choice: int) -> None:
        self.living(choice).lives = False

    @rule(seconds=st.sampled_from([1.0, 0.7 * LEASE_S, 1.1 * LEASE_S]))
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
        """What a claim gives."""
        if self.is_failing():
            return None
        waiting = [number for number, trial in enumerate(self.model) if trial.state == "WAITING"]
        if not waiting and len({trial.config for trial in self.model}) * self.spec.seeds < self.spec.n_trials:
            waiting = [len(self.model)]
            self.model.append(Expected(len(self.model), 0))
        return waiting[0] if waiting else None

    def queue_repeats(self, first: int) -> None:
        """What the first claim of a configuration that was sampled does, unless one that broke off has done it."""
        there = sum(trial.config == first for trial in self.model)
        if self.model[first].config == first:
            self.model += [Expected(first, seed_number) for seed_number in range(there, self.spec.seeds)]

    @rule(choice=st.integers(0, 9))
    def claim(self, choice: int) -> None:
        worker = self.living(choice)
        self.took(worker, worker.study.claim(worker.pid), self.next_trial())

    def took(self, worker: Worker, claim: TrialClaim | None, number: int | None) -> None:
        if number is not None:
            self.take(worker, number)
        self.settled(worker, claim, number)

    def take(self, worker: Worker, number: int) -> None:
        trial = self.model[number]
        trial.state, trial.owner, trial.lease = "RUNNING", worker, self.clock + LEASE_S
        trial.attempt += 1

    def settled(self, worker: Worker, claim: TrialClaim | None, number: int | None) -> None:
        assert (claim.number if claim else None) == number
        if claim is None:
            return
        self.queue_repeats(claim.number)
        trial = self.model[claim.number]
        trial.is_sampled = True
        assert (claim.attempt, claim.seed_number) == (trial.attempt, trial.seed_number)
        worker.claims.append(claim)

    @rule(choice=st.integers(0, 9), machine=st.sampled_from("AB"), seconds=st.sampled_from([0.0, 1.1 * LEASE_S]))
    def claim_while_another_draws(self, choice: int, machine: str, seconds: float) -> None:
        """A worker hangs while it draws values; one that joins, meanwhile, takes what it may."""
        worker = self.living(choice)
        number = self.next_trial()

        class SlowDraft(DeferredSuggestion):
            def __init__(draft, *given: Any) -> None:
                super().__init__(*given)
                stack.close()
                assert number is not None
                self.take(worker, number)
                self.clock += seconds
                joined = self.start(machine)
                self.reclaim(-1, False)
                self.claim(-1)
                assert self.actor is joined
                self.actor = worker

        with ExitStack() as stack:
            stack.enter_context(patch("sweeps.study.study.DeferredSuggestion", SlowDraft))
            claim = worker.study.claim(worker.pid)
        is_lost = number is not None and self.model[number].owner is not worker
        self.settled(worker, claim, None if is_lost else number)

    def some_claim(self, choice: int, latest: bool) -> tuple[TrialClaim, Expected, bool]:
        """A claim of the worker who acts, maybe one that is long another's; its trial; whether it is still the one."""
        claim = self.actor.claims[-1 if latest else choice % len(self.actor.claims)]
        trial = self.model[claim.number]
        return claim, trial, trial.state == "RUNNING" and trial.attempt == claim.attempt

    @precondition(holds)
    @rule(
        choice=st.integers(0, 9),
        latest=st.sampled_from([True, True, False]),
        outcome=st.sampled_from([*VERDICTS, "failed"]),
    )
    def finish(self, choice: int, latest: bool, outcome: str) -> None:
        self.holder(choice)
        claim, trial, is_current = self.some_claim(choice, latest)
        row = {"outcome": outcome, "finished": self.time(), "by": claim.attempt}
        values = [1.0] if outcome == "completed" else None
        assert self.actor.study.finish(claim, TrialOutcome(VERDICTS[outcome], values, None, row)) == is_current
        if is_current:
            trial.state = VERDICTS[outcome].name
            self.ended.append(outcome)

    @precondition(holds)
    @rule(choice=st.integers(0, 9), latest=st.sampled_from([True, True, False]))
    def report(self, choice: int, latest: bool) -> None:
        self.holder(choice)
        claim, trial, is_current = self.some_claim(choice, latest)
        assert self.actor.study.report(claim, trial.epoch + 1, 0.5) == (None if is_current else "stale")
        trial.epoch += is_current

    @precondition(holds)
    @rule(choice=st.integers(0, 9), latest=st.sampled_from([True, True, False]))
    def renew(self, choice: int, latest: bool) -> None:
        self.holder(choice)
        claim, trial, is_current = self.some_claim(choice, latest)
        assert self.actor.study.renew(claim) == is_current
        if is_current:
            trial.lease = self.clock + LEASE_S

    @precondition(holds)
    @rule(choice=st.integers(0, 9), latest=st.sampled_from([True, True, False]))
    def release(self, choice: int, latest: bool) -> None:
        self.holder(choice)
        claim, trial, is_current = self.some_claim(choice, latest)
        self.actor.study.release(claim)
        if is_current:
            trial.state, trial.owner = "WAITING", None

    @precondition(holds)
    @rule(choice=st.integers(0, 9), latest=st.sampled_from([True, True, False]))
    def lose(self, choice: int, latest: bool) -> None:
        self.holder(choice)
        claim, trial, is_current = self.some_claim(choice, latest)
        self.actor.study.lose(claim, "a rank died")
        if is_current:
            self.die(trial)

    def die(self, trial: Expected) -> bool:
        """Whether the trial waits again."""
        trial.owner = None
        repeats = sum(other.config == trial.config for other in self.model)
        if not trial.is_sampled or (trial.seed_number == 0 and repeats < self.spec.seeds):
            trial.state = "WAITING"  # its claim broke off
            return True
        trial.deaths = trial.deaths + 1 if trial.epoch <= trial.died_at else 1
        trial.died_at = trial.epoch
        trial.state = "WAITING" if trial.deaths < MAX_CRASHES else "FAIL"
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
        waits = [number for number, trial in lost if self.die(trial)]
        assert self.actor.study.reclaim(elsewhere) == waits

    @rule(choice=st.integers(0, 9), writes=st.integers(0, 12))
    def die_in_a_claim(self, choice: int, writes: int) -> None:
        """A worker is killed before so many writes of a claim are made, or right after it."""
        worker, left = self.living(choice), iter(range(writes))
        number = self.next_trial()
        try:
            with ExitStack() as stack:
                for name in WRITES:
                    stack.enter_context(patch.object(self.storage, name, mortal(getattr(self.storage, name), left)))
                claim = worker.study.claim(worker.pid)
        except Killed:
            self.see_what_is_left(number, worker)
        else:
            self.took(worker, claim, number)
        worker.lives = False

    def see_what_is_left(self, number: int | None, worker: Worker) -> None:
        """Takes over how far a claim of this trial came: what it made, and whether the trial is the dead worker's."""
        assert number is not None
        trials = self.study.trials()
        del self.model[len(trials) :]
        while len(self.model) < len(trials):
            self.model.append(Expected(number, sum(trial.config == number for trial in self.model)))
        if number == len(trials):
            return  # not even made
        trial, expected = trials[number], self.model[number]
        assert trial.state in (TrialState.WAITING, TrialState.RUNNING)
        assert 0 <= trial.user_attrs.get("attempt", 0) - expected.attempt <= 1
        expected.attempt = trial.user_attrs.get("attempt", 0)
        expected.is_sampled = expected.is_sampled or bool(trial.params)
        if trial.state == TrialState.RUNNING:
            expected.state, expected.owner, expected.lease = "RUNNING", worker, self.clock + LEASE_S

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
            values.setdefault(configuration(trial), set()).add(str(trial.params))
        assert all(len(found) == 1 for found in values.values())  # repeats over seeds are of one configuration
        assert len(values) == self.spec.n_trials // self.spec.seeds


class Killed(BaseException):
    """kill -9."""


WRITES = (
    "create_new_trial",
    "set_trial_state_values",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "set_trial_param",
)


def mortal(write: Callable[..., Any], left: Iterator[int]) -> Callable[..., Any]:
    """The write, or the end of who makes it when there is none left."""

    def write_or_die(*args: Any, **options: Any) -> Any:
        if next(left, None) is None:
            raise Killed
        return write(*args, **options)

    return write_or_die


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
    database=None,
    deadline=None,
    max_examples=400,
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
)
TestClaims = Claims.TestCase
TestClaims.settings = _SETTINGS
TestClaimsInADatabase = ClaimsInADatabase.TestCase
TestClaimsInADatabase.settings = _SETTINGS
