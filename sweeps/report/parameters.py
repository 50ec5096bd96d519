"""Figures of all parameters together: how much each matters, and parallel coordinates."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import plotly.graph_objects as go

from sweeps.report.plot_style import Panel, axis, ends, figure, index_of, look, plain, ticks_of, value_axis, worth
from sweeps.report.sweep_data import SweepData, show
from sweeps.results import Row
from sweeps.spec.space import Parameter

LEAST_FOR_IMPORTANCE = 4
_UNSET = "not set"


def importances(sweep: SweepData) -> Panel:
    """How much each parameter matters for being among the best, or why that cannot be said."""
    varying = _varying(sweep)
    if len(sweep.ranked) < LEAST_FOR_IMPORTANCE:
        few = f"completed so far: {len(sweep.ranked)}"
        return Panel(None, f"Not computed: it takes at least {LEAST_FOR_IMPORTANCE} configurations; {few}.")
    if not varying:
        return Panel(None, "Not computed: no parameter of the space varies between completed trials.")
    if len({entry["mean"] for entry in sweep.ranked}) == 1:
        return Panel(None, "Not computed: all completed trials have the same value.")
    found, used = _importances(sweep, varying)
    if not found:
        return Panel(None, "Not computed: too few completed trials lie inside the ranges of the space.")
    names, shares = [plain(sweep.names[name], 40) for name in found], list(found.values())
    bars = go.Bar(
        x=shares,
        y=names,
        orientation="h",
        marker={"color": look("completed")[0]},
        text=[f"{share:.0%}" if share >= 0.01 or not share else "< 1%" for share in shares],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )
    x = axis(showticklabels=False, showgrid=False, range=[0, 1.12 * max(shares)])
    drawn = figure([bars], xaxis=x, yaxis=axis(autorange="reversed", showgrid=False, ticksuffix=" "), bargap=0.35)
    drawn.update_layout(margin={"t": 4, "b": 8})
    return Panel(drawn, _basis(sweep, used), height=40 + 34 * len(names))


def _varying(sweep: SweepData) -> list[str]:
    values = [sweep.values(entry) for entry in sweep.ranked]
    return [p.name for p in sweep.spec.space if len({str(v.get(p.name, _UNSET)) for v in values}) > 1]


def _basis(sweep: SweepData, used: int) -> str:
    top = math.ceil(0.1 * used)
    what = "configurations, by their means over seeds" if sweep.repeats else "completed trials"
    few = " With so few this is rough: it says where to look, not what is so." if used < 50 else ""
    left_out = f" {len(sweep.ranked) - used} outside the space are left out." if used < len(sweep.ranked) else ""
    return (
        f"PED-ANOVA on {used} {what}: how differently the best tenth ({top}) and all of them are spread over a "
        f"parameter; shares of the sum.{few}{left_out}"
    )


def _importances(sweep: SweepData, varying: list[str]) -> tuple[dict[str, float], int]:
    """Shares by parameter, greatest first, from a study in memory; and on how many configurations they rest."""
    import optuna

    with _quiet():
        study = optuna.create_study(direction="maximize" if sweep.sign < 0 else "minimize")
        for entry in sweep.ranked:
            values = {name: value for name, value in sweep.values(entry).items() if name in varying}
            kinds = {name: sweep.spec.space.parameters[name].distribution() for name in values}
            try:
                trial = optuna.trial.create_trial(params=values, distributions=kinds, value=entry["mean"])
            except ValueError:  # a configuration of `runs` outside the ranges
                continue
            study.add_trial(trial)
        trials = study.get_trials(deepcopy=False)
        known = [name for name in varying if any(name in trial.params for trial in trials)]
        if len(trials) < LEAST_FOR_IMPORTANCE or not known:
            return {}, len(trials)
        return optuna.importance.get_param_importances(study, params=known), len(trials)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Optuna from announcing the study, and from warning of what the note below the figure says."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def parallel(sweep: SweepData) -> Panel:
    """A line for each completed configuration through all its parameters to its value."""
    parameters = list(sweep.spec.space)
    if not parameters or len(sweep.ranked) < 2:
        return Panel(None, "Not drawn: it takes a parameter and two completed configurations.")
    entries = sorted(sweep.ranked, key=lambda entry: -sweep.sign * entry["mean"])  # the best is drawn last, on top
    dimensions = [_dimension(sweep, parameter, entries) for parameter in parameters]
    last, left_out = _value_dimension(sweep, entries)
    dimensions += [*_other_objectives(sweep, entries), last]
    lines = go.Parcoords(
        line={"color": last["values"], **worth(last["values"], sweep.sign)},
        dimensions=dimensions,
        labelfont={"size": 12},
        tickfont={"size": 11},
        rangefont={"size": 10, "color": "rgba(0,0,0,0)"},  # repeats the ends of the axes
        labelangle=0,
    )
    note = (
        "The darker, the better. Drag along an axis to keep only the lines through there; drag a name to move its axis."
    )
    if any(not p.is_range for p in parameters):
        note += " Within a choice, lines are fanned out from worse to better."
    if any(len(sweep.values(entry)) < len(parameters) for entry in entries):
        note += f" “{_UNSET}”: the parameter does not apply to that configuration."
    if left_out:
        note += " Far worse values are drawn at the end of the axis."
    drawn = figure([lines], margin={"l": 70, "r": 70, "t": 48, "b": 20})
    return Panel(drawn, note, height=420, min_width=90 * len(dimensions) + 60)


def _value_dimension(sweep: SweepData, entries: list[Row]) -> tuple[dict[str, Any], str]:
    """The axis of the objective, with outliers moved to its end; and a text when there are any."""
    means = [entry["mean"] for entry in entries]
    settings, left_out = value_axis(means, sweep.metric, sweep.sign)
    log = settings["type"] == "log"
    places = [math.log10(mean) if log else mean for mean in means]
    low, high = settings.get("range", (min(places), max(places)))
    places = [min(max(place, low), high) for place in places]
    low, high = min(places), max(places)
    ticks = ticks_of(10**low if log else low, 10**high if log else high, log)
    dimension = {"label": f"<b>{plain(sweep.metric, 18)}</b>", "values": places, "range": ends(low, high)}
    dimension["tickvals"] = [math.log10(tick) if log else tick for tick in ticks]
    return dimension | {"ticktext": [show(float(tick), 4) for tick in ticks]}, left_out


def _other_objectives(sweep: SweepData, entries: list[Row]) -> list[dict[str, Any]]:
    keys = [f"metrics.{objective.metric}" for objective in sweep.spec.objectives[1:]]
    known = [key for key in keys if all(key in entry for entry in entries)]
    return [{"label": plain(key.removeprefix("metrics."), 18), "values": [e[key] for e in entries]} for key in known]


def _dimension(sweep: SweepData, parameter: Parameter, entries: list[Row]) -> dict[str, Any]:
    values = [sweep.values(entry).get(parameter.name, _UNSET) for entry in entries]
    name = plain(sweep.names[parameter.name], 18)
    if parameter.is_range:
        return {"label": f"{name}{' (log)' if parameter.log else ''}", **_number_line(parameter, values)}
    options = [*parameter.options(), *([_UNSET] if _UNSET in values else [])]
    places = [index_of(options, value) for value in values]
    many = len(places) - 1
    fanned = [place + 0.3 * (rank / many - 0.5) for rank, place in enumerate(places)]
    texts = [plain(show(option), 14) for option in options]
    dimension = {"label": name, "values": fanned, "range": [-0.3, len(options) - 0.7]}
    return dimension | {"tickvals": list(range(len(options))), "ticktext": texts}


def _number_line(parameter: Parameter, values: list[Any]) -> dict[str, Any]:
    """Places, range and ticks of a range; what is not set gets a place of its own below."""

    def place(value: float) -> float:
        return math.log10(value) if parameter.log else value

    assert parameter.low is not None
    assert parameter.high is not None
    numbers = [float(value) for value in values if value != _UNSET and not (parameter.log and float(value) <= 0)]
    low, high = min([parameter.low, *numbers]), max([parameter.high, *numbers])
    ticks = ticks_of(low, high, parameter.log, whole=parameter.type == "int")
    low_end, high_end = ends(place(low), place(high))
    below = low_end - 0.15 * (high_end - low_end)
    unset = len(numbers) < len(values)
    return {
        "values": [below if value == _UNSET else place(float(value)) for value in values],
        "range": [below if unset else low_end, high_end],
        "tickvals": ([below] if unset else []) + [place(tick) for tick in ticks],
        "ticktext": ([_UNSET] if unset else []) + [show(tick) for tick in ticks],
    }
