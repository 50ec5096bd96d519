"""Constraints: bounds of a metric, or of another figure of a trial, that the best trial must meet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lit_dl.errors import ConfigError, never_logged, suggest
from sweeps.spec.value_checks import finite_number, mapping, mapping_or_null

FIGURES = (
    *("parameters", "peak_memory_bytes", "epochs", "best_epoch", "elapsed_s"),
    *("train_s", "validate_s", "data_s", "checkpoint_s", "tracking_s", "waiting_s", "total_s"),
)
"""Columns of a result that a constraint may name like a metric."""


@dataclass(frozen=True)
class Constraint:
    """Bounds of a metric at the moment of the objective's value, or of another figure of a trial.

    Args:
        low: The least value that is allowed; `None`: no lower bound.
        high: The greatest value that is allowed; `None`: no upper bound.
    """

    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        bounds = (("at least", self.low), ("at most", self.high))
        return " and ".join(f"{name} {bound:g}" for name, bound in bounds if bound is not None)

    def amounts(self, value: float | None) -> dict[str, float]:
        """Returns how far a value is beyond each bound, as a share of the bound, by `low` or `high`.

        A bound is met where that is 0 or less, as Optuna has it. Shares make figures of different units comparable,
        since samplers add them up. A value that is missing meets no bound.
        """
        bounds = {"low": (self.low, -1.0), "high": (self.high, 1.0)}
        return {
            name: 1.0 if value is None else sign * (value - bound) / (abs(bound) or 1.0)
            for name, (bound, sign) in bounds.items()
            if bound is not None
        }

    def problem(self, value: float | None) -> str:
        """Returns which bound a value violates, such as `7.1 is above 5`; an empty text if none."""
        if value is None:
            return "is missing"
        if self.high is not None and value > self.high:
            return f"{value:.6g} is above {self.high:.6g}"
        return f"{value:.6g} is below {self.low:.6g}" if self.low is not None and value < self.low else ""


Constraints = Mapping[str, Constraint]
"""Constraints by the name of the metric or figure."""


def _figure(name: str, row: Mapping[str, Any]) -> float | None:
    """Returns what a constraint is about, from the row of results that a worker stores."""
    value: float | None = row.get(f"metrics.{name}", row.get(name))
    return value


def constraint_values(constraints: Constraints, row: Mapping[str, Any], only_known: bool = False) -> dict[str, float]:
    """Returns the constraints of a trial as Optuna takes them: a value above 0 is a violation.

    Args:
        constraints: The constraints.
        row: The trial's row of results, as a worker stores it.
        only_known: Whether figures that are missing are left out; otherwise they are violations.
    """
    figures = {name: _figure(name, row) for name in constraints}
    return {
        f"{name}.{bound}": amount
        for name, constraint in constraints.items()
        if figures[name] is not None or not only_known
        for bound, amount in constraint.amounts(figures[name]).items()
    }


def violations(constraints: Constraints, row: Mapping[str, Any]) -> dict[str, float]:
    """Returns what a trial violates, such as `latency_ms 7.1 is above 5`, with its amount as a share of the bound."""
    found = {}
    for name, constraint in constraints.items():
        value = _figure(name, row)
        if problem := constraint.problem(value):
            found[f"{name} {problem}"] = max(constraint.amounts(value).values())
    return found


def parse_constraints(given: object) -> dict[str, Constraint]:
    """Returns the constraints in a mapping.

    Raises:
        ConfigError: A bound is no number, is unknown, or both contradict each other.
    """
    entries = mapping_or_null(given, "constraints")
    return {str(name): _parse(f"constraints.{name}", entry) for name, entry in entries.items()}


def _parse(key: str, given: object) -> Constraint:
    if not isinstance(given, Mapping):
        raise ConfigError(key, f"must be a mapping with low, high or both, such as {{high: 5}}; got {given!r}")
    bounds = mapping(given, key)
    for name in bounds:
        if name not in ("low", "high"):
            raise ConfigError(
                f"{key}.{name}",
                f"no such bound; write high for the greatest value that is allowed, low for the least"
                f"{suggest(str(name), ('low', 'high'))}",
            )
    values = {name: finite_number(bound, f"{key}.{name}") for name, bound in bounds.items() if bound is not None}
    if not values:
        raise ConfigError(key, f"must have low, high or both, such as {{high: 5}}; got {given!r}")
    constraint = Constraint(**values)
    if len(values) == 2 and values["low"] > values["high"]:
        raise ConfigError(f"{key}.low", f"must be at most high={values['high']:g}; got {values['low']:g}")
    return constraint


def check_logged(constraints: Iterable[str], metrics: Iterable[str]) -> None:
    """Refuses constraints on what is neither among the metrics that a run logs nor a figure of every trial.

    Args:
        constraints: Names of what they are about.
        metrics: Names of the metrics.

    Raises:
        ConfigError: There is one.
    """
    known = [*metrics, *FIGURES]
    for name in constraints:
        if name not in known:
            raise never_logged(f"constraints.{name}", name, known)
