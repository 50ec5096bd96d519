"""The objective of a sweep: a metric and a direction."""

from __future__ import annotations

from dataclasses import dataclass

DIRECTIONS = ("minimize", "maximize")


def direction_sign(direction: str) -> float:
    """Returns -1.0 for `maximize` and 1.0 for `minimize`. A value times this sign is better when it is lower."""
    return -1.0 if direction == "maximize" else 1.0


@dataclass(frozen=True)
class Objective:
    """A metric to optimize.

    Args:
        metric: Name of a metric that the runs log, such as `val/acc`.
        direction: `minimize` or `maximize`.
    """

    metric: str
    direction: str

    @property
    def mode(self) -> str:
        """`max` or `min`, as Lightning's callbacks name the direction."""
        return "max" if self.direction == "maximize" else "min"

    @property
    def sign(self) -> float:
        """-1.0 or 1.0. A value times this sign is better when it is lower."""
        return direction_sign(self.direction)
