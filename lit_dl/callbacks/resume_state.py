"""The state that lets a run resume from the end of an epoch as if it had not been interrupted there."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor


class ResumeState(Checkpoint):
    """Lets a run that is loaded from the end of an epoch continue with the next one.

    Lightning 2.6 saves a checkpoint before it has finished the epoch, and ends that epoch once more when it resumes: it
    trains a batch where the epoch had no validation, draws the next epoch's order before the epoch's seed is set, and
    leaves out the step of a `ReduceLROnPlateau`. This callback marks the epoch as finished instead. It also keeps the
    metrics of the last validation, which stay valid until the next one, and whether the Trainer was to stop.

    A `Checkpoint` only in name: Lightning calls those after the module's own `on_train_epoch_end`. Callbacks that come
    after this one decide again whether to stop, from their own state.

    Args:
        config_hash: Hash of the run config. A run resumes only under the same config.
    """

    STATE_KEY = "Continuation"  # the key in existing checkpoints, from an earlier name of the class

    def __init__(self, config_hash: str) -> None:
        self.config_hash = config_hash
        self.resumed_from: int | None = None
        """The epoch after which the run resumes, from 1; `None`: it does not resume."""
        self._should_stop = False
        self._metrics: dict[str, Tensor] = {}
        self._loaded: dict[str, Any] | None = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._should_stop = trainer.should_stop
        self._metrics = {name: value.detach().cpu().clone() for name, value in trainer.callback_metrics.items()}

    @property
    def state_key(self) -> str:
        return self.STATE_KEY

    def state_dict(self) -> dict[str, Any]:
        return {"fingerprint": self.config_hash, "should_stop": self._should_stop, "metrics": self._metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loaded = state_dict

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.strategy.broadcast(self.resumed_from) != self.resumed_from:
            raise RuntimeError(f"rank {trainer.global_rank} would resume after another epoch than rank 0")
        if self._loaded is None:
            return
        self._metrics = self._loaded["metrics"]
        trainer.callback_metrics.update({name: value.to(pl_module.device) for name, value in self._metrics.items()})
        if self.resumed_from is not None:
            trainer.should_stop = self._should_stop = self._loaded["should_stop"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            _end_epoch(trainer)


def _end_epoch(trainer: Trainer) -> None:
    """Finishes the epoch as Lightning does after its callbacks, if the checkpoint was saved at the end of an epoch."""
    loop = trainer.fit_loop
    epochs: Any = loop.epoch_progress
    if epochs.current.processed < epochs.current.ready:
        return
    loop.restarting = False
    for each in (loop, loop.epoch_loop, loop.epoch_loop.val_loop):
        each.on_iteration_done()
    epochs.current.completed = epochs.current.processed - 1  # the value that schedulers see at the end of an epoch
    loop.epoch_loop.update_lr_schedulers("epoch", update_plateau_schedulers=True)
    epochs.current.completed = epochs.current.processed
    epochs.total.completed = epochs.total.processed
    every: int = trainer.reload_dataloaders_every_n_epochs  # type: ignore[attr-defined]
    if every:
        # The loaders were made anew just now, but the epochs to the next time count from the regular turn.
        reloaded_at = (epochs.current.processed - 1) // every * every
        loop._last_train_dl_reload_epoch = loop.epoch_loop.val_loop._last_val_dl_reload_epoch = reloaded_at
