"""What a sweep is compared with: published figures of its named runs, and claims about them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

Values = dict[str, Any]

COLUMNS = ("epochs", "best_epoch", "elapsed_s", "train_s", "parameters", "peak_memory_bytes")
"""What a figure can be of beside metrics: columns of results.csv."""

_LESS_IS_BETTER = ("loss", "error", "rmse", "mse", "mae")


@dataclass(frozen=True)
class Quantity:
    """What is read from a finished run.

    Args:
        metric: A metric, or one of `COLUMNS`.
        at: Of which epoch: `last`, `best` (the one that the checkpoint holds), or its number, from 1.
    """

    metric: str
    at: str | int = "last"

    @property
    def has_epochs(self) -> bool:
        """Whether there is a value for each epoch: a column has one a run, as has a metric on the test set."""
        return self.metric not in COLUMNS and not self.is_test

    @property
    def is_test(self) -> bool:
        return self.metric.startswith("test")

    def __str__(self) -> str:
        if not self.has_epochs:
            return self.metric
        return f"{self.metric}, " + (f"{self.at} epoch" if isinstance(self.at, str) else f"epoch {self.at}")


@dataclass(frozen=True)
class PublishedTable:
    """Published figures of some runs.

    Args:
        quantity: What they are figures of.
        tolerance: The difference that still counts as the same; 0 or more.
        values: The figures by name of the run.
        title: Above the table; empty: what the quantity is called.
        source: Where they come from.
    """

    quantity: Quantity
    tolerance: float
    values: dict[str, float]
    title: str = ""
    source: str = ""

    def dump(self) -> Values:
        """As the spec has it."""
        head = {"title": self.title, "source": self.source, **_dumped(self.quantity)}
        return {**head, "tolerance": self.tolerance, "values": self.values}


@dataclass(frozen=True)
class PublishedClaim:
    """Runs that are said to be better than others, or to be the same.

    Args:
        text: The claim in words.
        quantity: What is compared.
        first: The better runs, or the one of two that are the same.
        second: The worse runs, or the other.
        direction: minimize or maximize: which way is better.
        within: The difference that still counts as the same. `None`: `first` is better than `second`.
    """

    text: str
    quantity: Quantity
    first: list[str]
    second: list[str]
    direction: str = "maximize"
    within: float | None = None

    def dump(self) -> Values:
        """As the spec has it."""
        head = {"claim": self.text, **_dumped(self.quantity)}
        if self.within is not None:
            return {**head, "same": [*self.first, *self.second], "within": self.within}
        return {**head, "better": self.first, "worse": self.second, "direction": self.direction}


def _dumped(quantity: Quantity) -> Values:
    return {"metric": quantity.metric, "at": quantity.at}


def usual_direction(metric: str) -> str:
    """Which way is better, by the last word of a metric's name: of a loss or an error, less."""
    return "minimize" if re.split(r"[^a-z0-9]+", metric.lower())[-1] in _LESS_IS_BETTER else "maximize"
