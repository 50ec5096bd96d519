"""Sweeps of `tiny_spec` whose worker runs in the process of the test."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweep_specs import resolved_spec

from lit_dl.tracking import Mode
from sweeps.results.trial_result import finished_results
from sweeps.spec.spec import SlotSize
from sweeps.study.study import SharedStudy
from sweeps.worker.loop import work
from sweeps.worker.run_trial import WorkerContext


def sweep(folder: Path, stop: Any = None, **changes: Any) -> tuple[SharedStudy, list[dict[str, Any]]]:
    """Runs a whole sweep here; its study and its rows."""
    study, run_dir = launched(folder, **changes), folder / "run"
    join(run_dir, "disabled", stop)
    return study, [
        result.to_row() for result in finished_results(study.spec, study.trials(), study.attributes.evaluations())
    ]


def launched(folder: Path, slot: SlotSize | None = None, **changes: Any) -> SharedStudy:
    """A study in a run folder, as a launcher leaves them to its workers; a slot as on a machine with GPUs."""
    run_dir = folder / "run"
    run_dir.mkdir(exist_ok=True)
    spec = resolved_spec(folder, **changes)
    spec = replace(spec, slot=slot or spec.slot)
    (run_dir / "spec.yaml").write_text(spec.dump())
    return SharedStudy(run_dir, spec, create=True)


def join(run_dir: Path, wandb: Mode | None = None, stop: Any = None) -> None:
    """Runs a worker here."""
    work(run_dir, None, WorkerContext(run_dir, 0, 1, wandb, stop or threading.Event()))
