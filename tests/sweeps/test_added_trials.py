"""Trials that a user adds: they run once, count as they say, and wait for nobody."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from postgresql import Server
from studies import claimed, complete, create_study, study_spec

import sweeps
from lit_dl.errors import ConfigError, StorageError
from sweeps import cli
from sweeps.study.liveness import identity
from sweeps.study.storage import JOURNAL
from sweeps.study.study import SharedStudy

SPACE = {
    "x": {"low": 0.0, "high": 1.0, "type": "float"},
    "kind": {"choices": ["a", [1, 2]]},
}


def write_status(folder: Path, state: str) -> None:
    status = {"name": "tiny", "state": state, "counts": {}, "objectives": [], "launcher": identity()}
    (folder / "status.json").write_text(json.dumps(status))


@pytest.fixture
def study(tmp_path: Path) -> SharedStudy:
    """A sweep of three trials that runs."""
    write_status(tmp_path, "running")
    return create_study(tmp_path, space=SPACE, n_trials=3)


def test_it_runs_next_and_once_and_is_one_of_the_total(tmp_path: Path, study: SharedStudy) -> None:
    running = claimed(study)
    added = sweeps.enqueue(tmp_path, {"x": 0.25, "kind": (1, 2)})
    assert (added.number, str(added)) == (1, "trial 1: it runs next; one of n_trials=3")
    claim = claimed(study)
    assert (claim.number, claim.values) == (1, {"x": 0.25, "kind": "[1, 2]"})
    last = claimed(study)
    assert last.values["x"] != 0.25
    assert all(complete(study, each) for each in (running, claim, last))
    assert study.claim(0) is None
    assert study.is_finished()


def test_what_is_left_out_is_sampled(tmp_path: Path, study: SharedStudy) -> None:
    sweeps.enqueue(tmp_path, {"x": 0.25})
    claim = claimed(study)
    assert claim.values["x"] == 0.25
    assert claim.values["kind"] in ("a", "[1, 2]")


def test_beside_all_others_it_comes_on_top(tmp_path: Path, study: SharedStudy) -> None:
    claims = [claimed(study) for _ in range(3)]
    assert all(complete(study, claim) for claim in claims)
    write_status(tmp_path, "finished")
    added = sweeps.enqueue(tmp_path, {"x": 0.25})
    assert added.notes == ["the sweep does not run (finished); launch it again to run it", "on top of n_trials=3"]
    again = create_study(tmp_path, space=SPACE, n_trials=3)  # the next launch
    assert not again.is_finished()
    claim = claimed(again)
    assert (claim.number, claim.values["x"]) == (3, 0.25)
    assert complete(again, claim)
    assert again.claim(0) is None
    assert again.is_finished()


def test_with_seeds_it_runs_once_a_seed(tmp_path: Path) -> None:
    write_status(tmp_path, "running")
    study = create_study(tmp_path, space=SPACE, n_trials=4, seeds=2)
    added = sweeps.enqueue(tmp_path, {"x": 0.25})
    assert added.notes[1] == "2 of n_trials=4, one a seed"
    claims = [claimed(study) for _ in range(4)]
    assert [claim.values["x"] == 0.25 for claim in claims] == [True, True, False, False]
    assert claims[0].values == claims[1].values
    assert study.claim(0) is None


def test_trials_with_the_same_values_are_named(tmp_path: Path, study: SharedStudy) -> None:
    values = {"x": 0.25, "kind": "a"}
    sweeps.enqueue(tmp_path, values)
    sweeps.enqueue(tmp_path, {"x": 0.25})
    complete(study, claimed(study))
    assert sweeps.enqueue(tmp_path, values).notes[2:] == ["trial 0 (COMPLETE) has the same values"]
    assert sweeps.enqueue(tmp_path, {"x": 0.25}).notes[2:] == ["trial 1 (WAITING) has the same values"]
    assert sweeps.enqueue(tmp_path, values).notes[2:] == ["trials 0 (COMPLETE), 2 (WAITING) have the same values"]


def test_a_sweep_that_stopped_by_its_rule_says_that_it_waits_for_another_rule(
    tmp_path: Path, study: SharedStudy
) -> None:
    write_status(tmp_path, "stopped: val/acc has reached 0.9")
    assert sweeps.enqueue(tmp_path, {"x": 0.5}).notes[0] == (
        "the sweep has stopped: val/acc has reached 0.9; it runs when stop is changed in the spec, or left out"
    )


def test_it_waits_for_no_lock(tmp_path: Path, study: SharedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(_: float) -> None:
        raise AssertionError("it waits for a lock")

    monkeypatch.setattr(time, "sleep", wait)
    with study._handle.lock():  # as in the middle of a claim
        assert sweeps.enqueue(tmp_path, {"x": 0.5}).number == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x=0.5", "kind=[1, 2]"], ""),
        (["x=2"], "x: must be from 0.0 to 1.0, as in space; got 2"),
        (["y=1"], "y: no such key in space, which has x, kind"),
        (["x"], "KEY=VALUE: must be dotted.key=value; got 'x'"),
        (["x=[1"], "KEY=VALUE x, line 1, column 3: must be YAML"),
    ],
)
def test_the_command(
    tmp_path: Path, study: SharedStudy, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["add", str(tmp_path), *words])
    printed = capsys.readouterr()
    if message:
        assert (end.value.code, printed.err.startswith(message), study.trials()) == (2, True, [])
    else:
        assert (end.value.code, printed.out) == (0, "trial 0: it runs next; one of n_trials=3\n")
        assert claimed(study).values == {"x": 0.5, "kind": "[1, 2]"}


def test_what_cannot_be_added_to(tmp_path: Path, study: SharedStudy) -> None:
    with pytest.raises(StorageError, match="must be the run folder of a sweep"):
        sweeps.enqueue(tmp_path / "none", {"x": 1})
    with pytest.raises(ConfigError, match="must have at least one key of the space; got none"):
        sweeps.enqueue(tmp_path, {})
    (tmp_path / JOURNAL).unlink()
    with pytest.raises(StorageError, match=r"its sweep uses a database; give its URL \(--storage, \$SWEEPS_STORAGE\)"):
        sweeps.enqueue(tmp_path, {"x": 1})


def test_a_study_in_a_database(tmp_path: Path, server: Server) -> None:
    spec = study_spec(space=SPACE, name=f"added-{time.time_ns()}")
    (tmp_path / "spec.yaml").write_text(spec.dump())
    write_status(tmp_path, "running")
    study = SharedStudy(tmp_path, spec, server.url, create=True)
    assert sweeps.enqueue(tmp_path, {"x": 0.25}, server.url).number == 0
    assert claimed(study).values["x"] == 0.25
    study.close()
