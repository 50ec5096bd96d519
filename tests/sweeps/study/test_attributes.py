"""Who evaluates a trial on the test set: one living process, wherever it is."""

from __future__ import annotations

import subprocess
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import pytest
from stand_in_workers import identity_of
from sweep_specs import resolved_spec

from sweeps.study.liveness import Owner
from sweeps.study.postgresql import Database
from sweeps.study.study import SharedStudy

ELSEWHERE: Owner = {"machine": "another", "pid": 1, "started": "1"}
WITHIN_S = 600.0


class FakeDatabase:
    """A server's lock, which nobody else wants, and its clock."""

    time = 1000.0

    def lock(self) -> Any:
        return nullcontext()

    def now(self) -> float:
        return self.time


@pytest.fixture
def study(tmp_path: Path) -> SharedStudy:
    return SharedStudy(tmp_path, resolved_spec(tmp_path), create=True)


def on_database(study: SharedStudy) -> FakeDatabase:
    database = FakeDatabase()
    study.database = cast(Database, database)
    return database


def take_as(owner: Owner, study: SharedStudy) -> bool:
    """What a process with this identity is told that asks to evaluate trial 3."""
    with pytest.MonkeyPatch.context() as other:
        other.setattr("sweeps.study.attributes.identity", lambda: owner)
        return study.take_evaluation(3)


def test_on_a_database_an_owner_elsewhere_has_ten_minutes_by_its_clock(study: SharedStudy) -> None:
    database = on_database(study)
    assert take_as(ELSEWHERE, study)
    database.time += WITHIN_S - 1
    assert not study.take_evaluation(3)
    assert study.is_evaluating()
    database.time += 1
    assert not study.is_evaluating()
    assert study.take_evaluation(3)
    assert not take_as(ELSEWHERE, study)  # it comes back, late
    assert study.is_evaluating()


def test_without_a_database_an_owner_elsewhere_is_one_of_before(study: SharedStudy) -> None:
    """Such as of this machine before it was started again: only one machine works on the study."""
    assert take_as(ELSEWHERE, study)
    assert not study.is_evaluating()
    assert study.take_evaluation(3)
    assert study.is_evaluating()


@pytest.mark.parametrize("has_database", [False, True])
def test_an_owner_here_has_as_long_as_it_lives(
    study: SharedStudy, other: subprocess.Popen[bytes], has_database: bool
) -> None:
    database = on_database(study) if has_database else FakeDatabase()
    assert take_as(identity_of(other), study)
    database.time += 2 * WITHIN_S
    assert not study.take_evaluation(3)
    assert study.is_evaluating()
    database.time -= 2 * WITHIN_S
    other.kill()
    other.wait()
    assert not study.is_evaluating()
    assert study.take_evaluation(3)


def test_what_was_evaluated_is_nobodys_again(study: SharedStudy) -> None:
    """Whoever had it, however long ago."""
    database = on_database(study)
    assert take_as(ELSEWHERE, study)
    study.set_evaluation(3, {"test/acc": 0.5})
    database.time += 2 * WITHIN_S
    assert not study.is_evaluating()
    assert not study.take_evaluation(3)
    assert not take_as(ELSEWHERE, study)
    study.database = None
    assert not study.take_evaluation(3)
    assert study.evaluations() == {3: {"test/acc": 0.5}}
