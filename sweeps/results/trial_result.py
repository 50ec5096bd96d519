"""The result of a finished trial."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lit_dl.run.epoch_rows import with_test_metrics
from sweeps.spec.constraint import violations
from sweeps.spec.define_by_run import FunctionSpace
from sweeps.spec.space import Values
from sweeps.spec.spec import SweepSpec
from sweeps.study.configurations import config_id_of, extended_by, extended_number, sample_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from sweeps.study.records import Evaluation

SCHEMA = 2
"""Version of both files of results. Version 1 was `results.csv` alone, with other names for the metrics."""

COLUMNS = (
    "number",
    "state",
    "outcome",
    "reason",
    "value",
    "best_epoch",
    "epochs",
    "seed",
    "elapsed_s",
    "config_id",
    "run",
    "extends",
    "attempt",
    "slot",
    "started",
    "finished",
)
"""The first columns of `results.csv`. All of them are fields of `TrialResult`."""


@dataclass(frozen=True)
class TrialResult:
    """The result of a finished trial: one line of `results.jsonl`, one row of `results.csv`.

    Args:
        number: Number of the trial, from 0.
        state: Optuna's state: COMPLETE, PRUNED or FAIL.
        outcome: completed, pruned, timed_out, diverged, out_of_memory, failed or killed; or extended: it has completed,
            and another trial that went on from it stands in its place.
        config_id: Identifies the configuration. All repeats of a configuration over seeds have the same.
        reason: Why the trial ended.
        value: The first objective at the best epoch; `None` where it is unknown.
        run: Name of the configuration in `runs` of the spec; `None` for a sampled one.
        extends: Number of the trial from whose last epoch it went on; `None`: it began with the first epoch.
        seed: Seed of the run.
        params: Sampled values by name of the parameter. A parameter that does not apply to the trial is missing; one
            that is `None` was chosen to be null.
        best: Metrics of the best epoch, and those on the test set.
        last: Metrics of the last epoch.
        best_epoch: The best epoch, from 1.
        epochs: Number of completed epochs.
        attempt: Number of the attempt that finished the trial, from 1.
        slot: Number of the worker.
        started: Start of the last attempt, UTC.
        finished: End of the trial, UTC.
        elapsed_s: Wall time of the last attempt in seconds.
        seconds: Seconds by part: train, validate, data, checkpoint, tracking, waiting, total.
        parameters: Number of weights and biases.
        peak_memory_bytes: Peak memory: of the process on a CPU, of the tensors on a GPU.
        untested: Why there are no metrics on the test set although the spec asks for them.
        infeasible: Which constraints the trial violates; empty if none. It is known of completed trials.
        violation: By how much, as the sum of shares of the bounds.
    """

    number: int
    state: str
    outcome: str
    config_id: str
    reason: str = ""
    value: float | None = None
    run: str | None = None
    seed: int | None = None
    params: Values = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    best_epoch: int | None = None
    epochs: int | None = None
    attempt: int | None = None
    slot: int | None = None
    started: str | None = None
    finished: str | None = None
    elapsed_s: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    parameters: int | None = None
    peak_memory_bytes: int | None = None
    untested: str | None = None
    extends: int | None = None
    infeasible: str = ""
    violation: float = 0.0

    @property
    def is_completed(self) -> bool:
        """Whether the trial may be ranked."""
        return self.state == "COMPLETE" and not self.is_extended

    @property
    def is_extended(self) -> bool:
        """Whether another trial that went on from this one stands in its place."""
        return self.outcome == "extended"

    @property
    def test_metrics(self) -> dict[str, float]:
        """Those of the metrics in `best` that are of the test set."""
        return {name: value for name, value in self.best.items() if name.startswith("test") and name not in self.last}

    @classmethod
    def from_trial(
        cls,
        spec: SweepSpec,
        trial: FrozenTrial,
        evaluation: Evaluation | None = None,
        extension: FrozenTrial | None = None,
    ) -> TrialResult:
        """Returns the result of a finished trial of a study.

        A worker stores it in the trial's attribute `result` as a flat mapping, in which `metrics.` and `final.` are the
        prefixes of the metrics of the best and of the last epoch. These names are older than `best` and `last`. They
        stay, so that workers of different versions can work on one study.

        Args:
            spec: The spec.
            trial: The trial.
            evaluation: Its evaluation on the test set, where it was evaluated after it had finished.
            extension: The trial that stands in its place, where it was extended.
        """
        stored: dict[str, Any] = trial.user_attrs.get("result", {})
        if extension is not None:
            goes_on = f"trial {extension.number} goes on from it to epoch {extension.user_attrs['max_epochs']}"
            stored = {**stored, "outcome": "extended", "reason": goes_on}
        best = _group(stored, "metrics.")
        tested = evaluation.metrics if evaluation else {}
        is_completed = trial.state.name == "COMPLETE"
        run = trial.user_attrs.get("run")
        config = {**spec.base, **spec.overlay_keys(sample_of(trial), run)}
        violated = violations(spec.constraints, stored) if is_completed else {}
        names = ("best_epoch", "epochs", "attempt", "slot", "started", "finished", "elapsed_s")
        return cls(
            number=trial.number,
            state=trial.state.name,
            outcome=stored.get("outcome", "failed"),
            config_id=config_id_of(trial),
            reason=stored.get("reason", "unknown"),
            value=trial.values[0] if is_completed else best.get(spec.objectives[0].metric),
            run=run,
            extends=extended_number(trial),
            seed=spec.seed(trial.user_attrs.get("seed_number", 0), config),
            params=dict(trial.params),
            best=with_test_metrics(best, {name: value for name, value in tested.items() if math.isfinite(value)}),
            last=_group(stored, "final."),
            seconds={
                key.removesuffix("_s"): value
                for key, value in stored.items()
                if key.endswith("_s") and "." not in key and key != "elapsed_s"
            },
            untested=evaluation.untested if evaluation else stored.get("untested"),
            infeasible=", ".join(violated),
            violation=sum(violated.values()),
            **{name: stored.get(name) for name in (*names, "parameters", "peak_memory_bytes")},
        )

    def to_row(self) -> dict[str, Any]:
        """Returns a flat mapping, with the columns of `results.csv` as keys."""
        row = {name: getattr(self, name) for name in COLUMNS}
        row["schema"] = SCHEMA
        row |= {f"{name}_s": value for name, value in self.seconds.items()}
        row |= {"parameters": self.parameters, "peak_memory_bytes": self.peak_memory_bytes}
        row |= {"untested": self.untested} if self.untested else {}
        row |= {"infeasible": self.infeasible, "violation": self.violation} if self.infeasible else {}
        row |= {f"params.{name}": value for name, value in self.params.items()}
        row |= {f"best.{name}": value for name, value in self.best.items()}
        return row | {f"last.{name}": value for name, value in self.last.items()}


def with_seen_parameters(spec: SweepSpec, results: Iterable[TrialResult]) -> SweepSpec:
    """Returns the spec; where a function defines its space, with the parameters that it suggested in trials alone."""
    if not isinstance(spec.space, FunctionSpace):
        return spec
    return replace(spec, space=spec.space.with_seen(result.params for result in results))


def _group(stored: Mapping[str, Any], prefix: str) -> dict[str, float]:
    return {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)}


def finished_results(
    spec: SweepSpec, trials: Iterable[FrozenTrial], evaluations: Mapping[int, Evaluation]
) -> list[TrialResult]:
    """Returns the results of all finished trials, in the order of the trials.

    Args:
        spec: The spec.
        trials: Trials in any state.
        evaluations: Evaluations on the test set by number of the trial.
    """
    trials = list(trials)
    extensions = extended_by(trials)
    return [
        TrialResult.from_trial(spec, trial, evaluations.get(trial.number), extensions.get(trial.number))
        for trial in trials
        if trial.state.is_finished()
    ]
