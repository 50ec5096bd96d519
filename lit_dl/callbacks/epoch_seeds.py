"""A callback that seeds all random generators at the start of each epoch."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_dl.randomness import run_seed, seed_epoch


class EpochSeeds(Callback):
    """Seeds all generators from (seed, epoch, rank).

    So an epoch draws the same numbers whether or not the run was resumed before it, and dropout differs between
    devices.
    """

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        seed_epoch(run_seed(), trainer.current_epoch + 1, trainer.global_rank)
