"""`sweeps launch --extend`: which trials go on and for how long, and that they are trials of the longer sweep."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from resumable import compare, outcome
from studies import claimed, create_study
from sweep_specs import resolved_spec
from worker_sweeps import join, launched, sweep

from lit_dl.errors import ConfigError
from sweeps.extend import ExtendRequest, plan_extension
from sweeps.replay import replay_trial
from sweeps.results.trial_result import finished_results
from sweeps.study.extensions import ExtensionPlan
from sweeps.study.records import TrialOutcome, now
from sweeps.study.study import SharedStudy
from sweeps.trial_folder import TrialFolder

End = tuple[float, str, int]
"""How a trial ended: its value, why, and after how many epochs."""


def ended(folder: Path, *ends: End, gone: tuple[int, ...] = (), **changes: Any) -> SharedStudy:
    """A study with completed trials that trained nothing; all but those in `gone` have a checkpoint."""
    study = create_study(folder, **{"n_trials": len(ends), **changes})
    for value, reason, epochs in ends:
        claim = claimed(study)
        row = {"outcome": "completed", "reason": reason, "epochs": epochs, "finished": now()}
        assert study.finish(claim, TrialOutcome(TrialState.COMPLETE, [value], None, row))
        if claim.number not in gone:
            path = TrialFolder(folder, claim.number).checkpoints / "last.ckpt"
            path.parent.mkdir(parents=True)
            path.touch()
    return study


def planned(study: SharedStudy, folder: Path, epochs: str, best: int | None = None) -> tuple[dict[int, int], str]:
    plan, line = plan_extension(study, folder, ExtendRequest(epochs, best))
    return ({} if plan is None else dict(plan.max_epochs)), line


ALL_ENDS = [
    (0.5, "max_epochs", 10),
    (0.9, "early_stopping", 7),
    (0.8, "max_epochs", 10),
    (0.7, "max_epochs", 12),
    (0.6, "stopped", 4),
]


def test_completed_trials_go_on_and_the_others_are_named(tmp_path: Path) -> None:
    study = ended(tmp_path, *ALL_ENDS, gone=(2,))
    assert planned(study, tmp_path, "+8") == (
        {3: 20, 0: 18},
        "extend: trial 0, 3 go on to 18 to 20 epochs; left out: stopped early, where more epochs would not "
        "be trained (trial 1); without last.ckpt, see keep (trial 2); stopped by a callback or a limit of its own "
        "(trial 4)",
    )
    extended, line = planned(study, tmp_path, "12")
    assert extended == {0: 12}
    assert "extend: trial 0 goes on to 12 epochs; " in line
    assert "12 epochs already (trial 3)" in line


def test_the_best_are_those_of_the_ranking(tmp_path: Path) -> None:
    study = ended(tmp_path, *ALL_ENDS)
    extended, line = planned(study, tmp_path, "20", best=3)
    assert extended == {2: 20, 3: 20}
    assert line.endswith("left out: stopped early, where more epochs would not be trained (trial 1)")


def test_a_configuration_goes_on_with_all_its_seeds_or_none(tmp_path: Path) -> None:
    ends = [(0.5, "max_epochs", 10)] * 6
    study = ended(tmp_path, *ends, gone=(3,), seeds=2)
    extended, line = planned(study, tmp_path, "20")
    assert sorted(extended) == [0, 1, 4, 5]
    assert line.endswith("left out: without last.ckpt, see keep (trial 2, 3)")


def test_many_trials_are_not_all_listed(tmp_path: Path) -> None:
    _, line = planned(ended(tmp_path, *[(0.5, "max_epochs", 10)] * 13), tmp_path, "20")
    assert line == "extend: trial 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 3 more go on to 20 epochs"


@pytest.mark.parametrize(
    ("ends", "epochs", "says"),
    [
        ([(0.5, "max_epochs", 10)], "9", "got --extend 9; 10 epochs already (trial 0)"),
        ([(0.5, "max_epochs", 10)], "10", "got --extend 10; 10 epochs already (trial 0)"),
        ([(0.5, "early_stopping", 7)], "+9", "got --extend +9; stopped early"),
    ],
)
def test_a_request_without_a_trial_that_can_go_on_is_refused(
    tmp_path: Path, ends: list[End], epochs: str, says: str
) -> None:
    study = ended(tmp_path, *ends)
    with pytest.raises(ConfigError, match=f"^--extend: must name more epochs for trials .*{re.escape(says)}"):
        planned(study, tmp_path, epochs)


def test_the_same_request_goes_on_until_it_is_over_and_is_a_new_one_after_that(tmp_path: Path) -> None:
    study = ended(tmp_path, (0.5, "max_epochs", 10), (0.6, "max_epochs", 10))
    plan, _ = plan_extension(study, tmp_path, ExtendRequest("+5"))
    study.extensions.start(plan)
    assert plan_extension(study, tmp_path, ExtendRequest("+5")) == (
        plan,
        "extend: goes on; 2 of 2 trials have not ended",
    )
    with pytest.raises(ConfigError, match=r"--extend: must wait until the 2 trials left of --extend \+5 have ended"):
        plan_extension(study, tmp_path, ExtendRequest("+5", best=1))
    study = ended(tmp_path, (0.7, "max_epochs", 15), (0.8, "max_epochs", 15))  # the extensions
    again, line = plan_extension(study, tmp_path, ExtendRequest("+5"))  # the launch was killed before it said so
    assert (again, line) == (plan, "extend: goes on; 0 of 2 trials have not ended")
    study.extensions.start(again)
    assert len(study.trials()) == 4
    study.extensions.end()
    assert planned(study, tmp_path, "+5")[0] == {2: 20, 3: 20}
    assert planned(study, tmp_path, "15") == ({}, "extend: nothing is left to do; 15 epochs already (trial 3, 2)")


def test_another_request_begins_when_the_trials_of_the_last_have_ended(tmp_path: Path) -> None:
    study = ended(tmp_path, (0.5, "max_epochs", 10))
    study.extensions.start(ExtensionPlan(1, {"epochs": "+5", "best": None}, {0: 15}))
    study = ended(tmp_path, (0.7, "max_epochs", 15), n_trials=1)
    plan, _ = plan_extension(study, tmp_path, ExtendRequest("20"))
    assert plan == ExtensionPlan(2, {"epochs": "20", "best": None}, {1: 20})


# Trained


def extend(folder: Path, epochs: str, best: str | None = None, **changes: Any) -> str:
    """Extends trials as a launch and one worker do; gives the line that the launch prints."""
    request = ExtendRequest.parse(epochs, best)
    assert request is not None
    study, run_dir = launched(folder, **changes), folder / "run"
    plan, line = plan_extension(study, run_dir, request)
    study.extensions.start(plan)
    join(run_dir, "disabled")
    study.extensions.end()
    return line


def path(folder: Path, number: int) -> Path:
    return TrialFolder(folder / "run", number).path


def changes_for(folder: Path, max_epochs: int = 2) -> dict[str, Any]:
    """A sweep without early stopping."""
    folder.mkdir(exist_ok=True)
    base = resolved_spec(folder).base
    trainer = {**base["trainer"], "max_epochs": max_epochs}
    return {"n_trials": 2, "base": {**base, "trainer": trainer, "early_stopping": {"patience": None}}}


def test_an_extended_trial_is_one_of_the_longer_sweep_to_the_last_digit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short, long = tmp_path / "short", tmp_path / "long"
    changes = changes_for(short)
    sweep(short, **changes)
    assert extend(short, "4", **changes) == "extend: trial 0, 1 go on to 4 epochs"
    line = extend(short, "+2", "1", **changes)
    chosen = int(re.findall(r"^extend: trial ([23]) goes on to 6 epochs$", line)[0])
    sweep(long, **changes_for(long, 4))
    for number in (0, 1):
        compare(outcome(path(short, number + 2)), outcome(path(long, number)))
    study = SharedStudy(short / "run", resolved_spec(short, **changes))
    rows = finished_results(study.spec, study.trials(), study.attributes.evaluations())
    extends = [(None, 2), (None, 2), (0, 4), (1, 4), (chosen, 6)]
    assert [(row.extends, row.epochs) for row in rows] == extends
    assert [row.number for row in rows if row.is_completed] == [5 - chosen, 4]
    assert all(row.seconds["total"] > 0 for row in rows)
    assert study.is_finished()
    capsys.readouterr()
    assert replay_trial(short / "run", 4) == 0
    assert "trial 4: 6 epochs" in capsys.readouterr().out


def test_checkpoints_stay_until_an_extension_has_them_and_go_when_it_stands_in_their_place(tmp_path: Path) -> None:
    changes = {**changes_for(tmp_path), "keep": "best_1"}
    study, _ = sweep(tmp_path, **changes)
    (kept,) = [n for n in (0, 1) if (path(tmp_path, n) / "checkpoints").exists()]
    assert f"trial {kept} goes on to 4 epochs; left out: without last.ckpt" in extend(tmp_path, "4", **changes)
    study = SharedStudy(tmp_path / "run", resolved_spec(tmp_path, **changes))
    assert study.trials()[2].user_attrs["extends"] == kept
    assert len((path(tmp_path, 2) / "metrics.csv").read_text().splitlines()) == 5
    assert not (path(tmp_path, kept) / "checkpoints").exists()


def test_one_whose_checkpoint_is_gone_by_then_starts_anew_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {**changes_for(tmp_path), "n_trials": 1}
    study, _ = sweep(tmp_path, **changes)
    study.extensions.start(ExtensionPlan(1, {"epochs": "3", "best": None}, {0: 3}))
    (path(tmp_path, 0) / "checkpoints" / "last.ckpt").unlink()
    join(tmp_path / "run", "disabled")
    assert "starts anew: " in capsys.readouterr().out  # a worker of its own has it in the trial's log.txt
    assert len((path(tmp_path, 1) / "metrics.csv").read_text().splitlines()) == 4
