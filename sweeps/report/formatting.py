"""How a report spells names, values, times and trials. All of it is plain text, not HTML."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from sweeps.results.ranking import RankedConfiguration
from sweeps.results.trial_result import TrialResult

_AMBIGUOUS_NAMES = ("name", "class_path", "kind", "type")
_MOST_DECIMALS = 8


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Returns for each dotted name its shortest ending that is clear and unique: `optimizer.name`, not `name`."""
    full = list(names)
    short = {name: _ending(name, 2 if name.split(".")[-1] in _AMBIGUOUS_NAMES else 1) for name in full}
    length = 2
    while len(set(short.values())) < len(full):
        uses = Counter(short.values())
        short = {name: _ending(name, length) if uses[text] > 1 else text for name, text in short.items()}
        length += 1
    return short


def _ending(name: str, length: int) -> str:
    return ".".join(name.split(".")[-length:])


def format_value(value: Any, digits: int = 4) -> str:
    """Returns a value as YAML spells it, with a number of significant digits for floats."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    return str(value)


def format_mean(entry: RankedConfiguration, digits: int = 5) -> str:
    """Returns the mean of a configuration, with the standard deviation over its seeds where it has several."""
    return _with_std(entry.mean, entry.std, digits)


def format_metric(entry: RankedConfiguration, metric: str, digits: int = 5) -> str:
    """Returns the mean of a metric as `format_mean` does; empty where no trial has it."""
    mean, std = entry.statistics(metric)
    return "" if mean is None else _with_std(mean, std, digits)


def _with_std(mean: float, std: float | None, digits: int) -> str:
    """Returns a mean with the decimals that its deviation supports."""
    if std is None:
        return format_value(mean, digits)
    decimals = decimals_of_interval(std)
    if not std or decimals > _MOST_DECIMALS:
        return f"{format_value(mean, digits)} ± {std:.2g}"
    return f"{mean:.{decimals}f} ± {std:.{decimals}f}"


def decimals_of_interval(width: float) -> int:
    """Returns the decimals of a number that is known up to `width`: those of the second digit of the width."""
    return max(0, 1 - math.floor(math.log10(width))) if 0 < width < math.inf else 0


def format_duration(seconds: float) -> str:
    """Returns a duration in seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def shorten(text: str, length: int) -> str:
    """Returns a text of at most `length` characters; of an import path its last part, which is the class."""
    last = text.rpartition(".")[2]
    if len(text) > length and last.isidentifier():
        text = last
    return text if len(text) <= length else text[: length - 1] + "…"


def trial_label(result: TrialResult) -> str:
    """Returns the number of a trial, and the name of its configuration if that has one."""
    return f"trial {result.number}" + (f", {result.run}" if result.run else "")
