"""What a sweep optimizes: a metric and a direction."""

from __future__ import annotations

from dataclasses import dataclass

DIRECTIONS = ("minimize", "maximize")


def direction_sign(direction: str) -> float:
    """Returns the factor that makes less better: -1 for maximize, 1 for minimize."""
    return -1.0 if direction == "maximize" else 1.0


@dataclass(frozen=True)
class Objective:
    """A metric that the runs log, and which way is better.

    Args:
        metric: Such as `val/acc`.
        direction: minimize or maximize.
    """

    metric: str
    direction: str

    @property
    def mode(self) -> str:
        """`max` or `min`, as Lightning's callbacks name the direction."""
        return "max" if self.direction == "maximize" else "min"

    @property
    def sign(self) -> float:
        """Factor that makes less better: -1 where the metric is maximized, else 1."""
        return direction_sign(self.direction)
