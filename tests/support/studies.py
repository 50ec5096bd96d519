"""Small studies for tests of `sweeps.study`: nothing is trained, so the spec's model need not exist."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from sweeps.spec.parse_spec import parse_spec
from sweeps.spec.spec import SweepSpec
from sweeps.study.records import TrialClaim, TrialOutcome, now
from sweeps.study.study import SharedStudy

_CLAIM = """
import sys
from pathlib import Path
from sweeps.spec.parse_spec import load_spec
from sweeps.study.study import SharedStudy
folder = Path(sys.argv[1])
claim = SharedStudy(folder, load_spec(folder / "spec.yaml")).claim(0)
print(claim.number, flush=True)
"""


def study_spec(**changes: Any) -> SweepSpec:
    """A spec of two parameters, whose ranges have a type, so that no class must be loaded to find it."""
    given = {
        "base": {"model": {"class_path": "no.Model"}, "trainer": {"max_epochs": 3}},
        "objective": {"metric": "val/acc", "direction": "maximize"},
        "n_trials": 4,
        "space": {
            "model.network.width": {"low": 4, "high": 16, "type": "int"},
            "model.optimizer.lr": {"low": 1e-3, "high": 1e-1, "log": True, "type": "float"},
        },
        "sampler": {"class_path": "RandomSampler", "init_args": {"seed": 3}},
        **changes,
    }
    return parse_spec(given, Path(), "tiny")


def create_study(folder: Path, spec: SweepSpec | None = None, **changes: Any) -> SharedStudy:
    """Creates or continues a study in a run folder, as a launcher does; `changes` are those of `study_spec`."""
    spec = spec or study_spec(**changes)
    folder.mkdir(exist_ok=True)
    (folder / "spec.yaml").write_text(spec.dump())
    return SharedStudy(folder, spec, create=True)


def claimed(study: SharedStudy) -> TrialClaim:
    """Claims a trial; there must be one."""
    claim = study.claim(0)
    assert claim is not None
    return claim


def complete(study: SharedStudy, claim: TrialClaim, value: float = 0.5) -> bool:
    """Finishes a trial as completed."""
    row = {"outcome": "completed", "finished": now(), "attempt": claim.attempt}
    return study.finish(claim, TrialOutcome(TrialState.COMPLETE, [value], None, row))


def claim_and_die(folder: Path) -> int:
    """Claims a trial in another process, which ends then; returns its number."""
    words = [sys.executable, "-c", _CLAIM, str(folder)]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
