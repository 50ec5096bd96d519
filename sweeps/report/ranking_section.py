"""The section with the ranking: the best configurations, and their runs over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from markupsafe import Markup

from sweeps.report import configurations
from sweeps.report.formatting import format_mean, format_value, shorten
from sweeps.report.sweep_data import SweepData
from sweeps.report.tables import Cell, Row, Table, metric_cell, time_cell, value_cell
from sweeps.report.templating import render
from sweeps.results.ranking import RankedConfiguration
from sweeps.results.trial_result import TrialResult

MAX_ROWS = 50  # all trials have a table of their own
_PARAM_LENGTH = 24


def section(sweep: SweepData) -> Markup:
    """Returns the section as HTML."""
    return render(
        "ranking.html",
        ranked=ranked_table(sweep),
        configurations=configurations.panel(sweep),
        more=max(len(sweep.ranked) - MAX_ROWS, 0),
    )


def ranked_table(sweep: SweepData) -> Table | None:
    """Returns the best configurations with a completed trial, best first; `None` without any."""
    if not sweep.ranked:
        return None
    other_objectives = [objective.metric for objective in sweep.spec.objectives[1:]]
    tests = sorted({name for entry in sweep.ranked for name in entry.best_trial.test_metrics})
    is_named = any(entry.run for entry in sweep.ranked)
    heads = ["rank", "trials" if sweep.has_repeats else "trial", *(["configuration"] if is_named else [])]
    heads += ["infeasible"] if sweep.spec.constraints else []
    heads += [sweep.metric, *other_objectives, "epoch", *sweep.names.values(), *tests, "weights", "time"]
    rows = []
    for rank, entry in enumerate(sweep.ranked[:MAX_ROWS], start=1):
        trial = entry.best_trial
        cells = [Cell(str(rank), rank), Cell(", ".join(map(str, entry.numbers)), trial.number)]
        cells += [Cell(entry.run or "")] if is_named else []
        cells += [Cell(entry.infeasible, entry.violation)] if sweep.spec.constraints else []
        cells += [Cell(format_mean(entry), entry.mean)]
        cells += [metric_cell(entry, metric) for metric in other_objectives]
        cells += [value_cell(trial.best_epoch), *_param_cells(sweep, trial)]
        cells += [_test_cell(entry, metric) for metric in tests]
        cells += [value_cell(trial.parameters), time_cell(trial)]
        rows.append(Row(cells, trial.number in sweep.best_numbers))
    return Table(heads, rows)


def _test_cell(entry: RankedConfiguration, metric: str) -> Cell:
    """Returns a metric on the test set as its mean over the seeds, as the ranking takes the objective."""
    return value_cell(_mean([trial.best[metric] for trial in entry.trials if metric in trial.best]))


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _param_cells(sweep: SweepData, trial: TrialResult) -> list[Cell]:
    params = sweep.params(trial)
    return [_param_cell(params[name]) if name in params else Cell("-", "") for name in sweep.names]


def _param_cell(value: object) -> Cell:
    cell = Cell(format_value(value)) if value is None else value_cell(value, digits=3)
    return Cell(shorten(cell.text, _PARAM_LENGTH), cell.text if cell.sort_key is None else cell.sort_key)
