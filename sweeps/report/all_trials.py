"""The section with all trials: a table that sorts and filters, and shows what each trial left."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from sweeps.report.data_table import Column, DataTable, number_column, value_column
from sweeps.report.sweep_data import SweepData
from sweeps.report.templating import render


def section(sweep: SweepData) -> Markup:
    """Returns the section as HTML."""
    if not sweep.trials:
        return Markup('<p class="note">No trial has begun.</p>')
    return render("all_trials.html", table=table(sweep), metric=sweep.metric)


def table(sweep: SweepData) -> DataTable:
    """Returns all trials: the ranked ones, best first, then the others by number."""
    trials = sweep.trials
    is_named = any(trial.run for trial in trials)
    tests = sorted({name for trial in trials for name in trial.test_metrics})
    others = [objective.metric for objective in sweep.spec.objectives[1:]]
    columns = [
        number_column("trial", [trial.number for trial in trials]),
        *([Column("configuration", [trial.run for trial in trials])] if is_named else []),
        Column("outcome", [trial.outcome.replace("_", " ") for trial in trials]),
        number_column(sweep.metric, [trial.value for trial in trials], sweep.decimals),
        number_column("to best", _differences(sweep), sweep.decimals),
        *[number_column(metric, [trial.best.get(metric) for trial in trials]) for metric in others],
        *[value_column(sweep.names[name], _param_values(sweep, name)) for name in sweep.names],
        *[number_column(metric, [trial.best.get(metric) for trial in trials]) for metric in tests],
        *([number_column("seed", [trial.seed for trial in trials])] if sweep.has_repeats else []),
        number_column("best epoch", [trial.best_epoch for trial in trials]),
        number_column("epochs", [trial.epochs for trial in trials]),
        number_column("weights", [trial.parameters for trial in trials]),
        number_column("seconds", [trial.elapsed_s for trial in trials]),
        Column("why it ended", [trial.reason or None for trial in trials]),
    ]
    return DataTable(columns, list(range(len(trials))))


def _differences(sweep: SweepData) -> list[float | None]:
    """Returns the value of each completed trial minus the best one."""
    best = min((sweep.sign * trial.value for trial in sweep.completed if trial.value is not None), default=0.0)
    return [
        trial.value - sweep.sign * best if trial.is_completed and trial.value is not None else None
        for trial in sweep.trials
    ]


def _param_values(sweep: SweepData, name: str) -> list[Any]:
    """Returns the value of a parameter in each trial; a chosen null is a word, to tell it from "does not apply"."""
    return ["null" if trial.params.get(name, "") is None else trial.params.get(name) for trial in sweep.trials]
