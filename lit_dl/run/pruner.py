"""What the owner of a run, such as a sweep, implements to follow it and to stop it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from lit_dl.run.checkpoint_files import SaveCheckpoint

T = TypeVar("T")


class Broadcast(Protocol):
    """Returns the value of rank 0 on all ranks."""

    def __call__(self, value: T, /) -> T: ...


@dataclass(frozen=True)
class Moment:
    """What is known of a run at the end of an epoch, or of a validation within it.

    Args:
        epoch: The epoch, from 1.
        metrics: What was logged since the moment before, by name; the same on all ranks.
        is_validated: Whether a validation has just ended.
        is_last: Whether the Trainer stops here anyway.
        save: Saves a checkpoint of the run.
        broadcast: Returns the value of rank 0 on all ranks.
        global_step: Optimizer steps so far.
        loss_is_finite: Whether every loss that is known at this moment is finite.
    """

    epoch: int
    metrics: dict[str, float]
    is_validated: bool
    is_last: bool
    save: SaveCheckpoint
    broadcast: Broadcast
    global_step: int = 0
    loss_is_finite: bool = True


class Pruner(Protocol):
    """Decides at each moment whether a run is stopped, as a sweep does. Its state is kept in the checkpoints."""

    decision: str | None
    """Why the run was stopped; `None`: it was not."""

    @property
    def metrics(self) -> Sequence[str]:
        """The metrics that a moment must have logged to be the best one."""

    def observe(self, moment: Moment, is_writer: bool) -> None:
        """Sets `decision`, to the same on all ranks. Only the rank with `is_writer` reports anything."""

    def end_fit(self, metrics: Sequence[str]) -> None:
        """Checks, after training, the names of the metrics that were logged."""

    def state_dict(self) -> dict[str, Any]:
        """Returns the state as plain values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over a state."""
