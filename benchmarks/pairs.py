"""Paired timings: two things in turn, the ratio pair by pair, because the machine's speed drifts."""

from __future__ import annotations

import platform
from collections.abc import Callable
from statistics import median
from time import perf_counter, process_time

import torch


def paired(first: Callable[[], object], second: Callable[[], object], pairs: int) -> tuple[list[float], list[float]]:
    """CPU seconds of each, after one call that does not count."""
    first()
    second()
    timed = [(_cpu_s(first), _cpu_s(second)) for _ in range(pairs)]
    return [a for a, _ in timed], [b for _, b in timed]


def _cpu_s(function: Callable[[], object]) -> float:
    started = process_time()
    function()
    return process_time() - started


def wall_s(function: Callable[[], object]) -> float:
    """Elapsed seconds of one call."""
    started = perf_counter()
    function()
    return perf_counter() - started


def spread(values: list[float]) -> str:
    """Median, and the least and greatest."""
    return f"{median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def ratio(first: list[float], second: list[float]) -> str:
    """The ratio of each pair: median, least, greatest."""
    return spread([a / b for a, b in zip(first, second, strict=True)])


def circumstances() -> str:
    """Where and with what this was measured."""
    import lightning

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return f"Python {platform.python_version()}, torch {torch.__version__}, lightning {lightning.__version__}, {device}"
