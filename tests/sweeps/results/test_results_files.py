"""Results on disk: types are kept, and folders of an earlier version still open."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial
from report_folders import SPACE, run_folder

from lit_dl.errors import StorageError
from sweeps.results.files import read_results, write_results
from sweeps.results.status_file import count_text, read_status
from sweeps.results.trial_result import COLUMNS, TrialResult
from sweeps.spec.parse_spec import load_spec
from sweeps.study.records import Evaluation

CHOICES: list[Any] = [1, "1", True, "true", 1.0, None, "", "[30, 10]"]


def completed(number: int, **fields: Any) -> TrialResult:
    given: dict[str, Any] = {"value": 0.5, "best": {"val/acc": 0.5, "test/acc": 1 / 3}, "last": {"val/acc": 1e-300}}
    given |= {"run": 'a, "b"', "seed": 3, "best_epoch": 2, "epochs": 3, "attempt": 1, "slot": 0, "elapsed_s": 1.5}
    given |= {"started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:00:02+00:00"}
    given |= {"seconds": {"train": 1.0, "total": 1.5}, "parameters": 7, "peak_memory_bytes": 2**40}
    return TrialResult(number, "COMPLETE", "completed", str(number), **{**given, **fields})


def test_results_read_back_as_they_were_with_their_types(tmp_path: Path) -> None:
    run_dir = run_folder(tmp_path / "r", None)
    results = [completed(n, params={"choice": choice, "lr": 1e-05}) for n, choice in enumerate(CHOICES)]
    results.append(TrialResult(len(results), "FAIL", "failed", "x", reason='ValueError: "a",\nb'))
    write_results(run_dir, results)
    found = read_results(run_dir)
    assert found == results
    kinds = [(type(trial.params["choice"]), trial.params["choice"]) for trial in found if trial.params]
    assert kinds == [(type(choice), choice) for choice in CHOICES]
    assert all(json.loads(line)["schema"] == 2 for line in (run_dir / "results.jsonl").read_text().splitlines())


def test_the_table_for_people_has_a_column_for_each_value(tmp_path: Path) -> None:
    failed = TrialResult(1, "FAIL", "failed", "1", reason="r", params={"width": 3})
    write_results(tmp_path, [completed(0, params={"lr": 0.5}), failed])
    header, first, second = (tmp_path / "results.csv").read_text().splitlines()
    assert header == (
        f"{','.join(COLUMNS)},schema,train_s,total_s,parameters,peak_memory_bytes,"
        "params.lr,params.width,best.test/acc,best.val/acc,last.val/acc"
    )
    assert first.endswith(f",2,1.0,1.5,7,{2**40},0.5,,{1 / 3!r},0.5,1e-300")
    assert second == "1,FAIL,failed,r,,,,,,1,,,,,,,2,,,,,,3,,,"


def test_a_folder_that_is_not_of_a_sweep_is_refused(tmp_path: Path) -> None:
    for read in (read_results, read_status):
        with pytest.raises(StorageError, match=f"{tmp_path}: must be the run folder of a sweep"):
            read(tmp_path)


@pytest.mark.parametrize("text", ["{", "[1]\n", '{"number": 0}\n', '{"unknown": 1}\n', "3\n"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    run_dir = run_folder(tmp_path / "r", [])
    (run_dir / "results.jsonl").write_text(text)
    with pytest.raises(StorageError, match=r"results\.jsonl: must be what sweeps launch writes; damaged"):
        read_results(run_dir)


def test_counts_are_spelled_in_words() -> None:
    status = {"outcomes": {"completed": 3, "out_of_memory": 1}, "counts": {"RUNNING": 2, "WAITING": 0}}
    assert count_text(status) == "3 completed, 1 out of memory, 2 running"
    assert count_text({"outcomes": {}, "counts": {"RUNNING": 0, "WAITING": 0}}) == "no trial yet"


# Folders of an earlier version: results.csv alone

OLD_SPACE = {
    **SPACE,
    "model.bias": {"choices": [True, False]},
    "model.kernel": {"choices": [1, 2.5, "3"]},
    "norm": {"presets": {"none": {"model.norm": "none"}, "1": {"model.norm": "before"}}},
}
OLD_TABLE = """\
number,state,outcome,reason,value,best_epoch,epochs,seed,elapsed_s,config_id,run,attempt,slot,started,finished,schema,\
train_s,total_s,parameters,params.model.bias,params.model.depth,params.model.kernel,params.model.optimizer.name,\
params.model.sizes,params.norm,metrics.test/acc,metrics.val/acc,final.val/acc
0,COMPLETE,completed,max_epochs,0.5,2,3,0,2,0,,1,0,a,b,1,1.5,2.0,100,True,2,3,adam,"[300, 100]",1,nan,0.5,1
1,FAIL,failed,"ValueError: 1, 2",,,,0,1.0,1,7,2,1,a,c,1,,,,False,3,2.5,momentum,,none,,,
"""


def test_an_old_table_is_read_by_its_columns_and_the_spec(tmp_path: Path) -> None:
    run_dir = run_folder(tmp_path / "r", None, space=OLD_SPACE)
    (run_dir / "results.csv").write_text(OLD_TABLE)
    first, second = read_results(run_dir)
    assert first == TrialResult(
        number=0,
        state="COMPLETE",
        outcome="completed",
        config_id="0",
        reason="max_epochs",
        value=0.5,
        seed=0,
        params={
            "model.depth": 2,
            "model.sizes": "[300, 100]",
            "model.optimizer.name": "adam",
            "model.bias": True,
            "model.kernel": "3",
            "norm": "1",
        },
        best={"val/acc": 0.5},
        last={"val/acc": 1.0},
        best_epoch=2,
        epochs=3,
        attempt=1,
        slot=0,
        started="a",
        finished="b",
        elapsed_s=2.0,
        seconds={"train": 1.5, "total": 2.0},
        parameters=100,
    )
    assert (second.run, second.reason, second.value, second.epochs) == ("7", "ValueError: 1, 2", None, None)
    assert second.params["model.bias"] is False
    assert second.params["model.kernel"] == 2.5
    assert second.params["model.sizes"] is None  # an empty cell, where null can be chosen
    assert "model.optimizer.momentum" not in second.params


def test_a_copy_of_the_new_table_alone_is_read_too(tmp_path: Path) -> None:
    run_dir = run_folder(tmp_path / "r", [completed(0, params={"model.depth": 2, "model.sizes": "[64]"})])
    expected = read_results(run_dir)
    (run_dir / "results.jsonl").unlink()
    assert read_results(run_dir) == expected


def test_an_old_table_that_is_damaged_is_named(tmp_path: Path) -> None:
    run_dir = run_folder(tmp_path / "r", None)
    (run_dir / "results.csv").write_text("number,state,outcome,config_id\nx,COMPLETE,completed,0\n")
    with pytest.raises(StorageError, match=r"results\.csv: must be what sweeps launch writes; damaged"):
        read_results(run_dir)


# Trials of a study


def spec_and_trial(folder: Path, run: str | None = None, **stored: Any) -> tuple[Any, Any]:
    runs = {"late": {"seed_everything": 7}}
    spec = load_spec(run_folder(folder, None, runs=runs, seeds=2, base={"seed_everything": 5}) / "spec.yaml")
    attributes = {"result": stored, "seed_number": 1, "config_id": "c", **({"run": run} if run else {})}
    options = ("[300, 100]", "[64]", None)
    distributions = {"model.optimizer.lr": FloatDistribution(0, 1), "model.sizes": CategoricalDistribution(options)}
    params = {"model.optimizer.lr": 0.5, "model.sizes": None}
    trial = create_trial(
        state=TrialState.COMPLETE, value=0.75, params=params, distributions=distributions, user_attrs=attributes
    )
    return spec, trial


def test_a_trial_that_any_version_stored_becomes_a_result(tmp_path: Path) -> None:
    stored = {"outcome": "completed", "reason": "max_epochs", "schema": 1, "best_epoch": 2, "epochs": 3, "attempt": 1}
    stored |= {"slot": 0, "started": "a", "finished": "b", "elapsed_s": 2.0, "train_s": 1.5, "total_s": 2.0}
    stored |= {"parameters": 10, "peak_memory_bytes": 20, "metrics.val/acc": 0.75, "final.val/loss_s": 0.25}
    spec, trial = spec_and_trial(tmp_path / "r", **stored)
    assert TrialResult.from_trial(spec, trial, Evaluation({"test/acc": 0.5, "test/loss": float("nan")})) == TrialResult(
        number=trial.number,
        state="COMPLETE",
        outcome="completed",
        config_id="c",
        reason="max_epochs",
        value=0.75,
        seed=6,
        params={"model.optimizer.lr": 0.5, "model.sizes": None},
        best={"val/acc": 0.75, "test/acc": 0.5},
        last={"val/loss_s": 0.25},
        best_epoch=2,
        epochs=3,
        attempt=1,
        slot=0,
        started="a",
        finished="b",
        elapsed_s=2.0,
        seconds={"train": 1.5, "total": 2.0},
        parameters=10,
        peak_memory_bytes=20,
    )


def test_the_seed_is_the_one_of_the_run_config(tmp_path: Path) -> None:
    """Also where a named run, or the space, sets `seed_everything`."""
    spec, trial = spec_and_trial(tmp_path / "r", run="late")
    result = TrialResult.from_trial(spec, trial)
    assert result.seed == spec.configuration(trial.params, "late", 1)["seed_everything"] == 8


def test_reading_results_loads_neither_torch_nor_optuna() -> None:
    modules = "sweeps.results.files, sweeps.results.ranking, sweeps.results.status_file, sweeps.trial_folder"
    code = f"import {modules}, sys\nprint(sorted({{'torch', 'lightning', 'optuna', 'numpy'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
