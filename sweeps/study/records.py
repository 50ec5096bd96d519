"""A claimed trial and the outcome of a trial, as plain values that cross processes as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from lit_dl.files import write_text
from sweeps.spec.space import Values

RESULT = "result.json"


def now() -> str:
    """Returns the time in UTC, as text that sorts by time."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def killed_row(reason: str, attempt: int | None) -> dict[str, Any]:
    """Returns the result row of a trial that is not attempted any more."""
    return {"outcome": "killed", "reason": reason, "attempt": attempt, "finished": now()}


@dataclass(frozen=True)
class TrialClaim:
    """A trial that this process has claimed and may run.

    Args:
        number: The trial number, from 0.
        trial_id: The id of the trial in the storage.
        attempt: From 1; each claim of the trial increases it.
        values: Sampled values by parameter.
        run: Name of the configuration in `runs` of the spec; `None` for a sampled configuration.
        config_id: Identifies the configuration; the same for all its repeats over seeds.
        seed_number: Index of the repeat, from 0.
        extends: Number of the trial from whose last epoch it goes on; `None`: it starts with the first epoch.
        max_epochs: Number of epochs of a trial that extends another; `None`: as in the base.
    """

    number: int
    trial_id: int
    attempt: int
    values: Values
    run: str | None
    config_id: str
    seed_number: int
    extends: int | None = None
    max_epochs: int | None = None

    def is_current(self, trial: FrozenTrial) -> bool:
        """Returns whether the trial, as just read, still belongs to this claim."""
        attrs = trial.user_attrs
        return trial.state == TrialState.RUNNING and attrs.get("attempt") == self.attempt and bool(attrs.get("owner"))


@dataclass(frozen=True)
class TrialOutcome:
    """The outcome of a trial, for Optuna and for the table of results.

    Args:
        state: COMPLETE, PRUNED or FAIL.
        values: Values of the objectives; COMPLETE only.
        constraints: Constraints by name; a value above 0 is a violation, so that samplers avoid the trial's values.
        row: The other columns of its row in the table of results.
        untold: Objective by epoch that could not be reported, because the storage was unavailable.
    """

    state: TrialState
    values: list[float] | None
    constraints: dict[str, float] | None
    row: dict[str, Any]
    untold: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a trial on the test set, after it had finished.

    Args:
        metrics: What the module logged, by name.
        untested: Why there are no metrics; `None`: there are.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    untested: str | None = None


def write_outcome(folder: Path, study_uid: str, outcome: TrialOutcome) -> None:
    """Saves an outcome in the trial folder, until the study's storage has it."""
    values = {**asdict(outcome), "state": outcome.state.name, "study": study_uid}
    write_text(folder / RESULT, json.dumps(values, indent=1), durable=True)


def read_outcome(folder: Path, study_uid: str) -> TrialOutcome | None:
    """Reads an outcome that an earlier attempt saved and did not report; `None` without one of this study."""
    try:
        values = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        if values.pop("study") != study_uid:
            return None
        if "constraint" in values:  # as older versions wrote it
            name = values.pop("constraint")
            values["constraints"] = None if name is None else {name: 1.0}
        return TrialOutcome(**{**values, "state": TrialState[values["state"]]})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
