"""A callback that seeds all random generators, and the layers that draw, at the start of each epoch."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_dl.nn.random_layers import seed_random_layers
from lit_dl.randomness import run_seed, seed_epoch


class EpochSeeds(Callback):
    """Seeds all generators from (seed, epoch, rank), and our random layers from (seed, epoch).

    So an epoch draws the same numbers whether or not the run was resumed before it. Our dropout and noise are also the
    same on several devices as on one; those of others differ between devices.
    """

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch, share = trainer.current_epoch + 1, (trainer.global_rank, trainer.world_size)
        seed_epoch(run_seed(), epoch, trainer.global_rank)
        seed_random_layers(pl_module, run_seed(), epoch, share)  # `Batches` shares the rows of a batch in this way
