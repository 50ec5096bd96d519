"""The study as a sampler is to see it: with trials of older sweeps, and each extended trial once."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from sweeps.study.extensions import has_extensions, newest_as_one


def seen_by_sampler(study: Study, older: Sequence[FrozenTrial] = ()) -> Study:
    """Returns the study with older trials before its own, and with a trial and its extensions as one.

    Args:
        study: The study.
        older: Trials of older sweeps, which are none of the study.
    """
    if not older and not has_extensions(study):
        return study
    seen = copy(study)
    seen._storage = _SamplerView(study._storage, older)  # type: ignore[assignment]
    return seen


class _SamplerView:
    """A storage that shows other trials than it holds; everything else is that of the storage behind it."""

    def __init__(self, storage: Any, older: Sequence[FrozenTrial]) -> None:
        self._storage = storage
        self._older = older

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Sequence[TrialState] | None = None
    ) -> list[FrozenTrial]:
        older = self._older if states is None or TrialState.COMPLETE in states else []
        trials = newest_as_one(self._storage.get_all_trials(study_id, deepcopy=deepcopy))
        return [*older, *(trial for trial in trials if states is None or trial.state in states)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)
