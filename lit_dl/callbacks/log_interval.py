"""A callback that lets the values of single steps reach the loggers in short epochs too."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer

LONGEST = 50  # Lightning's default


class LogInterval(Callback):
    """Logs every 50th step, or the last of an epoch that has fewer batches.

    For runs whose config does not say how often a step is logged. The Trainer is made with an interval of 1: with a
    longer one Lightning warns of short epochs before any callback is called.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        trainer.log_every_n_steps = max(1, int(min(LONGEST, trainer.num_training_batches)))  # type: ignore[attr-defined]
