"""Published figures of the named runs of a spec, and published claims about these runs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sweeps.spec.space import Values

COLUMNS = ("epochs", "best_epoch", "elapsed_s", "train_s", "parameters", "peak_memory_bytes")
"""Columns of results.csv that a figure can be about, beside metrics."""

_LESS_IS_BETTER = ("loss", "error", "rmse", "mse", "mae")


@dataclass(frozen=True)
class Quantity:
    """A value that is read from a finished run.

    Args:
        metric: A metric, or one of `COLUMNS`.
        at: The epoch: `last`, `best` (the epoch of the best checkpoint), or a number from 1.
    """

    metric: str
    at: str | int = "last"

    @property
    def has_epochs(self) -> bool:
        """Whether a run has a value for each epoch. A column and a metric of the test set have one value per run."""
        return self.metric not in COLUMNS and not self.is_test

    @property
    def is_test(self) -> bool:
        """Whether the metric is measured on the test set."""
        return self.metric.startswith("test")

    def __str__(self) -> str:
        if not self.has_epochs:
            return self.metric
        return f"{self.metric}, " + (f"{self.at} epoch" if isinstance(self.at, str) else f"epoch {self.at}")


@dataclass(frozen=True)
class PublishedTable:
    """A table of published figures.

    Args:
        quantity: The quantity that was measured.
        tolerance: Greatest difference that counts as reproduced; 0 or more.
        values: The figures by name of the run.
        title: Title of the table. Empty: the name of the quantity.
        source: Where the figures were published.
    """

    quantity: Quantity
    tolerance: float
    values: dict[str, float]
    title: str = ""
    source: str = ""

    def dump(self) -> Values:
        """Returns the entry of a spec."""
        head = {"title": self.title, "source": self.source, **_quantity_entry(self.quantity)}
        return {**head, "tolerance": self.tolerance, "values": self.values}


@dataclass(frozen=True)
class PublishedClaim:
    """A published claim that some runs are better than others, or that two runs are equal.

    Args:
        text: The claim in words.
        quantity: The quantity that is compared.
        first: The better runs, or one of two equal runs.
        second: The worse runs, or the other of two equal runs.
        direction: `minimize` or `maximize`.
        within: Greatest difference that counts as equal. `None`: the claim is that `first` is better than `second`.
    """

    text: str
    quantity: Quantity
    first: list[str]
    second: list[str]
    direction: str = "maximize"
    within: float | None = None

    def dump(self) -> Values:
        """Returns the entry of a spec."""
        head = {"claim": self.text, **_quantity_entry(self.quantity)}
        if self.within is not None:
            return {**head, "same": [*self.first, *self.second], "within": self.within}
        return {**head, "better": self.first, "worse": self.second, "direction": self.direction}


def _quantity_entry(quantity: Quantity) -> Values:
    return {"metric": quantity.metric, "at": quantity.at}


def usual_direction(metric: str) -> str:
    """Returns `minimize` for a metric that is a loss or an error by the last word of its name, else `maximize`."""
    return "minimize" if re.split(r"[^a-z0-9]+", metric.lower())[-1] in _LESS_IS_BETTER else "maximize"
