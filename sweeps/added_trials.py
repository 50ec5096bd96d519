"""Adds a trial with values that the user gives to a sweep, also beside its launcher and its workers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from lit_dl.errors import ConfigError
from sweeps.results.status_file import STATUS_JSON, STOPPED, live_status
from sweeps.spec.given_params import given_params
from sweeps.spec.parse_spec import load_spec
from sweeps.spec.space import Values
from sweeps.spec.spec import SweepSpec
from sweeps.study.attributes import StudyAttributes
from sweeps.study.storage import open_study, require_storage

_FIXED = "fixed_params"  # the system attribute in which Optuna keeps the values of `Study.enqueue_trial`


@dataclass(frozen=True)
class AddedTrial:
    """A trial that was added to a sweep and waits.

    Args:
        number: Its number.
        notes: What is to be said about it: when it runs, how it counts, which trials have had the same values.
    """

    number: int
    notes: list[str]

    def __str__(self) -> str:
        return f"trial {self.number}: {'; '.join(self.notes)}"


def add_trial(run_dir: Path, given: Mapping[str, Any], url: str | None) -> AddedTrial:
    """Adds a trial; see `sweeps.enqueue`. It takes no lock, so it waits for nobody.

    Args:
        run_dir: The run folder.
        given: Values by key of the space.
        url: URL of the storage; `None`: the journal in the run folder.

    Raises:
        ConfigError: The space has no such key, or not this value for it.
        StorageError: The study cannot be opened.
    """
    spec = load_spec(run_dir / "spec.yaml")
    if not given:
        raise ConfigError("params", "must have at least one key of the space; got none")
    values = given_params(given, spec.space)
    require_storage(run_dir, url)
    with closing(open_study(run_dir, spec, url, create=False)) as handle:
        before, total = handle.trials(), StudyAttributes(handle).total
        waiting = create_trial(state=TrialState.WAITING, system_attrs={_FIXED: values})
        trial_id = handle.storage.create_new_trial(handle.study._study_id, waiting)
        number = handle.storage.get_trial_number_from_id(trial_id)
    notes = [_when(run_dir), _count(number, spec, total)]
    return AddedTrial(number, [*notes, *_same(before, values)])


def _when(run_dir: Path) -> str:
    state = str(live_status(run_dir)["state"]) if (run_dir / STATUS_JSON).is_file() else "running"
    if state.startswith(STOPPED):
        return f"the sweep has {state}; it runs when stop is changed in the spec, or left out"
    return "it runs next" if state == "running" else f"the sweep does not run ({state}); launch it again to run it"


def _count(number: int, spec: SweepSpec, total: int) -> str:
    if number >= total:
        return f"on top of n_trials={total}"
    return f"one of n_trials={total}" if spec.seeds == 1 else f"{spec.seeds} of n_trials={total}, one a seed"


def _same(trials: list[FrozenTrial], values: Values) -> list[str]:
    """Returns a note on the trials that ran or will run with the same values."""
    same = [trial for trial in trials if values == (trial.params or trial.system_attrs.get(_FIXED))]
    names = ", ".join(f"{trial.number} ({trial.state.name})" for trial in same)
    if not same:
        return []
    return [f"trial {names} has the same values" if len(same) == 1 else f"trials {names} have the same values"]
