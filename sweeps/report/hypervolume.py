"""The hypervolume over trials of a sweep with several objectives, and the knee of its Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from sweeps.report.importances import quiet_optuna
from sweeps.report.plot_style import Panel, axis, make_figure, marker_style
from sweeps.report.sweep_data import SweepData
from sweeps.results.ranking import RankedConfiguration, winners
from sweeps.results.trial_result import TrialResult

_TITLE = "Hypervolume over trials"
_MARGIN = 0.1  # of the range of an objective, by which the reference point is worse than the worst value


def panel(sweep: SweepData) -> Panel:
    """Returns the hypervolume that the completed trials dominate, in order of finishing, as a share of the last."""
    trials = [trial for trial in sweep.completed if all(map(math.isfinite, _values(sweep, trial)))]
    if len(trials) < 2:
        return Panel(None, "Not drawn: it takes two completed trials with all objectives.", _TITLE)
    reference = _reference_point(sweep, trials)
    volumes = _volumes(sweep, trials, reference)
    line = go.Scatter(
        x=list(range(1, len(volumes) + 1)),
        y=[volume / volumes[-1] if volumes[-1] else 0.0 for volume in volumes],
        mode="lines",
        line={"shape": "hv", "color": marker_style("completed")[0], "width": 2},
        hovertemplate="after %{x} trials: %{y:.1%}<extra></extra>",
    )
    x = axis("completed trials, in order of finishing", tickformat="d")
    figure = make_figure([line], xaxis=x, yaxis=axis("share of the last", tickformat=".0%", range=[0, 1.05]))
    named = zip(sweep.spec.objectives, reference, strict=True)
    point = ", ".join(f"{objective.metric} {value:.4g}" for objective, value in named)
    note = f"The space that the front dominates, up to the reference point ({point}): a tenth of the range beyond the"
    return Panel(
        figure, f"{note} worst. Where the line is flat, trials improved nothing.", "Hypervolume over trials", 300
    )


def _values(sweep: SweepData, trial: TrialResult) -> list[float]:
    return [trial.best.get(objective.metric, math.nan) for objective in sweep.spec.objectives]


def _reference_point(sweep: SweepData, trials: Sequence[TrialResult]) -> list[float]:
    point = []
    for objective, values in zip(
        sweep.spec.objectives, zip(*(_values(sweep, t) for t in trials), strict=True), strict=True
    ):
        costs = [objective.sign * value for value in values]
        worst, margin = max(costs), _MARGIN * (max(costs) - min(costs)) or _MARGIN
        point.append(objective.sign * (worst + margin))
    return point


def _volumes(sweep: SweepData, trials: Sequence[TrialResult], reference: Sequence[float]) -> list[float]:
    """Returns the hypervolume after each trial, by Optuna, whose plot of it is taken for its numbers."""
    import optuna

    with quiet_optuna():
        directions = [optuna.study.StudyDirection[objective.direction.upper()] for objective in sweep.spec.objectives]
        study = optuna.create_study(directions=directions)
        study.add_trials([optuna.trial.create_trial(values=_values(sweep, trial)) for trial in trials])
        figure = optuna.visualization.plot_hypervolume_history(study, list(reference))
    return [float(volume) for volume in figure.data[0].y]


def knee(sweep: SweepData) -> RankedConfiguration | None:
    """Returns the configuration of the front that is nearest to the ideal point; `None` with fewer than three.

    The ideal point has the best value of each objective on the front. Each objective is scaled by its range there, so
    that units do not matter.
    """
    front = [entry for entry in winners(sweep.ranked) if entry.on_pareto_front]
    costs = [[_cost(entry, o.metric, o.sign) for o in sweep.spec.objectives] for entry in front]
    known = [(entry, row) for entry, row in zip(front, costs, strict=True) if all(map(math.isfinite, row))]
    if len(known) < 3:
        return None
    columns = list(zip(*(row for _, row in known), strict=True))
    low, span = [min(column) for column in columns], [max(column) - min(column) or 1.0 for column in columns]

    def distance(item: tuple[RankedConfiguration, list[float]]) -> float:
        return math.hypot(*((cost - least) / width for cost, least, width in zip(item[1], low, span, strict=True)))

    return min(known, key=distance)[0]


def _cost(entry: RankedConfiguration, metric: str, sign: float) -> float:
    mean, _ = entry.statistics(metric)
    return math.inf if mean is None else sign * mean
