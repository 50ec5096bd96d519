"""Paired timings: two functions in turn and the ratio of each pair, because the speed of the machine drifts."""

from __future__ import annotations

import platform
from collections.abc import Callable
from statistics import median
from time import perf_counter, process_time

import torch


def paired(first: Callable[[], object], second: Callable[[], object], pairs: int) -> tuple[list[float], list[float]]:
    """Returns the CPU seconds of each call of both functions, after one warm-up call."""
    first()
    second()
    timed = [(_cpu_s(first), _cpu_s(second)) for _ in range(pairs)]
    return [a for a, _ in timed], [b for _, b in timed]


def _cpu_s(function: Callable[[], object]) -> float:
    started = process_time()
    function()
    return process_time() - started


def wall_s(function: Callable[[], object]) -> float:
    """Returns the elapsed seconds of one call."""
    started = perf_counter()
    function()
    return perf_counter() - started


def spread(values: list[float]) -> str:
    """Formats median, minimum and maximum."""
    return f"{median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def ratio(first: list[float], second: list[float]) -> str:
    """Formats the ratios of the pairs: median, minimum, maximum."""
    return spread([a / b for a, b in zip(first, second, strict=True)])


def circumstances() -> str:
    """Returns the versions and the device of a measurement."""
    import lightning

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return f"Python {platform.python_version()}, torch {torch.__version__}, lightning {lightning.__version__}, {device}"
