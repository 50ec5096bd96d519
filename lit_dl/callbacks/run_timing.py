"""A callback that measures the time and the peak memory of a run."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import psutil
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

_STATE = ("train_s", "validate_s", "data_s", "peak_memory_bytes")


class RunTiming(Callback):
    """Measures the seconds in training steps, in validation and waiting for data, and the peak memory, from
    `on_fit_start` on.

    A resumed run adds to the values of its checkpoint. On a GPU steps are asynchronous: what is measured is the time of
    the process, and an epoch ends when its metrics are read.
    """

    def __init__(self) -> None:
        self.train_s = 0.0
        self.validate_s = 0.0
        self.data_s = 0.0
        self.peak_memory_bytes = 0
        self._lap_started = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update({name: state_dict[name] for name in _STATE})

    def _lap(self) -> float:
        """Returns the seconds since the last lap, and starts the next one."""
        now = perf_counter()
        lap = now - self._lap_started
        self._lap_started = now
        return lap

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)

    def on_train_epoch_start(self, *_: Any) -> None:
        self._lap()

    def on_train_batch_start(self, *_: Any) -> None:
        self.data_s += self._lap()

    def on_train_batch_end(self, *_: Any) -> None:
        self.train_s += self._lap()

    def on_validation_start(self, *_: Any) -> None:
        self._lap()

    def on_validation_end(self, *_: Any) -> None:
        self.validate_s += self._lap()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        if pl_module.device.type == "cuda":
            memory = torch.cuda.max_memory_allocated(pl_module.device)
        else:
            memory = psutil.Process().memory_info().rss
        self.peak_memory_bytes = max(self.peak_memory_bytes, memory)
