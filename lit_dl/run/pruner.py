"""What the owner of a run, such as a sweep, implements to follow its epochs and to stop it."""

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
class EpochEnd:
    """What is known of a run at the end of an epoch.

    Args:
        epoch: The epoch, from 1.
        metrics: By name, the same on all ranks.
        is_validated: Whether a validation ended in this epoch. The metrics of earlier validations stay in `metrics`.
        is_last: Whether the Trainer stops after this epoch anyway.
        save: Saves a checkpoint of the run.
        broadcast: Returns the value of rank 0 on all ranks.
    """

    epoch: int
    metrics: dict[str, float]
    is_validated: bool
    is_last: bool
    save: SaveCheckpoint
    broadcast: Broadcast


class Pruner(Protocol):
    """Decides after each epoch whether a run is stopped, as a sweep does. Its state is kept in the checkpoints."""

    decision: str | None
    """Why the run was stopped; `None`: it was not."""

    def end_epoch(self, end: EpochEnd, is_writer: bool) -> None:
        """Sets `decision`, to the same on all ranks. Only the rank with `is_writer` reports anything."""

    def end_fit(self, metrics: Sequence[str]) -> None:
        """Checks, after training, the names of the metrics that were logged."""

    def state_dict(self) -> dict[str, Any]:
        """Returns the state as plain values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over a state."""
