"""The estimate of the time left, against sweeps whose durations are drawn: unequal, pruned, on several workers."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from statistics import fmean

import pytest

from sweeps.time_left import RunningTrial, estimate_left_s

Draw = Callable[[random.Random], tuple[float, float]]
"""Duration of a trial, and what it would be without pruning."""


def equal(_: random.Random) -> tuple[float, float]:
    return 10.0, 10.0


def unequal(source: random.Random) -> tuple[float, float]:
    duration = source.uniform(5, 15)
    return duration, duration


def mostly_pruned(source: random.Random) -> tuple[float, float]:
    whole = source.uniform(7, 13)
    return (whole if source.random() < 0.4 else whole * source.uniform(0.1, 0.3)), whole


def ratio(n: int, workers: int, draw: Draw, seed: int) -> float:
    """The estimate by the time that is left, just after a quarter of the trials has ended."""
    source = random.Random(seed)
    free, trials = [0.0] * workers, []
    for _ in range(n):
        start = heapq.heappop(free)
        duration, whole = draw(source)
        trials.append((start, start + duration, whole))
        heapq.heappush(free, start + duration)
    now = sorted(end for _, end, _ in trials)[math.ceil(n / 4) - 1] + 0.1
    finished = [end - start for start, end, _ in trials if end <= now]
    running = [(now - start, whole) for start, end, whole in trials if start <= now < end]
    known = [RunningTrial(elapsed, whole if elapsed > whole / 10 else None) for elapsed, whole in running]
    left = estimate_left_s(finished, known, n - len(finished) - len(running), workers)
    return left / (max(end for _, end, _ in trials) - now)


@pytest.mark.parametrize("workers", [1, 2, 4, 8])
@pytest.mark.parametrize(
    ("draw", "n", "within"),
    [(equal, 16, 1.0), (equal, 40, 1.0), (unequal, 16, 0.85), (unequal, 40, 0.95), (mostly_pruned, 100, 0.85)],
)
def test_after_a_quarter_of_the_trials_it_is_within_30_percent(draw: Draw, n: int, within: float, workers: int) -> None:
    ratios = [ratio(n, workers, draw, seed) for seed in range(100)]
    assert fmean(abs(value - 1) <= 0.3 for value in ratios) >= within
    assert fmean(ratios) == pytest.approx(1, abs=0.12)


def test_it_is_exact_where_trials_take_equally_long() -> None:
    assert estimate_left_s([10.0] * 3, [RunningTrial(4.0), RunningTrial(1.0)], 3, 2) == pytest.approx(6 + 10 + 10)


def test_a_trial_that_runs_longer_than_all_is_taken_by_its_epochs() -> None:
    assert estimate_left_s([10.0], [RunningTrial(20.0, 50.0)], 0, 1) == pytest.approx(30)
    assert 0 < estimate_left_s([10.0], [RunningTrial(20.0)], 0, 1) < 10


def test_nothing_is_left_when_all_have_ended() -> None:
    assert estimate_left_s([10.0], [], 0, 4) == 0


def test_trials_of_no_length_take_no_time() -> None:
    assert estimate_left_s([0.0], [RunningTrial(0.0)], 5, 2) == 0
