"""The study: the only ways to ask Optuna for a trial and to tell it what came out, under one lock.

A trial keeps its number whatever happens to it. Who runs it writes `attempt` and `owner` into its user attributes; a
trial whose owner died goes back to WAITING and is claimed again, as its next attempt; an owner that comes back late
finds its attempt stale, and its result is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from lit_dl.errors import StorageError
from sweeps.locks import identity, is_alive, locked
from sweeps.samplers import build_pruner, build_sampler, exhausted_at, suggest_one
from sweeps.space import Values
from sweeps.spec import SweepSpec
from sweeps.storage import JOURNAL, open_storage, without_password

UNFINISHED = (TrialState.RUNNING, TrialState.WAITING)
MOST_DEATHS = 3


@dataclass(frozen=True)
class Claim:
    """A trial that is this process's to run.

    Args:
        trial: Optuna's handle.
        attempt: From 1; greater when an earlier owner died or was interrupted.
        values: Sampled values by parameter.
        run: Its name in `runs` of the spec; `None` for a sampled configuration.
        config_id: The same for the repeats of one configuration over seeds.
        seed_number: Which repeat, from 0.
    """

    trial: Trial
    attempt: int
    values: Values
    run: str | None
    config_id: str
    seed_number: int

    @property
    def number(self) -> int:
        return self.trial.number


@dataclass(frozen=True)
class Verdict:
    """How a trial ended, for Optuna.

    Args:
        state: COMPLETE, PRUNED or FAIL.
        values: Of the objectives; COMPLETE only.
        constraint: Name of a constraint that the trial violated, so that samplers avoid what it tried.
        row: The rest of its row in the table of results.
    """

    state: TrialState
    values: list[float] | None
    constraint: str | None
    row: dict[str, Any]


class SharedStudy:
    """A study that several processes work on.

    Args:
        run_dir: The run folder.
        spec: The resolved spec.
        url: Storage; `None`: the journal in the run folder.
        create: Make the study, or continue it; otherwise it must be there.

    Raises:
        StorageError: The storage cannot be opened, holds a study of that name with other directions, or knows fewer
            trials than the folder.
    """

    def __init__(self, run_dir: Path, spec: SweepSpec, url: str | None = None, create: bool = False) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.spec = spec
        self._lock_path = run_dir / "study.lock"
        try:
            self._storage = open_storage(run_dir, url)
            self._study = self._open(create)
        except (ValueError, LookupError) as error:
            if url is not None:
                raise
            raise StorageError(f"{run_dir / JOURNAL}: must be a journal of Optuna's; damaged ({error})") from None
        ends_at = exhausted_at(spec)
        self.total = spec.n_trials if ends_at is None else min(spec.n_trials, (ends_at + len(spec.runs)) * spec.seeds)
        if create:
            self._check_folder(run_dir, url)
            self._enqueue_runs()
        if create and "uid" not in self._study.user_attrs:
            self._study.set_user_attr("uid", uuid4().hex)

    def _open(self, create: bool) -> optuna.Study:
        directions = [objective.direction for objective in self.spec.objectives]
        pruner = build_pruner(self.spec)
        if create:
            study = optuna.create_study(
                storage=self._storage,
                study_name=self.spec.name,
                directions=directions,  # type: ignore[arg-type]
                sampler=build_sampler(self.spec, 0),
                pruner=pruner,
                load_if_exists=True,
            )
        else:
            study = optuna.load_study(study_name=self.spec.name, storage=self._storage, pruner=pruner)
        kept = [direction.name.lower() for direction in study.directions if direction != StudyDirection.NOT_SET]
        if kept != directions:
            raise StorageError(
                f"study {self.spec.name!r}: must keep the directions it began with, {', '.join(kept)}; "
                f"got {', '.join(directions)}; name another study"
            )
        return study

    def _check_folder(self, run_dir: Path, url: str | None) -> None:
        """A folder whose study is gone, or kept elsewhere, must not be filled a second time."""
        folders = run_dir / "trials"
        count = len(self.trials())
        if folders.is_dir() and any(int(path.name) >= count for path in folders.iterdir() if path.name.isdigit()):
            raise StorageError(
                f"{run_dir}: must be the folder of the study in {without_password(url) if url else run_dir / JOURNAL}, "
                "which knows fewer trials; give the --storage it began with, or name another --run_dir"
            )

    @property
    def uid(self) -> str:
        """Tells this study from every other, also from an earlier one in the same folder."""
        return str(self._study.user_attrs["uid"])

    def _enqueue_runs(self) -> None:
        for run, keys in self.spec.runs.items():
            space = self.spec.space
            values = {name: space.parameters[name].stored(value) for name, value in keys.items() if name in space}
            self._enqueue_missing(values, {"run": run, "config_id": run}, range(self.spec.seeds))

    def _enqueue_missing(self, values: Values, attrs: Values, seed_numbers: Iterable[int]) -> None:
        """Queues the repeats of a configuration that are not there yet: whoever queued them may have died halfway."""
        same = [trial for trial in self.trials() if trial.user_attrs.get("config_id") == attrs["config_id"]]
        there = {trial.user_attrs.get("seed_number") for trial in same}
        for seed_number in seed_numbers:
            if seed_number not in there:
                self._study.enqueue_trial(values, user_attrs={**attrs, "seed_number": seed_number})

    def _lock(self) -> AbstractContextManager[None]:
        return locked(self._lock_path)

    def trials(self, states: Iterable[TrialState] | None = None) -> list[FrozenTrial]:
        """All trials, or those in some states, in the order of their numbers."""
        return self._study.get_trials(deepcopy=False, states=None if states is None else tuple(states))

    def claim(self, slot: int) -> Claim | None:
        """The next trial: one that waits, else a new one while there are fewer than the total; else `None`."""
        with self._lock():
            trials = self.trials()
            waits = any(trial.state == TrialState.WAITING for trial in trials)
            if not waits and len(trials) >= self.total:
                return None
            self._study.sampler = build_sampler(self.spec, len(trials))
            trial = self._study.ask()
            attrs = dict(trial.user_attrs)
            attempt = attrs.get("attempt", 0) + 1
            trial.set_user_attr("attempt", attempt)
            trial.set_user_attr("owner", {**identity(), "slot": slot})
            run = attrs.get("run")
            values = self._suggest(trial, run)
            if "config_id" not in attrs:
                attrs = {"seed_number": 0, "config_id": str(trial.number)}
                for name, value in attrs.items():
                    trial.set_user_attr(name, value)
            if attrs["config_id"] == str(trial.number):
                self._enqueue_missing(values, {"config_id": str(trial.number)}, range(1, self.spec.seeds))
            return Claim(trial, attempt, values, run, attrs["config_id"], attrs["seed_number"])

    def _suggest(self, trial: Trial, run: str | None) -> Values:
        space = self.spec.space
        if run is not None:
            chosen = [name for name in self.spec.runs[run] if name in space]
            return {name: suggest_one(trial, space.parameters[name]) for name in chosen}
        return space.sample(lambda parameter: suggest_one(trial, parameter))

    def finish(self, claim: Claim, verdict: Verdict) -> bool:
        """Tells Optuna how a trial ended; false, and nothing told, when the attempt is stale."""
        with self._lock():
            if not self._is_current(claim):
                return False
            if verdict.constraint is not None:
                claim.trial.set_constraint(verdict.constraint, 1.0)
            claim.trial.set_user_attr("result", verdict.row)
            try:
                self._study.tell(claim.trial, verdict.values, state=verdict.state)
            except RuntimeError as error:
                if "Study.stop" not in str(error):  # how samplers say that they have tried everything; see `total`
                    raise
            return True

    def release(self, claim: Claim) -> None:
        """Gives back a trial that was interrupted: it waits, under its number, for the next claim."""
        with self._lock():
            if self._is_current(claim):
                self._storage.set_trial_state_values(claim.trial._trial_id, TrialState.WAITING)

    def reclaim(self, hosts: bool = False) -> list[int]:
        """Gives back the trials of owners that no longer live; a trial that took three owners with it fails.

        Args:
            hosts: Take owners on other machines for dead: nobody else works on this study.

        Returns:
            Numbers of the trials that wait again.
        """
        with self._lock():
            # Claiming holds the lock, so a trial without an owner lost it halfway through.
            lost = [t for t in self.trials([TrialState.RUNNING]) if not is_alive(t.user_attrs.get("owner", {}), hosts)]
            for trial in lost:
                deaths = trial.user_attrs.get("deaths", 0) + 1
                self._storage.set_trial_user_attr(trial._trial_id, "deaths", deaths)
                if deaths < MOST_DEATHS:
                    self._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
                else:
                    self._bury(trial)
            return [trial.number for trial in lost if trial.user_attrs.get("deaths", 0) + 1 < MOST_DEATHS]

    def _bury(self, trial: FrozenTrial) -> None:
        reason = f"its worker died in each of {MOST_DEATHS} attempts"
        row = {"outcome": "worker_died", "reason": reason, "attempt": trial.user_attrs.get("attempt")}
        row["finished"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._storage.set_trial_user_attr(trial._trial_id, "result", row)
        self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)

    def _is_current(self, claim: Claim) -> bool:
        trial = self.trials()[claim.number]
        return trial.state == TrialState.RUNNING and trial.user_attrs.get("attempt") == claim.attempt

    def is_finished(self) -> bool:
        """Whether all trials of the total are in a final state."""
        trials = self.trials()
        return len(trials) >= self.total and not any(trial.state in UNFINISHED for trial in trials)

    def take_evaluation(self, number: int) -> bool:
        """Whether this process is the one to evaluate a trial on the test set; true for one living process only."""
        with self._lock():
            key = f"test:{number}"
            taken = self._study.user_attrs.get(key)
            if taken is not None and ("owner" not in taken or is_alive(taken["owner"], hosts=False)):
                return False
            self._study.set_user_attr(key, {"owner": identity()})
            return True

    def set_evaluation(self, number: int, metrics: dict[str, float]) -> None:
        """Keeps a trial's metrics on the test set."""
        self._study.set_user_attr(f"test:{number}", metrics)

    def evaluations(self) -> dict[int, dict[str, float]]:
        """Metrics on the test set, by trial."""
        found = {key: value for key, value in self._study.user_attrs.items() if key.startswith("test:")}
        return {int(key.removeprefix("test:")): value for key, value in found.items() if "owner" not in value}
