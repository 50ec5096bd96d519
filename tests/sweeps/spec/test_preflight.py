"""The process that checks a spec before trial 0; what it refuses is in `test_bad_input.py`."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweep_specs import tiny_spec

from lit_dl.cli import lit_cli
from sweeps.spec.parse_spec import parse_spec
from sweeps.spec.preflight import check_in_child, check_spec


def test_in_a_slurm_job_of_many_tasks_one_step_is_tried_by_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning would take the tasks for the processes of one training."""
    for name, value in {
        "JOB_ID": 1234,
        "JOB_NAME": "sweep",
        "NTASKS": 4,
        "PROCID": 0,
        "LOCALID": 0,
        "NODEID": 0,
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    checked = check_in_child(parse_spec(tiny_spec(tmp_path), tmp_path, "tiny"))
    assert "val/acc" in checked.metrics


def test_no_config_is_checked_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first value of each parameter gives the same config again and again."""
    checked = []
    monkeypatch.setattr(lit_cli, "check_config", lambda config: checked.append(repr(config)))
    space = {"model.network.width": {"low": 4, "high": 16}, "model.network.activation": {"choices": ["relu", "tanh"]}}
    runs = {"base": {}, "wide": {"model.network.width": 16}}
    check_spec(parse_spec(tiny_spec(tmp_path, space=space, runs=runs, check="parse"), tmp_path, "tiny"))
    assert len(checked) == len(set(checked))
    assert len(checked) == 4  # width 4 or 16, the other activation, the run `base` (`wide` is as the second)
