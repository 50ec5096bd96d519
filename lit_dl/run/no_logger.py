"""`NoLogger`: the logger of a run that is not tracked."""

from __future__ import annotations

from lightning.pytorch.loggers.logger import DummyLogger


class NoLogger(DummyLogger):
    """Keeps nothing. Callbacks that demand a logger (`LearningRateMonitor`) and `self.logger.log_metrics` work with it.

    Args:
        save_dir: What `Trainer.log_dir` is to be: that of a Trainer without a logger.
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__()
        self._save_dir = save_dir

    @property
    def save_dir(self) -> str:
        return self._save_dir
