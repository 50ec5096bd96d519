"""The data of a report: spec, results, ranking and state of a sweep, read from its run folder."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import quantiles
from typing import Any

from lit_dl.errors import StorageError
from sweeps.report.formatting import decimals_of_interval, short_names
from sweeps.results.files import read_results
from sweeps.results.ranking import RankedConfiguration, ranking, winners
from sweeps.results.status_file import read_status
from sweeps.results.trial_result import TrialResult, with_seen_parameters
from sweeps.spec.parse_spec import load_spec
from sweeps.spec.space import Values
from sweeps.spec.spec import SweepSpec
from sweeps.study.liveness import is_alive
from sweeps.trial_folder import Curve, TrialFolder, folders_with_metrics


@dataclass(frozen=True)
class SweepData:
    """A sweep in any state, as its run folder has it.

    Args:
        run_dir: The run folder, as given on the command line.
        spec: The resolved spec.
        results: Results of the finished trials, in order of their ends.
        ranked: Configurations with a completed trial, best first; see `sweeps.results.ranking`.
        unfinished: Trials that have begun, with state RUNNING and what is known of them.
        state: running, finished, killed, or another state that the launcher wrote last.
    """

    run_dir: Path
    spec: SweepSpec
    results: list[TrialResult]
    ranked: list[RankedConfiguration]
    unfinished: list[TrialResult]
    state: str

    @property
    def metric(self) -> str:
        """Name of the first objective."""
        return self.spec.objectives[0].metric

    @property
    def sign(self) -> float:
        """Factor that makes less of the first objective better."""
        return self.spec.objectives[0].sign

    @property
    def newest(self) -> list[TrialResult]:
        """Results without those of trials in whose place an extension stands, which has their epochs too."""
        return [result for result in self.results if not result.is_extended]

    @property
    def completed(self) -> list[TrialResult]:
        return [result for result in self.results if result.is_completed]

    @property
    def unranked(self) -> list[TrialResult]:
        """Finished trials that are not completed."""
        return [result for result in self.results if not result.is_completed]

    @cached_property
    def trials(self) -> list[TrialResult]:
        """All trials that have begun: the ranked ones, best first, then the others by number."""
        ranked = [trial for entry in self.ranked for trial in entry.trials]
        others = [*self.unranked, *self.unfinished]
        return ranked + sorted(others, key=lambda trial: trial.number)

    @cached_property
    def noise(self) -> float | None:
        """Standard deviation of a value between seeds, pooled over configurations; `None` without repeats."""
        repeated = [(entry.std, len(entry.trials) - 1) for entry in self.ranked if entry.std is not None]
        freedom = sum(n for _, n in repeated)
        return (sum(std**2 * n for std, n in repeated) / freedom) ** 0.5 if freedom else None

    @cached_property
    def decimals(self) -> int | None:
        """Decimals that a value supports: two digits of the noise between seeds, else what tells trials apart.

        `None`: nothing is known, so the numbers decide.
        """
        if self.noise:
            return decimals_of_interval(self.noise)
        values = [trial.value for trial in self.completed if trial.value is not None]
        low, _, high = quantiles(values, n=4) if len(values) > 3 else (0.0, 0.0, 0.0)
        return decimals_of_interval(high - low) if high > low else None

    @property
    def has_repeats(self) -> bool:
        """Whether any configuration has completed with more than one seed."""
        return any(len(entry.trials) > 1 for entry in self.ranked)

    @cached_property
    def names(self) -> dict[str, str]:
        """Short names of the parameters by full name."""
        return short_names(parameter.name for parameter in self.spec.space)

    @cached_property
    def best_numbers(self) -> set[int]:
        """Numbers of the trials of the best configuration, or of those on the Pareto front; empty without one."""
        return {number for entry in winners(self.ranked) for number in entry.numbers}

    @property
    def best_name(self) -> str:
        """What the best configurations are called, which plots mark."""
        return "Pareto front" if len(self.spec.objectives) > 1 else "best configuration"

    def counts(self) -> dict[str, int]:
        """Returns the number of trials by outcome, finished ones first."""
        return dict(Counter(result.outcome for result in [*self.results, *self.unfinished]))

    def folder(self, number: int) -> TrialFolder:
        """Returns the folder of a trial."""
        return TrialFolder(self.run_dir, number)

    def params(self, result: TrialResult) -> Values:
        """Returns the parameters of a trial in the order of the space. One that does not apply to it is missing."""
        return {p.name: result.params[p.name] for p in self.spec.space if p.name in result.params}

    def curve(self, number: int, metric: str | None = None) -> Curve:
        """Returns a metric of a trial by epoch; empty where it has not logged it, or left no readable metrics.csv.

        Args:
            number: Number of the trial.
            metric: Name of the metric; `None`: the first objective.
        """
        try:
            return self.folder(number).read_curve(metric or self.metric)
        except StorageError:
            return []

    @cached_property
    def curves(self) -> dict[int, Curve]:
        """The first objective by epoch, of all trials that have logged it."""
        curves = {trial.number: self.curve(trial.number) for trial in self.trials if not trial.is_extended}
        return {number: curve for number, curve in curves.items() if curve}


def option_index(options: Sequence[Any], value: Any) -> int:
    """Returns the index of an option of a parameter. The types are compared too, because `True == 1 == 1.0`."""
    return [(type(option), option) for option in options].index((type(value), value))


def read_sweep(run_dir: Path) -> SweepData:
    """Reads a run folder, in whatever state its sweep is.

    Raises:
        StorageError: The folder is not the run folder of a sweep.
    """
    results = sorted(map(_finite, read_results(run_dir)), key=lambda result: (result.finished or "", result.number))
    spec = with_seen_parameters(load_spec(run_dir / "spec.yaml"), results)
    status = _status(run_dir)
    ended = sum(result.extends is None for result in results)
    state = str(status.get("state") or ("finished" if ended >= spec.n_trials else "unfinished"))
    unfinished = _unfinished(run_dir, results, status, state)
    return SweepData(run_dir, spec, results, ranking(results, spec.objectives), unfinished, state)


def _finite(result: TrialResult) -> TrialResult:
    """Returns a result without its numbers that are not finite; who completed with such a value has diverged."""
    best, last = (
        {name: value for name, value in metrics.items() if math.isfinite(value)}
        for metrics in (result.best, result.last)
    )
    if result.value is None or math.isfinite(result.value):
        return replace(result, best=best, last=last)
    diverged: dict[str, Any] = {"state": "PRUNED", "outcome": "diverged"} if result.is_completed else {}
    return replace(result, best=best, last=last, value=None, **diverged)


def _status(run_dir: Path) -> dict[str, Any]:
    """Returns the content of status.json. The state is `killed` when the launcher is gone and could not write it."""
    try:
        status = read_status(run_dir)
    except StorageError:  # the launcher was stopped within its first second, or the folder is a copy without the file
        return {}
    if status.get("state") == "running" and not is_alive(status.get("launcher") or {}):
        return {**status, "state": "killed"}
    return status


def _unfinished(run_dir: Path, results: list[TrialResult], status: Mapping[str, Any], state: str) -> list[TrialResult]:
    finished = {result.number for result in results}
    running = {entry["number"]: entry for entry in status.get("running") or []}
    begun = {folder.number for folder in folders_with_metrics(run_dir)}
    outcome = "running" if state == "running" else "interrupted"
    trials = []
    for number in sorted({*running, *begun} - finished):
        entry = running.get(number, {})
        params = entry.get("params") or {}
        trials.append(
            TrialResult(number, "RUNNING", outcome, config_id=str(number), params=params, epochs=entry.get("epoch"))
        )
    return trials
