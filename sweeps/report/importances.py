"""The importances of the parameters, by Optuna's PED-ANOVA."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import plotly.graph_objects as go
from markupsafe import Markup

from sweeps.report.plot_style import Panel, axis, make_figure, marker_style, plot_text
from sweeps.report.sweep_data import SweepData
from sweeps.report.templating import render_panel

MIN_CONFIGURATIONS = 4
_ROUGH_BELOW = 50


def section(sweep: SweepData) -> Markup:
    """Returns the section as HTML; empty in a sweep without a search space."""
    return render_panel("importances", panel(sweep)) if len(sweep.spec.space) else Markup("")


def panel(sweep: SweepData) -> Panel:
    """Returns the importance of each parameter, or a note why it cannot be computed."""
    varying = _varying(sweep)
    if len(sweep.ranked) < MIN_CONFIGURATIONS:
        have = f"completed so far: {len(sweep.ranked)}"
        return Panel(None, f"Not computed: it takes at least {MIN_CONFIGURATIONS} configurations; {have}.")
    if not varying:
        return Panel(None, "Not computed: no parameter of the space varies between completed trials.")
    if len({entry.mean for entry in sweep.ranked}) == 1:
        return Panel(None, "Not computed: all completed trials have the same value.")
    importances, used = _importances(sweep, varying)
    if not importances:
        return Panel(None, "Not computed: too few completed trials lie inside the ranges of the space.")
    names, shares = [plot_text(sweep.names[name], 40) for name in importances], list(importances.values())
    bars = go.Bar(
        x=shares,
        y=names,
        orientation="h",
        marker={"color": marker_style("completed")[0]},
        text=[f"{share:.0%}" if share >= 0.01 or not share else "< 1%" for share in shares],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )
    x = axis(showticklabels=False, showgrid=False, range=[0, 1.12 * max(shares)])
    y = axis(autorange="reversed", showgrid=False, ticksuffix=" ")
    figure = make_figure([bars], xaxis=x, yaxis=y, bargap=0.35)
    figure.update_layout(margin={"t": 4, "b": 8})
    return Panel(figure, _note(sweep, used), height=40 + 34 * len(names))


def _varying(sweep: SweepData) -> list[str]:
    """Returns the parameters with more than one value among the ranked configurations; "not set" counts as a value."""
    params = [sweep.params(entry.best_trial) for entry in sweep.ranked]
    return [p.name for p in sweep.spec.space if len({repr(v.get(p.name, "not set")) for v in params}) > 1]


def _note(sweep: SweepData, used: int) -> str:
    top = math.ceil(0.1 * used)
    what = "configurations, by their means over seeds" if sweep.has_repeats else "completed trials"
    few = " With so few this is rough: it says where to look, not what is so." if used < _ROUGH_BELOW else ""
    left_out = f" {len(sweep.ranked) - used} outside the space are left out." if used < len(sweep.ranked) else ""
    return (
        f"PED-ANOVA on {used} {what}: how differently the best tenth ({top}) and all of them are spread over a "
        f"parameter; shares of the sum.{few}{left_out}"
    )


def _importances(sweep: SweepData, varying: Sequence[str]) -> tuple[dict[str, float], int]:
    """Returns the importances, greatest first, and the number of configurations that they are computed from.

    Optuna computes them for a study, so one is made in memory, in which a configuration is a trial with the mean as its
    value.
    """
    import optuna

    with quiet_optuna():
        study = optuna.create_study(direction="maximize" if sweep.sign < 0 else "minimize")
        trials: list[optuna.trial.FrozenTrial] = []
        for entry in sweep.ranked:
            params = {name: value for name, value in sweep.params(entry.best_trial).items() if name in varying}
            distributions = {name: sweep.spec.space.parameters[name].distribution() for name in params}
            try:
                trial = optuna.trial.create_trial(params=params, distributions=distributions, value=entry.mean)
            except ValueError:  # a configuration of `runs` may lie outside the ranges
                continue
            trials.append(trial)
        study.add_trials(trials)
        known = [name for name in varying if any(name in trial.params for trial in trials)]
        if len(trials) < MIN_CONFIGURATIONS or not known:
            return {}, len(trials)
        return optuna.importance.get_param_importances(study, params=known), len(trials)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silences Optuna's log of the new study, and warnings about what the note below the plot says."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
