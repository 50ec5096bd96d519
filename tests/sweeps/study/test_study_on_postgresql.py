"""A study that several machines work on: leases instead of a look at the process, and a server that goes away."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from forked import Forked, run_python
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.trial import TrialState
from paths import SUPPORT
from postgresql import PASSWORD, Server
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from stand_in_workers import wait_for
from strict_storage import Killed, kill_after, make_strict
from studies import claimed
from sweep_specs import resolved_spec, write_spec

from lit_dl.errors import StorageError
from sweeps.results.files import read_results
from sweeps.run_folder import join_folder
from sweeps.spec.spec import SweepSpec
from sweeps.study import postgresql
from sweeps.study.liveness import is_here
from sweeps.study.records import RESULT, TrialClaim, TrialOutcome, now
from sweeps.study.storage import without_password
from sweeps.study.study import SharedStudy
from sweeps.trial_folder import TrialFolder

LEASE_S = 3.0
SLOW = """
import time
import torch
from foreign import Scripted, Served

class Slow(Scripted):
    def __init__(self, lr: float = 1.0) -> None:
        super().__init__([epoch / 100 for epoch in range(100)], lr)

    def train_dataloader(self):
        return Served(torch.zeros(1), 20)

    def training_step(self, batch, batch_idx):
        time.sleep(0.02)
        return super().training_step(batch, batch_idx)
"""
WORKER = """
import os, sys
from pathlib import Path
from sweeps.study import postgresql as database
from sweeps.study import lease as leases
from sweeps.study import liveness as owners

owners.machine = lambda: sys.argv[2]
database.LEASE_S = leases.LEASE_S = float(sys.argv[3])
leases._HEARTBEAT_S = leases.LEASE_S / 6
from sweeps.worker.loop import main

sys.exit(main(Path(sys.argv[1]), os.environ["SWEEPS_STORAGE"], 0, 1, "disabled", False))
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SweepSpec]:
    """Makes a sweep of a module whose epochs take 0.4 s; a name of its own for each test."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "slow.py").write_text(SLOW)
    monkeypatch.delitem(sys.modules, "slow", raising=False)

    def make(**changes: object) -> SweepSpec:
        base = {
            "model": {"class_path": "slow.Slow"},
            "trainer": {"max_epochs": 8, "accelerator": "cpu", "log_every_n_steps": 1},
            "early_stopping": {"patience": None},
        }
        space = {"model.lr": {"low": 0.1, "high": 1.0}}
        objective = {"metric": "score", "direction": "maximize"}
        given = {"base": base, "space": space, "objective": objective, "evaluate_test": "none", "n_trials": 2}
        return resolved_spec(tmp_path, **{"name": f"study-{time.time_ns()}", **given, **changes})

    return make


@pytest.fixture
def open_study(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., SharedStudy]]:
    """Opens the study of a spec on the server, with short leases."""
    monkeypatch.setattr(postgresql, "LEASE_S", LEASE_S)
    opened = []

    def open_it(spec: SweepSpec) -> SharedStudy:
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / "spec.yaml").write_text(spec.dump())
        opened.append(SharedStudy(tmp_path / "run", spec, server.url, create=True))
        return opened[-1]

    yield open_it
    for study in opened:
        backend = backend_of(study)
        backend.remove_session()
        backend.engine.dispose()


@pytest.fixture
def far_worker(tmp_path: Path, server: Server) -> Iterator[Forked]:
    """A worker that says it is on another machine."""
    words = ["-c", WORKER, tmp_path / "run", "elsewhere/boot/1", LEASE_S]
    path = f"{tmp_path}{os.pathsep}{SUPPORT}"
    environment = {**os.environ, "SWEEPS_STORAGE": server.url, "PYTHONPATH": path}
    (tmp_path / "run").mkdir(exist_ok=True)
    started = []

    def start() -> Forked:
        started.append(Forked(words, tmp_path, environment))
        return started[-1]

    yield start  # type: ignore[misc]
    for process in started:
        process.kill()
        process.wait()


def backend_of(study: SharedStudy) -> RDBStorage:
    assert isinstance(study._handle.storage, _CachedStorage)
    return study._handle.storage._backend


def complete(study: SharedStudy, claim: TrialClaim, value: float) -> bool:
    return study.finish(
        claim, TrialOutcome(TrialState.COMPLETE, [value], None, {"outcome": "completed", "finished": ""})
    )


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_claims_and_results_are_as_in_the_journal(
    spec: Callable[..., SweepSpec], open_study: Callable[..., SharedStudy]
) -> None:
    study = open_study(spec())
    first = claimed(study)
    study.release(first)
    again = study.claim(1)
    assert again is not None
    assert (again.number, again.values, again.attempt) == (0, first.values, 2)
    assert not complete(study, first, 0.9)
    assert study.renew(again)
    assert not study.renew(first)
    assert study.report(again, 1, 0.5) is None
    assert study.report(first, 1, 0.5) == "stale"
    assert complete(study, again, 0.1)
    assert not study.renew(again)
    other = study.claim(0)
    assert other is not None
    assert study.claim(0) is None
    assert complete(study, other, 0.2)
    assert [trial.value for trial in study.trials()] == [0.1, 0.2]
    assert study.is_finished()


@pytest.mark.parametrize("writes", range(5))
def test_a_claimer_that_is_killed_between_two_writes_leaves_a_trial_that_the_next_claim_takes(
    spec: Callable[..., SweepSpec],
    open_study: Callable[..., SharedStudy],
    monkeypatch: pytest.MonkeyPatch,
    writes: int,
) -> None:
    given = spec(n_trials=1)
    study, other = open_study(given), open_study(given)
    make_strict(study._handle.storage, monkeypatch)
    late = claimed(study)
    study.release(late)  # the previous owner, this process, is alive
    with monkeypatch.context() as patch:
        kill_after(writes, study._handle.storage, patch)
        with suppress(Killed):  # after the fourth write, which is `owner`, nothing is left to write
            study.claim(0)
    assert not other.renew(late)
    assert not complete(other, late, 0.5)
    claim = other.claim(1)
    if writes == 4:  # state, attempt, lease, owner
        assert claim is None
    else:
        assert claim is not None
        assert claim.attempt == (2 if writes < 2 else 3)
        assert complete(other, claim, 0.5)
        assert "deaths" not in other.trials()[0].user_attrs


def test_a_claim_in_which_the_process_hung_until_it_lost_the_lock_is_made_again(
    spec: Callable[..., SweepSpec], open_study: Callable[..., SharedStudy], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = open_study(spec())
    monkeypatch.setattr(postgresql, "LEASE_S", 1.0)
    naps = [1.5]

    def hangs() -> str:
        time.sleep(naps.pop() if naps else 0.0)
        return now()

    monkeypatch.setattr("sweeps.study.trial_queue.now", hangs)  # at the last thing that a claim writes
    claim = study.claim(0)
    assert claim is not None
    assert (claim.number, claim.attempt) == (0, 2)
    assert complete(study, claim, 0.5)
    other = study.claim(0)
    assert other is not None
    assert complete(study, other, 0.5)
    assert study.is_finished()


def test_a_trial_of_a_dead_owner_elsewhere_comes_back_when_its_lease_is_over_and_not_before(
    tmp_path: Path,
    spec: Callable[..., SweepSpec],
    open_study: Callable[..., SharedStudy],
    far_worker: Callable[[], Forked],
) -> None:
    study = open_study(spec(n_trials=1))
    process = far_worker()
    table = TrialFolder(tmp_path / "run", 0).metrics
    wait_for(lambda: lines(table) > 2 or process.poll() is not None)
    begun = study.trials()[0].user_attrs["lease"]
    wait_for(lambda: study.trials()[0].user_attrs["lease"] > begun)  # it is renewed while it runs
    process.kill()
    process.wait()
    assert study._handle.coordinator is not None
    (trial,) = study.trials()
    assert not is_here(trial.user_attrs["owner"])
    assert trial.user_attrs["lease"] > study._handle.coordinator.now()
    assert study.reclaim() == study.reclaim(elsewhere=True) == []
    assert wait_for(study.reclaim) == [0]
    assert study._handle.coordinator.now() >= trial.user_attrs["lease"]
    claim = study.claim(0)
    assert claim is not None
    assert (claim.number, claim.attempt) == (0, 2)
    assert study.reclaim() == []  # ours is looked for, not waited for


def test_a_suspended_worker_that_comes_back_finds_its_attempt_stale_and_goes_on_with_another_trial(
    tmp_path: Path,
    spec: Callable[..., SweepSpec],
    open_study: Callable[..., SharedStudy],
    far_worker: Callable[[], Forked],
) -> None:
    study = open_study(spec())
    process = far_worker()
    folder = TrialFolder(tmp_path / "run", 0).path
    wait_for(lambda: lines(folder / "metrics.csv") > 2 or process.poll() is not None)
    time.sleep(0.15)  # from the end of an epoch into the next
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.1)
    left = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*") if path.is_file()}
    assert wait_for(study.reclaim) == [0]
    claim = study.claim(1)
    assert claim is not None
    assert (claim.number, claim.attempt) == (0, 2)
    assert complete(study, claim, 0.125)
    process.send_signal(signal.SIGCONT)
    assert process.wait(300) == 0, process.stderr
    assert [trial.state.name for trial in study.trials()] == ["COMPLETE"] * 2
    assert [trial.value for trial in study.trials()] == [0.125, pytest.approx(0.07)]
    assert study.trials()[0].user_attrs["attempt"] == 2
    assert not (folder / RESULT).exists()
    then = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*") if path.is_file()}
    assert then == left


def worker_output(run_dir: Path) -> str:
    """What the worker printed, in trials and between them."""
    return "".join(path.read_text() for path in [*run_dir.glob("worker-0.log"), *run_dir.glob("trials/*/log.txt")])


def test_a_server_that_goes_away_for_a_while_is_waited_for(tmp_path: Path) -> None:
    server = Server()
    try:
        words = ["launch", write_spec(tmp_path, n_trials=6), "--run_dir", tmp_path / "run", "--wandb", "disabled"]
        environment = {**os.environ, "SWEEPS_STORAGE": server.url}
        process = Forked(["-m", "sweeps", *words, "--workers", 1], tmp_path, environment)
        third = tmp_path / "run" / "trials" / "00002"
        wait_for(lambda: third.exists() or process.poll() is not None, 180)
        server.kill()
        wait_for(lambda: "waiting for it" in worker_output(tmp_path / "run") or process.poll() is not None)
        server.start()
        assert process.wait(400) == 0, process.stderr
    finally:
        server.close()
    assert [(row.number, row.state) for row in read_results(tmp_path / "run")] == [
        (number, "COMPLETE") for number in range(6)
    ]
    logs = worker_output(tmp_path / "run")
    assert "waiting for it" in logs
    assert "the study's storage is back" in logs
    assert PASSWORD not in logs + process.stdout + process.stderr


def test_a_server_that_is_not_there_at_the_start_is_bad_input(tmp_path: Path) -> None:
    url = "postgresql://me:s3cret@127.0.0.1:9/studies"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "spec.yaml").write_text(resolved_spec(tmp_path).dump())
    done = run_python(["-m", "sweeps", "worker", "run", "--storage", url], tmp_path, timeout=300)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"storage {without_password(url)}: cannot be opened (")
    assert "s3cret" not in done.stdout + done.stderr
    with pytest.raises(StorageError, match=r"me:\*\*\*@127.0.0.1:9/studies: cannot be opened"):
        join_folder(tmp_path / "other", "tiny", url)
    assert not (tmp_path / "other").exists()


def test_a_trial_that_was_made_twice_as_the_answer_of_the_server_was_lost_is_run(
    spec: Callable[..., SweepSpec], open_study: Callable[..., SharedStudy], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = open_study(spec(n_trials=3))
    backend, commit = backend_of(study), Session.commit
    create, commits = backend._create_new_trial, []

    def lose_the_first_answer(session: Session) -> None:
        commit(session)
        commits.append(session)
        if len(commits) == 1:
            raise OperationalError("commit", {}, ConnectionError("server closed the connection"))

    def create_with_a_loss(*given: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(Session, "commit", lose_the_first_answer)
            return create(*given)

    monkeypatch.setattr(backend, "_create_new_trial", create_with_a_loss)
    numbers = []
    while claim := study.claim(0):
        numbers.append(claim.number)
        assert complete(study, claim, 0.5)
    assert numbers == [1, 0, 2]
    assert study.is_finished()
