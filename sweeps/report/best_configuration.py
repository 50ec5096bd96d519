"""The section on the best configuration, and the header of the page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from statistics import fmean, stdev

from markupsafe import Markup

from sweeps.report.formatting import format_mean, format_value
from sweeps.report.sweep_data import SweepData
from sweeps.report.templating import render
from sweeps.results.ranking import RankedConfiguration, none_feasible
from sweeps.results.trial_result import TrialResult


def header(sweep: SweepData) -> Markup:
    """Returns name, state, counts, objectives, and the rule of the ranking as HTML."""
    extensions = sum(result.extends is not None for result in sweep.results)
    facts = f"{sweep.state} · {len(sweep.results) - extensions} of {sweep.spec.n_trials} trials have ended"
    facts += f", and {extensions} extension{'s' * (extensions > 1)}" if extensions else ""
    infeasible = sum(bool(result.infeasible) for result in sweep.results)
    more = {"completed": f", {infeasible} of them infeasible" if infeasible else ""}
    counts = ", ".join(
        f"{n} {outcome.replace('_', ' ')}{more.get(outcome, '')}" for outcome, n in sweep.counts().items()
    )
    objectives = " and ".join(f"{objective.direction} {objective.metric}" for objective in sweep.spec.objectives)
    facts += (f": {counts}" if counts else "") + f" · {objectives}"
    return render("header.html", name=sweep.spec.name, facts=facts, rule=_rule(sweep))


def _rule(sweep: SweepData) -> str:
    rule = f"Ranked are completed trials only, by the mean of {sweep.metric} over the seeds of a configuration"
    if len(sweep.spec.objectives) > 1:
        rule += ", after those that no other beats in all objectives"
    if sweep.spec.constraints:
        bounds = ", ".join(f"{name} {constraint}" for name, constraint in sweep.spec.constraints.items())
        rule += f"; those with a trial that violates a constraint ({bounds}) come last and are never the best"
    return f"{rule}; the value of a trial is that of its best epoch, the one its checkpoint holds."


def section(sweep: SweepData) -> Markup:
    """Returns the best configuration as HTML: value, parameters, metrics, files and commands; see `pareto_front`."""
    if not sweep.ranked:
        why = "none has ended" if not sweep.results else "those that ended were pruned, diverged or failed"
        text = "<p><strong>No trial has completed yet</strong>, so nothing is ranked: {}.</p>"
        return Markup(text).format(why)
    if why := none_feasible(sweep.ranked):
        return Markup("<p><strong>There is no best configuration</strong>: {}.</p>").format(why)
    if len(sweep.spec.objectives) > 1:
        return Markup("")  # there is no best one, but a front: see `pareto_front`
    entry = sweep.ranked[0]
    number = entry.best_trial.number
    folder = sweep.folder(number)
    return render(
        "best_configuration.html",
        mean=format_mean(entry),
        metric=sweep.metric,
        trials=_trials(entry),
        params=_params(sweep, entry),
        **_metrics(entry),
        checkpoint=folder.checkpoint(),
        replay=f"sweeps replay {shlex.quote(str(sweep.run_dir))} --trial {number}",
        fit=f"lit-dl fit --config {shlex.quote(str(folder.config))}",
    )


def _trials(entry: RankedConfiguration) -> str:
    """Returns name, trials and epoch, such as `relu, mean over 3 seeds, trials 0, 1, 2; best run: trial 1, epoch 5`."""
    trial = entry.best_trial
    text = f"{entry.run}, " if entry.run else ""
    if len(entry.trials) > 1:
        numbers = ", ".join(map(str, entry.numbers))
        text += f"mean over {len(entry.trials)} seeds, trials {numbers}; best run: "
    text += f"trial {trial.number}"
    if trial.best_epoch is not None:
        text += f", epoch {trial.best_epoch}" + (f" of {trial.epochs}" if trial.epochs is not None else "")
    return text


def _params(sweep: SweepData, entry: RankedConfiguration) -> list[tuple[str, str, str]]:
    """Returns name, short text and full text of each value that the configuration sets."""
    listed = sweep.spec.runs.get(entry.run or "", {})
    values = {**listed, **sweep.params(entry.best_trial)}
    return [(name, format_value(value, 6), str(value)) for name, value in values.items()]


def _metrics(entry: RankedConfiguration) -> dict[str, object]:
    """Returns the metrics of the best trial, those on the test set first; with several seeds their means too."""
    trial, has_repeats = entry.best_trial, len(entry.trials) > 1
    names = sorted({*trial.best, *trial.last}, key=lambda name: (name not in trial.test_metrics, name))
    rows = []
    for name in names:
        cells = [_cell(trial.best.get(name)), _cell(trial.last.get(name))]
        rows.append((name, [*cells, *([_mean(entry.trials, name)] if has_repeats else [])]))
    heads = ["best epoch", "last epoch", *(["best epoch, mean over seeds"] if has_repeats else [])]
    tested = {"is_tested": bool(trial.test_metrics), "untested": entry.untested}
    return {"metric_heads": heads, "metrics": rows, **tested}


def _cell(value: float | None) -> str:
    return "" if value is None else format_value(value, 5)


def _mean(trials: Sequence[TrialResult], name: str) -> str:
    values = [trial.best[name] for trial in trials if name in trial.best]
    return f"{fmean(values):.5g} ± {stdev(values):.2g}" if len(values) > 1 else ""
