"""A callback that lets the values of single steps reach the loggers in short epochs too."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer


class LogInterval(Callback):
    """Lowers `log_every_n_steps` to the number of batches of an epoch. Lightning's default is 50.

    For runs whose config does not say how often a step is logged.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        interval = min(trainer.log_every_n_steps, trainer.num_training_batches)  # type: ignore[attr-defined]
        trainer.log_every_n_steps = max(1, int(interval))  # type: ignore[attr-defined]
