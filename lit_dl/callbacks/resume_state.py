"""What a run needs to go on from the end of an epoch as if it had not ended there."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor


class ResumeState(Checkpoint):
    """Lets a run that is loaded from the end of an epoch go on with the next one.

    Lightning 2.6 saves a checkpoint before the epoch is over for it, and ends that epoch once more when it resumes: it
    trains a batch where the epoch had no validation, draws the next epoch's order before the epoch's seed is set, and
    leaves out a `ReduceLROnPlateau`'s step. Here the epoch is over. Kept beside that are the metrics of the last
    validation, which stand until the next, and whether the run was to stop.

    A `Checkpoint` only in name: Lightning calls those after the module's own `on_train_epoch_end`. Callbacks that come
    after it decide again whether to stop, from their own state.

    Args:
        config_hash: Of the run config: the run can go on under the same one.
        last: The callback that is called last of all.
    """

    STATE_KEY = "Continuation"  # the class's earlier name, which checkpoints hold

    def __init__(self, config_hash: str, last: Checkpoint | None) -> None:
        self.config_hash, self.last = config_hash, last
        self.resumed_from: int | None = None
        self._should_stop = False
        self._metrics: dict[str, Tensor] = {}
        self._loaded: dict[str, Any] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        if self.last is not None:  # a module's `configure_callbacks` may have added some
            trainer.callbacks = [callback for callback in trainer.callbacks if callback is not self.last] + [self.last]  # type: ignore[attr-defined]

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
            raise RuntimeError(f"rank {trainer.global_rank} would go on after another epoch than rank 0")
        if self._loaded is None:
            return
        self._metrics = self._loaded["metrics"]
        trainer.callback_metrics.update({name: value.to(pl_module.device) for name, value in self._metrics.items()})
        if self.resumed_from is not None:  # and not from a checkpoint that the user named, to train on
            trainer.should_stop = self._should_stop = self._loaded["should_stop"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            _end_epoch(trainer)


def _end_epoch(trainer: Trainer) -> None:
    """Does what Lightning does after the callbacks of an epoch's end, if that is where the checkpoint was saved."""
    loop = trainer.fit_loop
    epochs: Any = loop.epoch_progress
    if epochs.current.processed < epochs.current.ready:
        return
    loop.restarting = False
    for each in (loop, loop.epoch_loop, loop.epoch_loop.val_loop):
        each.on_iteration_done()
    epochs.current.completed = epochs.current.processed - 1  # as it was when schedulers looked at it
    loop.epoch_loop.update_lr_schedulers("epoch", update_plateau_schedulers=True)
    epochs.current.completed = epochs.current.processed
    epochs.total.completed = epochs.total.processed
    every: int = trainer.reload_dataloaders_every_n_epochs  # type: ignore[attr-defined]
    if every:  # that the loaders are new now is no turn of theirs
        turn = (epochs.current.processed - 1) // every * every
        loop._last_train_dl_reload_epoch = loop.epoch_loop.val_loop._last_val_dl_reload_epoch = turn
