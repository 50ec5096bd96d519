"""Claims, leases and the number of trials, held against a simple model, in any order of events."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import optuna
import pytest
from claims_model import Clock, ExpectedTrial, Server, StrictStorage, Worker
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from optuna.trial import TrialState
from strict_storage import Killed

from sweeps.spec.parse_spec import parse_spec
from sweeps.spec.spec import SweepSpec
from sweeps.study.configurations import config_id_of
from sweeps.study.crashes import MAX_CRASHES
from sweeps.study.deferred_suggest import DeferredSuggestion
from sweeps.study.handle import StudyHandle
from sweeps.study.liveness import Owner
from sweeps.study.postgresql import LEASE_S, PostgresCoordinator
from sweeps.study.records import TrialClaim, TrialOutcome, now
from sweeps.study.sampling import build_sampler
from sweeps.study.study import SharedStudy

STATES = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


def holds(claims: Claims) -> bool:
    """Returns whether a living worker ever got a trial."""
    return any(worker.lives and worker.claims for worker in claims.workers)


class Claims(RuleBasedStateMachine):
    """Workers on two machines that share a study; who acts is `self.actor`."""

    has_server = False

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.folder = Path(tempfile.mkdtemp(prefix="claims-"))
        self.workers: list[Worker] = []
        self.model: list[ExpectedTrial] = []
        self.ended: list[str] = []
        self.patches = ExitStack()
        self.storage = StrictStorage()

    @initialize(
        configurations=st.integers(1, 5), seeds=st.integers(1, 3), runs=st.integers(0, 2), most=st.integers(1, 4)
    )
    def begin(self, configurations: int, seeds: int, runs: int, most: int) -> None:
        named = {f"run{number}": {"trainer.max_epochs": number + 1} for number in range(runs)}
        self.spec = a_spec(n_trials=(configurations + runs) * seeds, seeds=seeds, runs=named, max_failures=most)
        optuna.create_study(storage=self.storage, study_name="claims", sampler=build_sampler(self.spec, 0))
        replaced = {
            "sweeps.study.study.open_study": self.open_study,
            "sweeps.study.trial_queue.identity": lambda: self.actor.identity(),
            "sweeps.study.crashes.is_here": lambda owner: owner.get("machine") == self.actor.machine,
            "sweeps.study.crashes.is_alive": self.is_alive,
            "sweeps.spec.spec.SweepSpec.dump": lambda _: "",  # a quarter of the time
        }
        for name, function in replaced.items():
            self.patches.enter_context(patch(name, function))
        self.launch()
        self.start("A")
        self.model = [ExpectedTrial(number // seeds, number % seeds, is_sampled=True) for number in range(runs * seeds)]

    def teardown(self) -> None:
        try:
            if self.workers:
                self.finish_the_rest()
        finally:
            self.patches.close()
            shutil.rmtree(self.folder)

    def open_study(self, *_: object) -> StudyHandle:
        study = optuna.load_study(storage=self.storage, study_name="claims")
        server = cast(PostgresCoordinator, Server(self.clock)) if self.has_server else None
        return StudyHandle(study, server, self.folder / "study.lock")

    def is_alive(self, owner: Owner, elsewhere: bool = True) -> bool:
        if owner and owner["machine"] != self.actor.machine:
            return elsewhere
        return any(worker.pid == owner.get("pid") and worker.lives for worker in self.workers)

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
        self.clock.time += seconds

    @rule()
    def launch(self) -> None:
        self.study = SharedStudy(self.folder, self.spec, create=True)
        self.ended = []

    def is_failing(self) -> bool:
        last = self.ended[-self.spec.max_failures :]
        return len(last) == self.spec.max_failures and set(last) == {"failed"}

    def next_trial(self) -> int | None:
        """Returns the number of the trial that a claim gets; the claim first requeues trials without an owner."""
        for trial in self.model:
            if trial.is_unowned():
                trial.state = "WAITING"
        if self.is_failing():
            return None
        waiting = [number for number, trial in enumerate(self.model) if trial.state == "WAITING"]
        if not waiting and len({trial.config for trial in self.model}) * self.spec.seeds < self.spec.n_trials:
            waiting = [len(self.model)]
            self.model.append(ExpectedTrial(len(self.model), 0))
        return waiting[0] if waiting else None

    def queue_repeats(self, first: int) -> None:
        """What the first claim of a configuration that was sampled does, unless one that broke off has done it."""
        there = sum(trial.config == first for trial in self.model)
        if self.model[first].config == first:
            self.model += [ExpectedTrial(first, seed_number) for seed_number in range(there, self.spec.seeds)]

    @rule(choice=st.integers(0, 9))
    def claim(self, choice: int) -> None:
        worker = self.living(choice)
        self.claimed(worker, worker.study.claim(worker.pid), self.next_trial())

    def claimed(self, worker: Worker, claim: TrialClaim | None, number: int | None) -> None:
        if number is not None:
            self.take(worker, number)
        self.completed(worker, claim, number)

    def take(self, worker: Worker, number: int) -> None:
        trial = self.model[number]
        trial.state, trial.owner, trial.lease = "RUNNING", worker, self.clock.time + LEASE_S
        trial.attempt += 1

    def completed(self, worker: Worker, claim: TrialClaim | None, number: int | None) -> None:
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
                self.clock.time += seconds
                joined = self.start(machine)
                self.reclaim(-1, False)
                self.claim(-1)
                assert self.actor is joined
                self.actor = worker

        with ExitStack() as stack:
            stack.enter_context(patch("sweeps.study.trial_queue.DeferredSuggestion", SlowDraft))
            claim = worker.study.claim(worker.pid)
        is_lost = number is not None and self.model[number].owner is not worker
        self.completed(worker, claim, None if is_lost else number)

    def some_claim(self, choice: int, latest: bool) -> tuple[TrialClaim, ExpectedTrial, bool]:
        """A claim of the worker who acts, maybe one that is long another's; its trial; whether it is still the one."""
        claim = self.actor.claims[-1 if latest else choice % len(self.actor.claims)]
        trial = self.model[claim.number]
        return claim, trial, trial.is_owned() and trial.attempt == claim.attempt

    @precondition(holds)
    @rule(
        choice=st.integers(0, 9),
        latest=st.sampled_from([True, True, False]),
        outcome=st.sampled_from([*STATES, "failed"]),
    )
    def finish(self, choice: int, latest: bool, outcome: str) -> None:
        self.holder(choice)
        claim, trial, is_current = self.some_claim(choice, latest)
        row = {"outcome": outcome, "finished": now(), "by": claim.attempt}
        values = [1.0] if outcome == "completed" else None
        assert self.actor.study.finish(claim, TrialOutcome(STATES[outcome], values, None, row)) == is_current
        if is_current:
            trial.state = STATES[outcome].name
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
            trial.lease = self.clock.time + LEASE_S

    @precondition(holds)
    @rule(choice=st.integers(0, 9), latest=st.sampled_from([True, True, False]))
    def release(self, choice: int, latest: bool) -> None:
        self.holder(choice)
        claim, trial, is_current = self.some_claim(choice, latest)
        self.actor.study.release(claim)
        if is_current or trial.is_unowned():
            trial.state, trial.owner = "WAITING", None

    @precondition(holds)
    @rule(choice=st.integers(0, 9), latest=st.sampled_from([True, True, False]))
    def crash(self, choice: int, latest: bool) -> None:
        self.holder(choice)
        claim, trial, is_current = self.some_claim(choice, latest)
        self.actor.study.requeue_crashed(claim, "a rank died")
        if is_current or trial.is_unowned():
            self.die(trial)

    def die(self, trial: ExpectedTrial) -> bool:
        """Ends an attempt by a crash; returns whether the trial waits again."""
        if trial.is_unowned():
            trial.state = "WAITING"
            return True
        trial.owner = None
        repeats = sum(other.config == trial.config for other in self.model)
        if not trial.is_sampled or (trial.seed_number == 0 and repeats < self.spec.seeds):
            trial.state = "WAITING"  # its claim was not complete
            return True
        trial.deaths = trial.deaths + 1 if trial.epoch <= trial.died_at else 1
        trial.died_at = trial.epoch
        trial.state = "WAITING" if trial.deaths < MAX_CRASHES else "FAIL"
        if trial.state == "FAIL":
            self.ended.append("killed")
        return trial.state == "WAITING"

    def is_lost(self, trial: ExpectedTrial, elsewhere: bool) -> bool:
        if trial.owner is None:
            return True
        if trial.owner.machine == self.actor.machine:
            return not trial.owner.lives
        return trial.lease <= self.clock.time if self.has_server else elsewhere

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
        worker = self.living(choice)
        unowned = [(number, trial) for number, trial in enumerate(self.model) if trial.is_unowned()]
        number = self.next_trial()
        self.storage.writes_left = iter(range(writes))
        try:
            claim = worker.study.claim(worker.pid)
        except Killed:
            self.storage.writes_left = None
            for index, trial in unowned:  # it may have been killed before it requeued them
                trial.state = self.study.trials()[index].state.name
            self.adopt_what_is_left(number, worker)
        else:
            self.claimed(worker, claim, number)
        self.storage.writes_left = None
        worker.lives = False

    def adopt_what_is_left(self, number: int | None, worker: Worker) -> None:
        """Takes over how far a claim came: which trials it created, and whether it wrote the dead worker as owner."""
        assert number is not None
        trials = self.study.trials()
        del self.model[len(trials) :]
        while len(self.model) < len(trials):
            self.model.append(ExpectedTrial(number, sum(trial.config == number for trial in self.model)))
        if number == len(trials):
            return  # not even made
        trial, expected = trials[number], self.model[number]
        assert trial.state in (TrialState.WAITING, TrialState.RUNNING)
        assert 0 <= trial.user_attrs.get("attempt", 0) - expected.attempt <= 1
        expected.attempt = trial.user_attrs.get("attempt", 0)
        expected.is_sampled = expected.is_sampled or bool(trial.params)
        if trial.state == TrialState.RUNNING:
            expected.state, expected.lease = "RUNNING", self.clock.time + LEASE_S
            expected.owner = worker if trial.user_attrs.get("owner") else None

    @invariant()
    def the_study_is_as_the_model_has_it(self) -> None:
        if not self.workers:
            return
        trials = self.study.trials()
        assert len(trials) <= self.spec.n_trials
        assert [trial.state.name for trial in trials] == [trial.state for trial in self.model]
        assert [trial.user_attrs.get("attempt", 0) for trial in trials] == [trial.attempt for trial in self.model]
        for trial, expected in zip(trials, self.model, strict=True):
            if trial.state in (TrialState.WAITING, TrialState.RUNNING):
                found = trial.user_attrs.get("owner", {}).get("pid")
                assert found == (expected.owner.pid if expected.owner else None)
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
        self.clock.time += 2 * LEASE_S
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
            values.setdefault(config_id_of(trial), set()).add(str(trial.params))
        assert all(len(found) == 1 for found in values.values())  # repeats over seeds are of one configuration
        assert len(values) == self.spec.n_trials // self.spec.seeds


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
    derandomize=True, database=None, deadline=None, stateful_step_count=40, suppress_health_check=list(HealthCheck)
)


def as_test(machine: type[RuleBasedStateMachine], max_examples: int) -> Any:
    """The test of a model, with the same examples each time."""
    case = machine.TestCase
    return type(case.__name__, (case,), {"settings": settings(_SETTINGS, max_examples=max_examples)})


TestClaims = as_test(Claims, 80)
TestClaimsInADatabase = as_test(ClaimsInADatabase, 80)
TestManyClaims = pytest.mark.slow(as_test(Claims, 2000))
TestManyClaimsInADatabase = pytest.mark.slow(as_test(ClaimsInADatabase, 2000))
