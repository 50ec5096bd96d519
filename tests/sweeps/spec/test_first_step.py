"""The step that the check tries: the trial's own Trainer, stopped from outside."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from irregular import irregular_sweep

from lit_dl.errors import ConfigError
from sweeps.spec.parse_spec import parse_spec
from sweeps.spec.preflight import Checked, check_spec


def check(name: str, arguments: dict[str, Any], trainer: dict[str, Any], **changes: Any) -> Checked:
    spec = parse_spec(irregular_sweep(name, arguments, trainer, **changes), Path(), "irregular")
    return check_spec(spec, "offline")


def test_a_trial_has_its_own_number_of_epochs_and_batches_in_the_check() -> None:
    assert check("WarmsUp", {"figures": [1.0] * 9}, {"max_epochs": 9}).metrics == ["score"]


@pytest.mark.parametrize("callback", ["LearningRateMonitor", "DeviceStatsMonitor"])
def test_there_is_a_logger_which_leaves_nothing(callback: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    class_path = f"lightning.pytorch.callbacks.{callback}"
    trainer = {"max_epochs": 2, "callbacks": [{"class_path": class_path}], "log_every_n_steps": 1}
    assert "score" in check("LogsToLogger", {"figures": [1.0, 2.0]}, trainer).metrics
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_without_tracking_there_is_a_logger_that_keeps_nothing(tmp_path: Path) -> None:
    trainer = {"max_epochs": 1, "callbacks": ["LearningRateMonitor"]}
    spec = parse_spec(irregular_sweep("LogsToLogger", {"figures": [1.0]}, trainer), tmp_path, "irregular")
    assert "score" in check_spec(spec, "disabled").metrics


def test_a_score_that_needs_more_than_a_batch_is_a_note() -> None:
    checked = check("TwoClasses", {"figures": []}, {"max_epochs": 3})
    fails, missing = checked.notes
    assert "ValueError: only one class is present" in fails
    assert "irregular.py:" in fails
    assert missing == "score was not logged in the check; a trial that never logs it fails"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("Broken", ("RuntimeError", "irregular.py:", "return batch @ torch.zeros(3)", "check: build leaves")),
        ("BrokenEnd", ("AttributeError", "irregular.py:", "self.no_such_attribute", "check: build leaves")),
    ],
)
def test_a_failure_names_the_last_line_of_the_users(name: str, parts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"^base: fails in its first batch") as caught:
        check(name, {"figures": [1.0]}, {"max_epochs": 3})
    assert all(part in str(caught.value) for part in parts)


def test_a_metric_of_every_second_epoch_is_found() -> None:
    checked = check("EverySecond", {"figures": [1.0] * 50}, {"max_epochs": 50})
    assert (checked.metrics, checked.notes) == (["score", "val_loss"], [])


def test_a_metric_that_no_epoch_logs_is_refused_and_one_that_may_come_is_noted() -> None:
    objective = {"metric": "other", "direction": "minimize"}
    with pytest.raises(ConfigError, match=r"^objective\.metric: 'other' is never logged; logged are score, val_loss"):
        check("EverySecond", {"figures": [1.0] * 3}, {"max_epochs": 3}, objective=objective)
    late = check("EverySecond", {"figures": [1.0] * 50}, {"max_epochs": 50}, objective=objective)
    assert late.notes == ["other was not logged in the check; a trial that never logs it fails"]
    with pytest.raises(ConfigError, match=r"did you mean 'score'"):
        check("EverySecond", {"figures": [1.0] * 50}, {"max_epochs": 50}, objective={**objective, "metric": "scor"})


@pytest.mark.parametrize(
    ("name", "trainer", "resource"),
    [
        ("OftenValidated", {"max_epochs": 7}, 7),
        ("OftenValidated", {"max_epochs": 3, "val_check_interval": 0.5}, 6),
        ("OftenValidated", {"max_epochs": -1, "max_steps": 24}, 6),
        ("OftenValidated", {"max_epochs": 5, "max_steps": 1000}, 5),
        ("OftenValidated", {"max_epochs": -1, "max_steps": 24, "accumulate_grad_batches": 2}, 12),
        ("OftenValidated", {"max_epochs": 3, "val_check_interval": 2}, 6),
        ("OftenValidated", {"max_epochs": 4, "val_check_interval": 2, "check_val_every_n_epoch": 2}, 4),
        ("Endless", {"max_epochs": -1, "max_steps": 40, "val_check_interval": 5, "check_val_every_n_epoch": None}, 8),
        ("OftenValidated", {"max_epochs": -1, "max_time": "00:00:01:00"}, "auto"),
    ],
)
def test_hyperband_counts_what_is_reported(name: str, trainer: dict[str, Any], resource: int | str) -> None:
    from sweeps.study.sampling import build_pruner

    pruner = {"class_path": "PatientPruner", "init_args": {"wrapped_pruner": "HyperbandPruner", "patience": 1}}
    spec = irregular_sweep(name, {"scores": [1.0]}, trainer, pruner=pruner)
    spec["base"]["model"]["class_path"] = f"{'irregular' if name == 'Endless' else 'foreign'}.{name}"
    checked = check_spec(parse_spec(spec, Path(), "irregular"), "disabled")
    built: Any = build_pruner(checked.spec)
    assert built._wrapped_pruner._max_resource == resource
