from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState, create_trial
from sweep_specs import resolved_spec

from lit_dl.errors import ConfigError, StorageError
from sweeps.spec.spec import SweepSpec
from sweeps.study.deferred_suggest import DeferredSuggestion
from sweeps.study.records import TrialClaim, TrialOutcome, now
from sweeps.study.sampling import build_sampler
from sweeps.study.storage import Journal
from sweeps.study.study import MAX_CRASHES, SharedStudy

CLAIM = """
import sys
from pathlib import Path
from sweeps.spec.parse_spec import load_spec
from sweeps.study.study import SharedStudy
folder = Path(sys.argv[1])
claim = SharedStudy(folder, load_spec(folder / "spec.yaml")).claim(0)
print(claim.number, flush=True)
"""


def open_study(folder: Path, spec: SweepSpec) -> SharedStudy:
    (folder / "spec.yaml").write_text(spec.dump())
    return SharedStudy(folder, spec, create=True)


def complete(study: SharedStudy, claim: TrialClaim, value: float = 0.5) -> bool:
    return study.finish(claim, TrialOutcome(TrialState.COMPLETE, [value], None, {"outcome": "completed"}))


def test_the_total_is_exact(tmp_path: Path) -> None:
    study = open_study(tmp_path, resolved_spec(tmp_path, n_trials=3))
    claims = [claim for _ in range(5) if (claim := study.claim(0))]
    assert [claim.number for claim in claims] == [0, 1, 2]
    assert not study.is_finished()
    assert all(complete(study, claim) for claim in claims)
    assert study.is_finished()


def test_a_released_trial_comes_back_under_its_number_with_its_values(tmp_path: Path) -> None:
    study = open_study(tmp_path, resolved_spec(tmp_path, n_trials=1))
    first = study.claim(0)
    assert first is not None
    study.release(first)
    second = study.claim(1)
    assert second is not None
    assert (second.number, second.values, second.attempt) == (first.number, first.values, 2)
    assert study.claim(0) is None


def test_a_stale_attempt_is_refused(tmp_path: Path) -> None:
    study = open_study(tmp_path, resolved_spec(tmp_path, n_trials=1))
    late = study.claim(0)
    assert late is not None
    study.release(late)
    current = study.claim(1)
    assert current is not None
    assert not complete(study, late, 0.9)
    study.release(late)  # not its trial any more: nothing happens
    assert complete(study, current, 0.1)
    assert [trial.value for trial in study.trials()] == [0.1]


def test_the_trials_of_a_dead_process_wait_again_and_those_of_a_living_do_not(tmp_path: Path) -> None:
    study = open_study(tmp_path, resolved_spec(tmp_path, n_trials=2))
    mine = study.claim(0)
    assert mine is not None
    dead = subprocess.run([sys.executable, "-c", CLAIM, str(tmp_path)], capture_output=True, text=True, check=True)
    assert study.reclaim() == [int(dead.stdout)]
    assert complete(study, mine)
    again = study.claim(0)
    assert again is not None
    assert (again.number, again.attempt) == (int(dead.stdout), 2)


def test_a_trial_that_somebody_queued_with_optuna_is_run_as_one_of_ours(tmp_path: Path) -> None:
    study = open_study(tmp_path, resolved_spec(tmp_path, n_trials=2))
    study._study.enqueue_trial({"model.network.width": 13})
    claim = study.claim(0)
    assert claim is not None
    assert (claim.number, claim.attempt, claim.run, claim.config_id, claim.seed_number) == (0, 1, None, "0", 0)
    assert claim.values["model.network.width"] == 13
    assert set(claim.values) == {"model.network.width", "model.optimizer.lr"}
    assert complete(study, claim)


def test_a_running_trial_that_is_nobodys_waits_again(tmp_path: Path) -> None:
    study = open_study(tmp_path, resolved_spec(tmp_path, n_trials=1))
    study._study.ask()
    assert study.reclaim() == [0]
    claim = study.claim(0)
    assert claim is not None
    assert set(claim.values) == {"model.network.width", "model.optimizer.lr"}


def test_draws_depend_on_the_number_of_a_trial_not_on_who_asks(tmp_path: Path) -> None:
    spec = resolved_spec(tmp_path, n_trials=4)
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    alone = open_study(one, spec)
    expected = [claim.values for _ in range(4) if (claim := alone.claim(0))]
    shared = open_study(two, spec)
    others = [shared, *(SharedStudy(two, spec) for _ in range(3))]  # as after restarts
    drawn = [claim.values for study in others if (claim := study.claim(0))]
    assert drawn == expected
    assert len({str(values) for values in expected}) == 4


def test_named_runs_come_first_and_every_configuration_has_all_its_seeds(tmp_path: Path) -> None:
    runs = {"deep": {"model.network.depth": 4}, "wide": {"model.network.width": 16}}
    study = open_study(tmp_path, resolved_spec(tmp_path, runs=runs, seeds=3, n_trials=12))
    claims = [claim for _ in range(20) if (claim := study.claim(0))]
    assert len(claims) == 12
    assert [claim.run for claim in claims[:6]] == ["deep"] * 3 + ["wide"] * 3
    assert claims[3].values == {"model.network.width": 16}
    assert set(Counter(claim.config_id for claim in claims).values()) == {3}
    by_config = {claim.config_id: [c.seed_number for c in claims if c.config_id == claim.config_id] for claim in claims}
    assert all(sorted(numbers) == [0, 1, 2] for numbers in by_config.values())
    sampled = [claim for claim in claims if claim.run is None]
    assert all(a.values == b.values for a in sampled for b in sampled if a.config_id == b.config_id)


def test_repeats_that_were_not_queued_are_made_up_for(tmp_path: Path) -> None:
    study = open_study(tmp_path, resolved_spec(tmp_path, seeds=2, n_trials=2))
    claim = study.claim(0)
    assert claim is not None
    open_study(tmp_path, study.spec)
    study.release(claim)
    for _ in range(2):
        again = study.claim(0)
        assert again is not None
    assert len(study.trials()) == 2


@pytest.mark.parametrize("sampler", ["GridSampler", "BruteForceSampler"])
def test_a_sampler_that_has_tried_everything_ends_the_study(tmp_path: Path, sampler: str) -> None:
    space = {"model.network.depth": {"low": 1, "high": 2}, "model.network.bias": {"choices": [True, False]}}
    study = open_study(tmp_path, resolved_spec(tmp_path, space=space, sampler=sampler, n_trials=10))
    assert study.total == 4
    seen = set()
    while claim := study.claim(0):
        seen.add(tuple(sorted(claim.values.items())))
        assert complete(study, claim)
    assert len(seen) == 4
    assert study.is_finished()


def test_divergence_reaches_the_sampler_as_a_violated_constraint(tmp_path: Path) -> None:
    study = open_study(tmp_path, resolved_spec(tmp_path, n_trials=1))
    claim = study.claim(0)
    assert claim is not None
    assert study.finish(claim, TrialOutcome(TrialState.PRUNED, None, "diverged", {"outcome": "diverged"}))
    (trial,) = study.trials()
    assert trial.state == TrialState.PRUNED
    assert trial.constraints == {"diverged": 1.0}


def test_a_study_of_that_name_with_other_directions_is_refused(tmp_path: Path) -> None:
    spec = resolved_spec(tmp_path)
    open_study(tmp_path, spec)
    other = resolved_spec(tmp_path, objective={"metric": "val/loss", "direction": "minimize"})
    with pytest.raises(StorageError, match="must keep the directions it began with, maximize; got minimize"):
        SharedStudy(tmp_path, other, create=True)


def test_the_test_set_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = open_study(tmp_path, resolved_spec(tmp_path))
    assert study.take_evaluation(3)
    assert study.take_evaluation(3)  # again, as its storage did not answer
    with monkeypatch.context() as other:
        other.setattr("sweeps.study.attributes.identity", lambda: {"machine": "another", "pid": 1, "started": "1"})
        assert not study.take_evaluation(3)
    assert study.evaluations() == {}
    study.set_evaluation(3, {"test/acc": 0.5})
    assert study.evaluations() == {3: {"test/acc": 0.5}}
    assert not study.take_evaluation(3)


def test_a_trial_that_takes_three_workers_with_it_fails(tmp_path: Path) -> None:
    study = open_study(tmp_path, resolved_spec(tmp_path, n_trials=1))
    words = [sys.executable, "-c", CLAIM, str(tmp_path)]
    for expected in ([0], [0], []):
        subprocess.run(words, capture_output=True, check=True)
        assert study.reclaim() == expected
    (trial,) = study.trials()
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["result"]["outcome"] == "killed"
    assert study.is_finished()


def test_an_owner_on_another_machine_is_dead_only_to_who_has_the_folder(tmp_path: Path) -> None:
    study = open_study(tmp_path, resolved_spec(tmp_path, n_trials=1))
    claim = study.claim(0)
    assert claim is not None
    study._storage.set_trial_user_attr(claim.trial_id, "owner", {"machine": "elsewhere", "pid": 1, "started": "1"})
    assert study.reclaim() == []
    assert study.reclaim(elsewhere=True) == [0]


def test_a_folder_with_trials_that_the_study_does_not_know_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trials" / "00000").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"which knows fewer trials; give the --storage it began with"):
        open_study(tmp_path, resolved_spec(tmp_path, runs={"one": {}}))


class Cut:
    """The journal, of which one append fails: before it is on the disk, as a full one has it, or after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, is_written: bool) -> None:
        self.left, self.is_written, self.append = at, is_written, Journal.append_logs
        cut = self

        def append(journal: Journal, logs: list[dict[str, Any]]) -> None:
            cut.left -= 1
            if cut.left or cut.is_written:
                cut.append(journal, logs)
            if not cut.left:
                raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Journal, "append_logs", append)


@pytest.mark.parametrize("is_written", [False, True])
def test_a_claim_cut_short_at_any_write_leaves_no_trial_that_nobody_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_written: bool
) -> None:
    monkeypatch.setattr("sweeps.study.retry._FIRST_DELAY_S", 0.0)
    spec = resolved_spec(tmp_path, n_trials=4, seeds=2)
    for at in range(1, 30):
        folder = tmp_path / str(at)
        folder.mkdir()
        study = open_study(folder, spec)
        first = study.claim(0)
        assert first is not None
        study.release(first)  # so that an attempt and an owner are there already
        with monkeypatch.context() as patch:
            cut = Cut(patch, at, is_written)
            claims = [claim for _ in range(4) if (claim := study.claim(0))]
        study.reclaim()
        while claim := study.claim(0):
            claims.append(claim)
        assert sorted(claim.number for claim in claims) == [0, 1, 2, 3], at
        written = [trial.params for trial in SharedStudy(folder, spec).trials()]
        assert [claim.values for claim in sorted(claims, key=lambda claim: claim.number)] == written, at
        assert all(complete(study, claim) for claim in claims), at
        assert study.is_finished()
        if cut.left > 0:
            return
    raise AssertionError("more writes than were cut")


def end(study: SharedStudy, outcome: str) -> None:
    """Claims a trial and ends it so."""
    claim = study.claim(0)
    assert claim is not None
    states = {"completed": TrialState.COMPLETE, "failed": TrialState.FAIL, "killed": TrialState.FAIL}
    state = states.get(outcome, TrialState.PRUNED)
    values = [0.5] if outcome == "completed" else None
    assert study.finish(claim, TrialOutcome(state, values, None, {"outcome": outcome, "finished": now()}))


@pytest.mark.parametrize(
    ("outcomes", "is_failing"),
    [
        (["failed"] * 3, True),
        (["completed", "failed", "failed", "failed"], True),
        (["failed"] * 2, False),
        (["failed", "failed", "completed", "failed", "failed"], False),
        (["failed", "failed", "out_of_memory"], False),
        (["failed", "failed", "diverged", "failed"], False),
        (["failed", "failed", "killed"], False),
        (["killed"] * 3, False),
        (["out_of_memory"] * 3, False),
        (["diverged"] * 3, False),
        (["timed_out"] * 3, False),
    ],
)
def test_failures_in_a_row_over_several_workers_end_the_study(
    tmp_path: Path, outcomes: list[str], is_failing: bool
) -> None:
    spec = resolved_spec(tmp_path, n_trials=50, max_failures=3)
    studies = [open_study(tmp_path, spec), SharedStudy(tmp_path, spec)]
    for number, outcome in enumerate(outcomes):
        end(studies[number % 2], outcome)
    for study in studies:
        assert study.is_over() == is_failing
        assert not study.is_finished()
    assert (studies[0].claim(0) is None) == is_failing


def test_a_new_launch_gives_failures_another_chance(tmp_path: Path) -> None:
    spec = resolved_spec(tmp_path, n_trials=50, max_failures=2)
    study = open_study(tmp_path, spec)
    end(study, "failed")
    end(study, "failed")
    assert study.claim(0) is None
    again = open_study(tmp_path, spec)
    end(again, "failed")
    assert again.claim(0) is not None


def test_a_trial_that_gets_further_each_time_may_take_any_number_of_owners_with_it(tmp_path: Path) -> None:
    study = open_study(tmp_path, resolved_spec(tmp_path, n_trials=1))
    for epoch in range(1, 3 * MAX_CRASHES):
        claim = study.claim(0)
        assert claim is not None
        study.report(claim, epoch, 0.5)
        study.lose(claim, "rank 1 died")
    for _ in range(MAX_CRASHES - 1):  # the last of those before was the first without progress since
        claim = study.claim(0)
        assert claim is not None
        study.lose(claim, "rank 1 died")
    assert study.claim(0) is None
    (trial,) = study.trials()
    assert trial.state == TrialState.FAIL
    row = trial.user_attrs["result"]
    assert (row["outcome"], row["reason"]) == ("killed", f"rank 1 died in each of {MAX_CRASHES} attempts")


def test_a_death_is_counted_once_also_when_who_counts_it_dies_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = open_study(tmp_path, resolved_spec(tmp_path, n_trials=1))
    claim = study.claim(0)
    assert claim is not None
    with monkeypatch.context() as patch:
        patch.setattr(study._storage, "set_trial_state_values", lambda *_: 1 / 0)
        for _ in range(MAX_CRASHES):
            with pytest.raises(ZeroDivisionError):
                study.lose(claim, "rank 0 died")
    study.lose(claim, "rank 0 died")
    again = study.claim(0)
    assert again is not None
    assert again.attempt == 2
    assert study.trials()[0].user_attrs["deaths"]["count"] == 1


def test_a_trial_that_a_worker_begins_while_a_launcher_comes_back_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = open_study(tmp_path, resolved_spec(tmp_path, n_trials=2))
    read, is_reading = SharedStudy._trials, [True]

    def begin_one_after(study: SharedStudy, *states: Any) -> Any:
        trials = read(study, *states)
        if is_reading.pop() if is_reading else False:
            claim = worker.claim(0)
            assert claim is not None
            (tmp_path / "trials" / f"{claim.number:05d}").mkdir(parents=True)
        return trials

    monkeypatch.setattr(SharedStudy, "_trials", begin_one_after)
    SharedStudy(tmp_path, worker.spec, create=True)
    assert len(worker.trials()) == 1


def test_another_sweep_of_that_name_in_the_same_storage_is_refused(tmp_path: Path) -> None:
    open_study(tmp_path, resolved_spec(tmp_path))
    other = resolved_spec(tmp_path, space={"model.network.depth": {"low": 1, "high": 2}})
    with pytest.raises(ConfigError, match=r"^space: must stay what"):
        SharedStudy(tmp_path, other, create=True)


def test_the_total_is_what_the_last_launch_said(tmp_path: Path) -> None:
    worker = open_study(tmp_path, resolved_spec(tmp_path, n_trials=1))
    assert worker.claim(0) is not None
    assert worker.claim(0) is None
    open_study(tmp_path, resolved_spec(tmp_path, n_trials=2))
    assert worker.claim(0) is not None
    assert worker.claim(0) is None


def test_who_evaluates_is_known_until_it_is_done(tmp_path: Path) -> None:
    study = open_study(tmp_path, resolved_spec(tmp_path))
    assert study.take_evaluation(0)
    assert study.is_evaluating()
    study.set_evaluation(0, {})
    assert not study.is_evaluating()


GRID = {"model.network.width": {"low": 4, "high": 16, "step": 6}}


@pytest.mark.parametrize("more", [{"seeds": 2, "n_trials": 6}, {"runs": {"one": {}}, "n_trials": 4}])
def test_a_grid_is_gone_through_beside_trials_that_are_none_of_its_points(tmp_path: Path, more: dict[str, Any]) -> None:
    study = open_study(tmp_path, resolved_spec(tmp_path, space=GRID, sampler="GridSampler", **more))
    running: list[TrialClaim] = []
    while claim := study.claim(0):
        running.append(claim)
        if len(running) > 1:  # so that the last point but one ends while others run
            assert complete(study, running.pop(0))
    assert complete(study, running.pop(0))
    assert study.is_finished()
    assert {trial.params.get("model.network.width") for trial in study.trials()} >= {4, 10, 16}


@pytest.mark.parametrize(
    ("name", "in_turn"),
    [("GridSampler", True), ("BruteForceSampler", True), ("GPSampler", True), ("TPESampler", False), ("", False)],
)
def test_samplers_that_would_give_two_workers_the_same_draw_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, in_turn: bool
) -> None:
    spec = resolved_spec(tmp_path, space=GRID, **({"sampler": name} if name else {}))
    study, others_could_claim = open_study(tmp_path, spec), []

    class Draw(DeferredSuggestion):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            with study._lock_path.open("w") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    others_could_claim.append(True)
                except BlockingIOError:
                    others_could_claim.append(False)

    monkeypatch.setattr("sweeps.study.study.DeferredSuggestion", Draw)
    assert study.claim(0) is not None
    assert others_could_claim == [not in_turn]


@pytest.mark.parametrize("sampler", ["RandomSampler", "TPESampler", "CmaEsSampler"])
def test_a_trial_that_another_ended_while_its_values_were_drawn_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    given = {"class_path": sampler, "init_args": {} if sampler == "RandomSampler" else {"n_startup_trials": 1}}
    spec = resolved_spec(tmp_path, sampler=given, n_trials=5)
    late, other = open_study(tmp_path, spec), SharedStudy(tmp_path, spec)
    for value in (0.1, 0.2, 0.3):
        claim = late.claim(0)
        assert claim is not None
        assert complete(late, claim, value)

    def build_slowly(spec: SweepSpec, number: int) -> Any:
        monkeypatch.undo()
        (running,) = other.trials([TrialState.RUNNING])
        other._storage.set_trial_state_values(running._trial_id, TrialState.WAITING)  # its lease is over
        claim = other.claim(1)
        assert claim is not None
        assert complete(other, claim)
        return build_sampler(spec, number)

    monkeypatch.setattr("sweeps.study.deferred_suggest.build_sampler", build_slowly)
    assert late.claim(0) is None
    claim = late.claim(0)
    assert claim is not None
    assert (claim.number, claim.attempt) == (4, 1)


def test_a_trial_that_somebody_queues_during_a_claim_has_a_number_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = resolved_spec(tmp_path, n_trials=3)
    study, other = open_study(tmp_path, spec), SharedStudy(tmp_path, spec)
    create = study._storage.create_new_trial

    def create_second(*given: Any) -> int:
        other._study.enqueue_trial({"model.network.width": 5})
        return create(*given)

    with monkeypatch.context() as patch:
        patch.setattr(study._storage, "create_new_trial", create_second)
        claims = [study.claim(0)]
    claims += [study.claim(0), study.claim(0)]
    assert [claim and (claim.number, claim.config_id) for claim in claims] == [(1, "1"), (0, "0"), (2, "2")]
    assert all(claim and complete(study, claim) for claim in claims)
    assert study.is_finished()


def test_a_trial_that_was_added_from_elsewhere_counts_as_one(tmp_path: Path) -> None:
    study = open_study(tmp_path, resolved_spec(tmp_path, n_trials=4, seeds=2))
    study._study.add_trial(create_trial(state=TrialState.COMPLETE, value=0.5))
    while claim := study.claim(0):
        assert complete(study, claim)
    assert study.is_finished()
    assert len(study.trials()) == 5  # as configurations are whole


@pytest.mark.parametrize("seeds", [1, 2])
def test_who_dies_while_values_are_drawn_is_not_held_against_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: int
) -> None:
    study = open_study(tmp_path, resolved_spec(tmp_path, n_trials=2, seeds=seeds))
    for _ in range(MAX_CRASHES + 1):
        with monkeypatch.context() as patch:
            patch.setattr("sweeps.study.study.DeferredSuggestion", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                study.claim(0)
        trial = study.trials()[0]
        study._storage.set_trial_user_attr(trial._trial_id, "owner", {})
        assert study.reclaim() == [0]
    claim = study.claim(0)
    assert claim is not None
    assert (claim.number, claim.attempt) == (0, MAX_CRASHES + 2)
    assert "deaths" not in study.trials()[0].user_attrs


def test_a_trial_that_runs_already_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = open_study(tmp_path, resolved_spec(tmp_path, n_trials=1))
    claim = study.claim(0)
    assert claim is not None
    study.release(claim)
    take = study._storage.set_trial_state_values
    with monkeypatch.context() as patch:  # as a database does that has given the lock to another, who took the trial
        patch.setattr(study._storage, "set_trial_state_values", lambda *given: take(*given) and False)
        assert study.claim(0) is None
    assert study.claim(0) is not None
