"""What `sweeps.load` shows of a run folder: new, running, finished, made by an older version."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from postgresql import Server
from studies import claimed, complete, create_study, study_spec

import sweeps
from lit_dl.errors import LitError, StorageError
from sweeps.results.files import RESULTS_JSONL, write_results
from sweeps.results.trial_result import TrialResult
from sweeps.study.liveness import identity
from sweeps.study.study import SharedStudy
from sweeps.trial_folder import TrialFolder

SPACE = {
    "model.width": {"low": 4, "high": 16, "type": "int"},
    "model.lr": {"low": 0.001, "high": 0.1, "type": "float"},
    "model.kind": {"choices": ["a", "b", None]},
    "model.flag": {"choices": [True, False]},
    "model.size": {"choices": [1, 2.5]},
    "model.hidden": {"choices": [[300, 100], 64]},
    "seed": {"presets": {"one": {"seed_everything": 1}, "two": {"seed_everything": 2}}},
}
PARAMS = {"model.width": 8, "model.lr": 0.01, "model.flag": True, "model.size": 1, "model.hidden": "[300, 100]"}
RESULTS = [
    TrialResult(
        1, "COMPLETE", "completed", "0", "max_epochs", 0.9, seed=1, params={**PARAMS, "model.kind": "a", "seed": "one"},
        best={"val/acc": 0.9, "test/acc": 0.8}, last={"val/acc": 0.7}, best_epoch=3, epochs=5, elapsed_s=2.5,
        started="2026-11-27T10:00:00.000000+00:00", finished="2026-11-27T10:00:02.500000+00:00", seconds={"train": 2.0},
        parameters=12, attempt=1, slot=0,
    ),
    TrialResult(0, "FAIL", "failed", "0", "ValueError: x", params={**PARAMS, "model.kind": None}, untested="no step"),
]  # fmt: skip
RUNNING = {
    "number": 2,
    "slot": 1,
    "attempt": 1,
    "epoch": 2,
    "value": 0.3,
    "elapsed_s": 1.5,
    "params": {"model.width": 5},
}
COLUMNS = [
    "number", "state", "outcome", "reason", "value", "best_epoch", "epochs", "seed", "elapsed_s", "config_id", "run",
    "extends", "attempt", "slot", "started", "finished", "model.width", "model.lr", "model.kind", "model.flag",
    "model.size", "model.hidden", "params.seed",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder in which no trial has ended."""
    (tmp_path / "spec.yaml").write_text(study_spec(space=SPACE).dump())
    return tmp_path


def write_status(folder: Path, state: str, running: list[dict[str, Any]], launcher: Any = None) -> None:
    status = {"name": "tiny", "state": state, "counts": {}, "objectives": [], "launcher": launcher or identity()}
    (folder / "status.json").write_text(json.dumps({**status, "running": running}))


def test_a_finished_sweep_is_a_data_frame_with_types(folder: Path) -> None:
    write_results(folder, RESULTS)
    write_status(folder, "finished", [])
    sweep = sweeps.load(folder)
    trials = sweep.trials
    assert list(trials.columns) == [
        *COLUMNS, "best.val/acc", "best.test/acc", "last.val/acc", "parameters", "peak_memory_bytes", "untested",
        "train_s",
    ]  # fmt: skip
    assert {name: str(dtype) for name, dtype in trials.dtypes.items()} == {
        **dict.fromkeys(
            ["number", "best_epoch", "epochs", "seed", "extends", "attempt", "slot", "parameters"], "Int64"
        ),
        **dict.fromkeys(["state", "outcome", "reason", "config_id", "run", "untested"], "string"),
        **dict.fromkeys(["value", "elapsed_s", "best.val/acc", "best.test/acc", "last.val/acc", "train_s"], "float64"),
        **dict.fromkeys(["started", "finished"], str(pd.to_datetime(["2026-01-01T00:00:00Z"], utc=True).dtype)),
        "peak_memory_bytes": "Int64",
        "model.width": "Int64",
        "model.lr": "float64",
        "model.kind": "string",
        "model.flag": "boolean",
        "model.size": "float64",
        "model.hidden": "object",
        "params.seed": "string",
    }
    first, second = trials.iloc[0], trials.iloc[1]
    assert (first["number"], second["number"], second["model.width"], second["model.kind"]) == (0, 1, 8, "a")
    assert [pd.isna(first[name]) for name in ("value", "best_epoch", "model.kind", "started", "run")] == [True] * 5
    assert second["finished"] - second["started"] == pd.Timedelta(seconds=2.5)
    assert sweep.state == "finished"


def test_a_running_trial_is_a_row_until_it_has_a_result(folder: Path) -> None:
    write_results(folder, RESULTS)
    write_status(folder, "running", [RUNNING, {**RUNNING, "number": 1}])
    trials = sweeps.load(folder).trials
    assert list(trials["number"]) == [0, 1, 2]
    assert list(trials["state"]) == ["FAIL", "COMPLETE", "RUNNING"]
    running = trials.iloc[2]
    assert (running["epochs"], running["model.width"], running["slot"], running["elapsed_s"]) == (2, 5, 1, 1.5)
    assert np.isnan(running["value"])
    assert running["outcome"] is pd.NA


def test_of_a_launcher_that_died_nothing_runs(folder: Path) -> None:
    write_results(folder, RESULTS)
    write_status(folder, "running", [RUNNING], {**identity(), "pid": 2**22 + 1})
    sweep = sweeps.load(folder)
    assert (sweep.state, len(sweep.trials)) == ("killed", 2)


def test_before_the_first_trial_there_are_columns_and_no_best(folder: Path) -> None:
    sweep = sweeps.load(str(folder))
    assert (list(sweep.trials.columns), len(sweep.trials), sweep.front) == (COLUMNS, 0, [])
    assert str(sweep.trials["model.width"].dtype) == "Int64"
    with pytest.raises(LitError, match="no trial has completed yet"):
        _ = sweep.best


def test_a_folder_of_an_older_version_has_a_table_alone(folder: Path) -> None:
    write_results(folder, RESULTS)
    (folder / RESULTS_JSONL).unlink()
    trials = sweeps.load(folder).trials
    assert list(trials["model.flag"]) == [True, True]
    assert list(trials["number"]) == [0, 1]


def test_the_best_has_its_files(folder: Path) -> None:
    better = replace(RESULTS[0], number=3, config_id="3", value=0.95)
    write_results(folder, [*RESULTS, better])
    files = TrialFolder(folder, 3)
    files.checkpoints.mkdir(parents=True)
    (files.checkpoints / "best.ckpt").touch()
    best = sweeps.load(folder).best
    assert (best.number, best.value, best.std, best.numbers, best.params) == (3, 0.95, None, [3], better.params)
    assert best.metrics == {"val/acc": 0.9, "test/acc": 0.8}
    assert (best.config, best.checkpoint) == (files.config, files.checkpoints / "best.ckpt")


def test_several_objectives_have_a_front(tmp_path: Path) -> None:
    objective = [{"metric": "val/acc", "direction": "maximize"}, {"metric": "ms", "direction": "minimize"}]
    (tmp_path / "spec.yaml").write_text(study_spec(space=SPACE, objective=objective).dump())
    points = [(0.9, 5.0), (0.95, 9.0), (0.9, 6.0)]
    write_results(
        tmp_path,
        [
            TrialResult(n, "COMPLETE", "completed", str(n), value=acc, best={"val/acc": acc, "ms": ms})
            for n, (acc, ms) in enumerate(points)
        ],
    )
    sweep = sweeps.load(tmp_path)
    assert [entry.number for entry in sweep.front] == [1, 0]
    assert list(sweep.trials["best.ms"]) == [5.0, 9.0, 6.0]


def test_without_pandas_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(LitError, match=r"needs pandas, which is not installed; pip install 'lit-sweeps\[pandas\]'"):
        _ = sweeps.load(folder).trials


def test_what_is_no_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="must be the run folder of a sweep"):
        sweeps.load(tmp_path)
    with pytest.raises(StorageError, match="must be the run folder of a sweep"):
        sweeps.load(tmp_path / "none")


def test_the_study_goes_on_as_any_study_of_optuna(tmp_path: Path) -> None:
    shared = create_study(tmp_path)
    complete(shared, claimed(shared), 0.5)
    study = sweeps.load(tmp_path).study
    assert study.best_value == 0.5
    study.optimize(lambda trial: trial.suggest_float("model.optimizer.lr", 1e-3, 1e-1, log=True), n_trials=2)
    assert [trial.state.name for trial in shared.trials()] == ["COMPLETE"] * 3
    assert len({trial.params["model.optimizer.lr"] for trial in shared.trials()}) == 3


def test_a_study_in_a_database_needs_its_url(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = study_spec(name=f"loaded-{tmp_path.name}")
    (tmp_path / "spec.yaml").write_text(spec.dump())
    shared = SharedStudy(tmp_path, spec, server.url, create=True)
    complete(shared, claimed(shared), 0.5)
    shared.close()
    with pytest.raises(StorageError, match=r"its sweep uses a database; give its URL \(--storage, \$SWEEPS_STORAGE\)"):
        _ = sweeps.load(tmp_path).study
    monkeypatch.setenv("SWEEPS_STORAGE", server.url)
    for sweep in (sweeps.load(tmp_path), sweeps.load(tmp_path, server.url)):
        study = sweep.study
        assert study.best_value == 0.5
        backend: Any = study._storage
        backend._backend.remove_session()
        backend._backend.engine.dispose()
