"""The folder of a trial: where each of its files is. Imports neither torch nor optuna."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrialFolder:
    """`RUN_DIR/trials/00007`.

    Args:
        run_dir: The run folder of the sweep.
        number: Of the trial.
    """

    run_dir: Path
    number: int

    @property
    def path(self) -> Path:
        """The folder."""
        return self.run_dir / "trials" / f"{self.number:05d}"

    @property
    def config(self) -> Path:
        """The run config."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """The metrics by epoch."""
        return self.path / "metrics.csv"

    @property
    def log(self) -> Path:
        """What the trial printed."""
        return self.path / "log.txt"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    def checkpoint(self) -> Path | None:
        """Returns the checkpoint of the best epoch, else that of the last epoch, else `None`."""
        files = [self.checkpoints / f"{name}.ckpt" for name in ("best", "last")]
        return next((file for file in files if file.is_file()), None)
