"""A claimed trial becomes a verdict: told results, timeouts, and memory that runs out."""

from __future__ import annotations

import csv
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.trial import TrialState
from sweep_specs import resolved_spec, tiny_spec

from lit_dl.config.keys import get_key
from lit_dl.config.yaml_io import load_yaml
from lit_dl.run.run import Run
from sweeps.results.trial_result import finished_results
from sweeps.spec.spec import SweepSpec
from sweeps.study.records import RESULT, TrialOutcome, now, write_outcome
from sweeps.study.study import SharedStudy
from sweeps.trial_folder import TrialFolder
from sweeps.worker.loop import work
from sweeps.worker.run_trial import WorkerContext, processes_of

NEEDY = """
import torch
from lit_dl import Classifier

class Needy(Classifier):
    '''Has memory for no more than 10 samples.'''

    def training_step(self, batch, batch_idx):
        batches = getattr(batch, "batches", [batch])
        if max(len(labels) for _, labels in batches) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return super().training_step(batch, batch_idx)
"""
CPU_ALLOCATOR = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"


def open_study(folder: Path, spec: SweepSpec) -> SharedStudy:
    run_dir = folder / "run"
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "spec.yaml").write_text(spec.dump())
    return SharedStudy(run_dir, spec, create=True)


def worked(folder: Path, study: SharedStudy) -> list[dict[str, Any]]:
    work(folder / "run", None, WorkerContext(folder / "run", 0, 1, "disabled", threading.Event()))
    return [result.to_row() for result in finished_results(study.spec, study.trials(), study.attributes.evaluations())]


def sweep(folder: Path, **changes: Any) -> list[dict[str, Any]]:
    study = open_study(folder, resolved_spec(folder, **{"n_trials": 1, "evaluate_test": "none", **changes}))
    return worked(folder, study)


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_result_that_nobody_was_told_is_told_by_the_next_attempt_which_does_not_run(
    tmp_path: Path, is_ours: bool
) -> None:
    study = open_study(tmp_path, resolved_spec(tmp_path, n_trials=1, evaluate_test="none"))
    claim = study.claim(0)
    assert claim is not None
    folder = TrialFolder(tmp_path / "run", 0).path
    folder.mkdir(parents=True)
    row = {"outcome": "completed", "reason": "max_epochs", "attempt": 1, "finished": now(), "slot": 7}
    uid = study.attributes.uid if is_ours else "of an earlier study"
    write_outcome(folder, uid, TrialOutcome(TrialState.COMPLETE, [0.0625], None, row))
    study.release(claim)
    (told,) = worked(tmp_path, study)
    assert ((told["value"], told["slot"], told["attempt"]) == (0.0625, 7, 1)) == is_ours
    assert (folder / "config.yaml").exists() != is_ours  # what a run begins with
    assert not (folder / RESULT).exists()


def test_a_trial_that_takes_too_long_ends_and_says_so(tmp_path: Path) -> None:
    given = tiny_spec(tmp_path)
    given["base"]["trainer"]["max_epochs"] = 100_000
    given["base"]["early_stopping"] = {"patience": None}
    (row,) = sweep(tmp_path, base=given["base"], trial_timeout_s=1)
    assert (row["state"], row["outcome"]) == ("PRUNED", "timed_out")
    assert row["reason"] == "it took more than trial_timeout_s, 1 s"
    assert row["epochs"] >= 1


def test_the_time_of_earlier_attempts_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = open_study(tmp_path, resolved_spec(tmp_path, n_trials=1, evaluate_test="none", trial_timeout_s=500))
    stop = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(SharedStudy, "report", lambda self, claim, epoch, value: stop.set() if epoch == 2 else None)
        work(tmp_path / "run", None, WorkerContext(tmp_path / "run", 0, 1, "disabled", stop))
    assert [trial.state for trial in study.trials()] == [TrialState.WAITING]
    path = TrialFolder(tmp_path / "run", 0).metrics
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "elapsed_s": 499 + int(row["epoch"])} for row in rows)
    (row,) = worked(tmp_path, study)
    assert (row["state"], row["outcome"], row["attempt"]) == ("PRUNED", "timed_out", 2)


def give(error: BaseException) -> Callable[..., None]:
    def fit(self: Run, resume: bool) -> None:
        raise error

    return fit


def too_much(self: Run, resume: bool) -> None:
    torch.empty(1 << 60, dtype=torch.uint8)


@pytest.mark.parametrize(
    "fit",
    [
        give(torch.OutOfMemoryError("CUDA out of memory")),
        give(MemoryError()),
        give(RuntimeError(CPU_ALLOCATOR)),
        give(RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported")),
        give(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")),
        give(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")),
        too_much,
    ],
)
def test_memory_that_runs_out_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit: Callable[..., None]
) -> None:
    monkeypatch.setattr(Run, "fit", fit)
    study = open_study(tmp_path, resolved_spec(tmp_path, n_trials=1, evaluate_test="none"))
    (row,) = worked(tmp_path, study)
    assert (row["state"], row["outcome"]) == ("PRUNED", "out_of_memory")
    assert study.trials()[0].constraints == {"out_of_memory": 1.0}


@pytest.fixture
def needy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Makes the base of a model that has memory for 10 samples."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "needy", raising=False)
    (tmp_path / "needy.py").write_text(NEEDY)

    def make(batch_size: int, **trainer: Any) -> dict[str, Any]:
        base = tiny_spec(tmp_path)["base"]
        base["model"] = {"class_path": "needy.Needy", "init_args": base["model"]}
        base["data"]["batch_size"] = batch_size
        base["trainer"] |= trainer
        return base  # type: ignore[no-any-return]

    return make


def metrics(folder: Path) -> list[dict[str, float]]:
    with (TrialFolder(folder / "run", 0).metrics).open(newline="") as file:
        return [{key: float(value) for key, value in row.items() if key != "elapsed_s"} for row in csv.DictReader(file)]


SPACE = {"model.network.width": {"choices": [8]}}


@pytest.mark.parametrize("batch_size", [20, 40])  # 200 samples: whole batches
def test_a_trial_that_ran_out_of_memory_gives_with_less_at_a_time_what_it_gives_with_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], needy: Callable[..., dict[str, Any]], batch_size: int
) -> None:
    (row,) = sweep(tmp_path, base=needy(batch_size), space=SPACE, retry_out_of_memory=True)
    assert row["outcome"] == "completed"
    config = load_yaml(TrialFolder(tmp_path / "run", 0).config)
    assert get_key(config, "data.batch_size") == 10
    assert get_key(config, "trainer.accumulate_grad_batches") == batch_size // 10
    assert capsys.readouterr().out.count("out of memory (OutOfMemoryError: CUDA out of memory.") == batch_size // 20
    base = tiny_spec(tmp_path)["base"]
    base["data"]["batch_size"] = batch_size
    (expected,) = sweep(tmp_path / "enough", base=base, space=SPACE)
    assert row["best_epoch"] == expected["best_epoch"]
    for one, other in zip(metrics(tmp_path / "enough"), metrics(tmp_path), strict=True):
        assert other == pytest.approx(one, rel=1e-5)


def test_a_trial_that_was_interrupted_goes_on_with_the_batch_that_it_has_memory_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needy: Callable[..., dict[str, Any]]
) -> None:
    changes = {"n_trials": 1, "evaluate_test": "none", "space": SPACE, "retry_out_of_memory": True}
    study = open_study(tmp_path, resolved_spec(tmp_path, base=needy(40), **changes))
    stop, told = threading.Event(), list[int]()

    def report(study: SharedStudy, claim: Any, epoch: int, value: float | None) -> None:
        told.append(epoch)
        if len(told) == 2:
            stop.set()

    monkeypatch.setattr(SharedStudy, "report", report)
    work(tmp_path / "run", None, WorkerContext(tmp_path / "run", 0, 1, "disabled", stop))
    (row,) = worked(tmp_path, study)
    assert (row["outcome"], row["attempt"]) == ("completed", 2)
    assert told in ([1, 2, 2, 3], [1, 2, 3])  # the second epoch may be on disk or not


@pytest.mark.parametrize(("batch_size", "retry"), [(25, True), (20, False)])
def test_where_the_batch_cannot_or_shall_not_be_halved_the_trial_ran_out_of_memory(
    tmp_path: Path, needy: Callable[..., dict[str, Any]], batch_size: int, retry: bool
) -> None:
    (row,) = sweep(tmp_path, base=needy(batch_size), space=SPACE, retry_out_of_memory=retry)
    assert (row["state"], row["outcome"]) == ("PRUNED", "out_of_memory")
    assert row["reason"] == "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"


@pytest.mark.parametrize(("devices", "count"), [(2, 2), ("2", 2), ([0, 3], 2), (1, 1), ("auto", 1), (None, 1)])
def test_a_trial_has_one_process_a_device(devices: Any, count: int) -> None:
    assert processes_of({"trainer": {"devices": devices}}) == count
