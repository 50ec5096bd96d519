"""Evaluations on the test set: a trial is evaluated by one living process, on whatever machine."""

from __future__ import annotations

import subprocess
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import pytest
from stand_in_workers import identity_of
from studies import create_study

from sweeps.study.liveness import Owner
from sweeps.study.postgresql import PostgresCoordinator
from sweeps.study.records import Evaluation
from sweeps.study.study import SharedStudy

ELSEWHERE: Owner = {"machine": "another", "pid": 1, "started": "1"}
WITHIN_S = 600.0


class FakeCoordinator:
    """A server's lock, which is always free, and its clock."""

    time = 1000.0

    def lock(self) -> Any:
        return nullcontext()

    def now(self) -> float:
        return self.time


@pytest.fixture
def study(tmp_path: Path) -> SharedStudy:
    return create_study(tmp_path)


def on_server(study: SharedStudy) -> FakeCoordinator:
    coordinator = FakeCoordinator()
    study._handle.coordinator = cast(PostgresCoordinator, coordinator)
    return coordinator


def take_as(owner: Owner, study: SharedStudy) -> bool:
    """Returns whether a process with this identity may evaluate trial 3."""
    with pytest.MonkeyPatch.context() as other:
        other.setattr("sweeps.study.attributes.identity", lambda: owner)
        return study.attributes.claim_evaluation(3)


def test_on_a_database_an_owner_elsewhere_has_ten_minutes_by_its_clock(study: SharedStudy) -> None:
    server = on_server(study)
    assert take_as(ELSEWHERE, study)
    server.time += WITHIN_S - 1
    assert not study.attributes.claim_evaluation(3)
    assert study.attributes.is_evaluating()
    server.time += 1
    assert not study.attributes.is_evaluating()
    assert study.attributes.claim_evaluation(3)
    assert not take_as(ELSEWHERE, study)  # it comes back, late
    assert study.attributes.is_evaluating()


def test_without_a_database_an_owner_elsewhere_is_one_of_before(study: SharedStudy) -> None:
    """Such as of this machine before it was started again: only one machine works on the study."""
    assert take_as(ELSEWHERE, study)
    assert not study.attributes.is_evaluating()
    assert study.attributes.claim_evaluation(3)
    assert study.attributes.is_evaluating()


@pytest.mark.parametrize("has_database", [False, True])
def test_an_owner_here_has_as_long_as_it_lives(
    study: SharedStudy, other: subprocess.Popen[bytes], has_database: bool
) -> None:
    server = on_server(study) if has_database else FakeCoordinator()
    assert take_as(identity_of(other), study)
    server.time += 2 * WITHIN_S
    assert not study.attributes.claim_evaluation(3)
    assert study.attributes.is_evaluating()
    server.time -= 2 * WITHIN_S
    other.kill()
    other.wait()
    assert not study.attributes.is_evaluating()
    assert study.attributes.claim_evaluation(3)


def test_what_was_evaluated_is_nobodys_again(study: SharedStudy) -> None:
    """Not even once the lease of the process that evaluated it has expired."""
    server = on_server(study)
    assert take_as(ELSEWHERE, study)
    study.attributes.set_evaluation(3, Evaluation({"test/acc": 0.5}))
    server.time += 2 * WITHIN_S
    assert not study.attributes.is_evaluating()
    assert not study.attributes.claim_evaluation(3)
    assert not take_as(ELSEWHERE, study)
    study._handle.coordinator = None
    assert not study.attributes.claim_evaluation(3)
    assert study.attributes.evaluations() == {3: Evaluation({"test/acc": 0.5})}


def test_the_test_set_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = create_study(tmp_path)
    assert study.attributes.claim_evaluation(3)
    assert study.attributes.claim_evaluation(3)  # again, as its storage did not answer
    with monkeypatch.context() as other:
        other.setattr("sweeps.study.attributes.identity", lambda: {"machine": "another", "pid": 1, "started": "1"})
        assert not study.attributes.claim_evaluation(3)
    assert study.attributes.evaluations() == {}
    study.attributes.set_evaluation(3, Evaluation({"test/acc": 0.5}))
    assert study.attributes.evaluations() == {3: Evaluation({"test/acc": 0.5})}
    assert not study.attributes.claim_evaluation(3)


def test_who_evaluates_is_known_until_it_is_done(tmp_path: Path) -> None:
    study = create_study(tmp_path)
    assert study.attributes.claim_evaluation(0)
    assert study.attributes.is_evaluating()
    study.attributes.set_evaluation(0, Evaluation())
    assert not study.attributes.is_evaluating()
