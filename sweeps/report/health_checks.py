"""Health checks of a sweep as verdicts: what its numbers do not support, and what to do about it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from sweeps.report.formatting import format_value, trial_label
from sweeps.report.statistics import difference_interval
from sweeps.report.surrogate import predicted_share, share_of_range
from sweeps.report.sweep_data import SweepData
from sweeps.report.templating import render
from sweeps.spec.space import Parameter

_EDGE = 0.05  # share of a range that is its edge
_NEAR_EDGE = 0.1
_PER_PARAMETER = 10  # Loeppky, Sacks and Welch 2009, Choosing the sample size of a computer experiment
_MIN_SHARE = 0.25
_MAX_LOST = 0.1


@dataclass(frozen=True)
class Verdict:
    """A card.

    Args:
        level: `good`, `warning`, or `unknown` where the sweep cannot tell.
        title: The verdict in a few words.
        text: What it rests on, and what to do.
    """

    level: str
    title: str
    text: str


def section(sweep: SweepData) -> Markup:
    """Returns the section as HTML; empty before a trial has ended."""
    return render("health_checks.html", verdicts=verdicts(sweep)) if sweep.results else Markup("")


def verdicts(sweep: SweepData) -> list[Verdict]:
    """Returns all verdicts, warnings first."""
    found = [verdict for check in CHECKS if (verdict := check(sweep)) is not None]
    return sorted(found, key=lambda verdict: ("warning", "unknown", "good").index(verdict.level))


def edges(sweep: SweepData) -> Verdict | None:
    """Is the best configuration at the edge of a range?"""
    if not sweep.ranked or not any(parameter.is_range for parameter in sweep.spec.space):
        return None
    if len(sweep.ranked) < 3:
        return Verdict("unknown", "Edges of the ranges", "It takes three completed configurations to tell.")
    found = [text for parameter in sweep.spec.space if (text := _edge(sweep, parameter)) is not None]
    if not found:
        return Verdict("good", "The best lies inside the ranges", "No range ends where the best configurations are.")
    return Verdict(
        "warning",
        "The best is at the edge of a range",
        f"{'; '.join(found)}. Better ones may lie beyond, where a range can go on.",
    )


def _edge(sweep: SweepData, parameter: Parameter) -> str | None:
    """Returns what lies at which end of a range: the best configuration, and most of the best tenth of all."""
    if not parameter.is_range or parameter.low == parameter.high:
        return None
    if parameter.type == "int" and (parameter.high or 0) - (parameter.low or 0) < 2:
        return None  # both values are ends
    top = sweep.ranked[: max(3, math.ceil(len(sweep.ranked) / 10))]
    values = [entry.best_trial.params.get(parameter.name) for entry in top]
    if values[0] is None:
        return None
    shares = [share_of_range(parameter, float(value)) for value in values if value is not None]
    is_upper = shares[0] > 0.5
    depths = [1 - share if is_upper else share for share in shares]
    near = sum(depth <= _NEAR_EDGE for depth in depths)
    if depths[0] > _EDGE or near <= len(top) / 2:
        return None
    end, word = (parameter.high, "upper") if is_upper else (parameter.low, "lower")
    best, bound = format_value(values[0], 3), format_value(end, 3)
    return f"{sweep.names[parameter.name]}: {best} at its {word} end {bound}, with {near} of the best {len(top)}"


def trust_in_importances(sweep: SweepData) -> Verdict | None:
    """Do the parameters predict the value well enough for importances and plots of single parameters?"""
    if not len(sweep.spec.space):
        return None
    share = predicted_share(sweep)
    if share is None:
        text = "It takes eight completed configurations with different values to tell."
        return Verdict("unknown", "Trust in importances", text)
    text = f"A regression on the parameters predicts {share:.0%} of the differences in rank between left-out trials"
    if share < _MIN_SHARE:
        text += ": noise, or a landscape finer than these trials show. More trials or seeds would tell."
        return Verdict("warning", "Importances are not to be trusted", text)
    return Verdict("good", "The parameters explain the values", f"{text}, so importances mean something.")


def number_of_trials(sweep: SweepData) -> Verdict | None:
    """Are there enough trials for the number of parameters?"""
    varied = len(sweep.spec.space)
    if not varied:
        return None
    n, needed = len(sweep.ranked), _PER_PARAMETER * varied
    text = f"{n} completed configurations for {varied} parameters; the rule of thumb is {needed}, ten a parameter"
    if n < needed:
        return Verdict(
            "warning", "Too few trials", f"{text} (Loeppky et al. 2009). Launch again with a larger n_trials."
        )
    return Verdict("good", "Enough trials", f"{text} (Loeppky et al. 2009).")


def noise(sweep: SweepData) -> Verdict | None:
    """Is the difference between the best configurations larger than the noise between seeds?"""
    if len(sweep.ranked) < 2:
        return None
    if sweep.noise is None:
        text = "Each configuration ran with one seed, so nobody knows how much of its lead is luck: repeat the best"
        return Verdict("unknown", "Noise is unknown", f"{text} over seeds. The best of many looks better than it is.")
    best, *others = [[trial.value or 0.0 for trial in entry.trials] for entry in sweep.ranked]
    tied = sum(_is_tied(best, values) for values in others)
    lead = abs(sweep.ranked[0].mean - sweep.ranked[1].mean)
    text = f"Seeds deviate by {sweep.noise:.2g}; the best leads the second by {lead:.2g}"
    if tied:
        text += f". {tied} of the {len(others)} others cannot be told from it at 95 % (Welch's interval, not corrected"
        text += " for the choice of the best), so more seeds are needed to choose among them."
        return Verdict("warning", "Noise is larger than the differences", text)
    return Verdict("good", "The best stands out from the noise", f"{text}, and no other can be taken for it at 95 %.")


def _is_tied(best: list[float], values: list[float]) -> bool:
    """Returns whether a difference may be zero; without an interval it may."""
    interval = difference_interval([best], [values])
    return interval.half_width is None or interval.contains(0.0) or abs(interval.mean) <= interval.half_width


def budget(sweep: SweepData) -> Verdict | None:
    """Was the best run still improving when its epochs ended?"""
    if not sweep.ranked:
        return None
    trial = sweep.ranked[0].best_trial
    if trial.best_epoch is None or trial.epochs is None or trial.reason != "max_epochs":
        return None
    text = f"{trial_label(trial).capitalize()} was best in epoch {trial.best_epoch} of {trial.epochs}"
    if trial.best_epoch == trial.epochs > 1:
        return Verdict("warning", "The best was still improving", f"{text}: with more epochs the order may differ.")
    return Verdict("good", "The epochs sufficed for the best", f"{text}.")


def losses(sweep: SweepData) -> Verdict | None:
    """Did many trials end without a result?"""
    lost = [trial for trial in sweep.results if trial.outcome not in ("completed", "pruned")]
    share = len(lost) / len(sweep.results)
    counts = Counter(trial.outcome.replace("_", " ") for trial in lost)
    named = ", ".join(f"{number} {outcome}" for outcome, number in counts.items())
    if share <= _MAX_LOST:
        return Verdict(
            "good", "Few trials were lost", f"{len(lost)} of {len(sweep.results)}" + (f": {named}." if lost else ".")
        )
    text = f"{share:.0%} of the trials: {named}. The reasons are under Outcomes; a narrower space wastes less."
    return Verdict("warning", "Many trials gave no result", text)


CHECKS: tuple[Callable[[SweepData], Verdict | None], ...] = (
    edges,
    trust_in_importances,
    number_of_trials,
    noise,
    budget,
    losses,
)
