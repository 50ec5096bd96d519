"""An estimate of the time that the rest of a sweep takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace
from statistics import fmean

_MORE = 0.25
"""Share of the mean duration that a trial is taken to need yet when it has run longer than all that have ended."""
_GOLDEN = 0.6180339887  # multiples of it, modulo 1, are spread evenly, however many they are


@dataclass(frozen=True)
class RunningTrial:
    """A trial that runs.

    Args:
        elapsed_s: Seconds since its start.
        whole_s: Seconds that all its epochs take, by those that it has completed; `None`: not known.
    """

    elapsed_s: float
    whole_s: float | None = None


def estimate_left_s(finished: Sequence[float], running: Sequence[RunningTrial], waiting: int, workers: int) -> float:
    """Returns the seconds until the last trial ends.

    The share of trials that have ended is misleading where trials run side by side: those that have ended are the
    short ones, and those that run have done part of their work. Here the durations of the trials that have ended
    and of those that still run give the distribution of all durations (Kaplan and Meier, 1958). The trials to come are
    taken from it at even quantiles, and are given to the workers one after another.

    Args:
        finished: Durations in seconds of the trials that have ended, at least one.
        running: The trials that run.
        waiting: Number of trials to come.
        workers: Number of workers, at least one.
    """
    distribution = _distribution(finished, running)
    durations = _quantiles(distribution, waiting)
    free = [_left_s(trial, distribution) for trial in running]
    free += [0.0] * (workers - len(free))
    heapify(free)
    for duration in durations:
        heapreplace(free, free[0] + duration)
    return max(free)


def _distribution(finished: Sequence[float], running: Sequence[RunningTrial]) -> list[tuple[float, float]]:
    """Returns durations, rising, with their probabilities."""
    longest = max(finished)
    known = [trial.whole_s for trial in running if trial.whole_s is not None and trial.elapsed_s > longest]
    ended = [(duration, True) for duration in (*finished, *known)]
    going_on = [(trial.elapsed_s, False) for trial in running if trial.whole_s is None or trial.elapsed_s <= longest]
    steps, rest = [], 1.0
    events = sorted([*ended, *going_on])
    for number, (duration, has_ended) in enumerate(events):
        if has_ended:
            share = rest / (len(events) - number)
            steps.append((duration, share))
            rest -= share
    if rest > 1e-9:
        steps.append((events[-1][0] + _MORE * fmean(duration for duration, _ in events), rest))
    return steps


def _quantiles(distribution: Sequence[tuple[float, float]], count: int) -> list[float]:
    """Returns durations at even quantiles in mixed order, scaled to the mean of the distribution."""
    durations = [_quantile(distribution, (0.5 + number * _GOLDEN) % 1) for number in range(count)]
    scale = count * sum(duration * share for duration, share in distribution) / (sum(durations) or 1.0)
    return [scale * duration for duration in durations]


def _quantile(distribution: Sequence[tuple[float, float]], level: float) -> float:
    for duration, share in distribution:
        level -= share
        if level <= 0:
            return duration
    return distribution[-1][0]


def _left_s(trial: RunningTrial, distribution: Sequence[tuple[float, float]]) -> float:
    """Returns the seconds that a running trial still takes: the mean over the durations that are above its own."""
    longer = [(duration, share) for duration, share in distribution if duration > trial.elapsed_s]
    left = sum((duration - trial.elapsed_s) * share for duration, share in longer)
    return left / sum(share for _, share in longer) if longer else 0.0
