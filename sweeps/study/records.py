"""A trial that is somebody's to run, and how it ended, in plain values: they cross processes as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from lit_dl.files import write_text
from sweeps.spec.space import Values

RESULT = "result.json"


def now() -> str:
    """The time as results have it: UTC, to be compared as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def killed(reason: str, attempt: int | None) -> dict[str, Any]:
    """The row of a trial that nobody will run again."""
    return {"outcome": "killed", "reason": reason, "attempt": attempt, "finished": now()}


@dataclass(frozen=True)
class TrialClaim:
    """A trial that is this process's to run.

    Args:
        number: Of the trial, from 0.
        trial_id: The storage's own number for it.
        attempt: From 1; greater when an earlier owner died or was interrupted.
        values: Sampled values by parameter.
        run: Its name in `runs` of the spec; `None` for a sampled configuration.
        config_id: The same for the repeats of one configuration over seeds.
        seed_number: Which repeat, from 0.
    """

    number: int
    trial_id: int
    attempt: int
    values: Values
    run: str | None
    config_id: str
    seed_number: int


@dataclass(frozen=True)
class TrialOutcome:
    """How a trial ended, for Optuna.

    Args:
        state: COMPLETE, PRUNED or FAIL.
        values: Of the objectives; COMPLETE only.
        constraint: Name of a constraint that the trial violated, so that samplers avoid what it tried.
        row: The rest of its row in the table of results.
        untold: Objective by epoch, where the storage could not be told in time.
    """

    state: TrialState
    values: list[float] | None
    constraint: str | None
    row: dict[str, Any]
    untold: dict[str, float] = field(default_factory=dict)


def write_outcome(folder: Path, study_uid: str, verdict: TrialOutcome) -> None:
    """Keeps a verdict on this disk, where it is safe until the study's storage has it."""
    values = {**asdict(verdict), "state": verdict.state.name, "study": study_uid}
    write_text(folder / RESULT, json.dumps(values, indent=1), durable=True)


def read_outcome(folder: Path, study_uid: str) -> TrialOutcome | None:
    """The verdict that an earlier attempt of this study reached and nobody was told; `None` without one."""
    try:
        values = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        if values.pop("study") != study_uid:
            return None
        return TrialOutcome(**{**values, "state": TrialState[values["state"]]})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
