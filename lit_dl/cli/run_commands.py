"""What `lit-dl fit | validate | test | predict` do before, in and after the Trainer's method of that name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from lit_dl.cli.console import count_parameters, print_result
from lit_dl.cli.instantiation import prediction_errors
from lit_dl.cli.validation import make_folder
from lit_dl.data.in_memory import InMemoryDataModule
from lit_dl.errors import ConfigError
from lit_dl.run.module_hooks import require_prediction, require_test
from lit_dl.run.run import Run
from lit_dl.run.run_result import RunLocation


class RunCommands:
    """The hooks that LightningCLI calls for each command."""

    run: Run
    trainer: Trainer
    model: LightningModule
    datamodule: Any
    location: RunLocation | None
    predictions: Path

    def before_fit(self) -> None:
        """Refuses a folder that holds a run, then creates the folder. On several devices rank 0 does this."""
        assert self.location is not None
        if self.trainer.is_global_zero and (self.location.run_dir / "config.yaml").exists():
            raise ConfigError("run_dir", f"must not hold a run yet; {self.location.run_dir} does; name another")
        self.run.check()
        if self.trainer.is_global_zero:
            make_folder(self.location.run_dir)
            print(f"run folder {self.location.run_dir}")
            print(count_parameters(self.model))
        self.run.open()

    def before_validate(self) -> None:
        """Checks the data before anything is written."""
        self.run.check()

    def before_test(self) -> None:
        """Checks that there is a test, and its data."""
        require_test(self.model, self.datamodule)
        self.run.check()

    def before_predict(self) -> None:
        """Checks model and data, and creates the folder of the predictions. Several devices mix up the order."""
        if self.trainer.world_size > 1:
            raise ConfigError("trainer.devices", f"must be 1 to predict; got {self.trainer.world_size}")
        require_prediction(self.model, self.datamodule)
        self.run.check()
        make_folder(self.predictions.parent)

    def predict(self, **kwargs: Any) -> None:
        """Predicts."""
        with prediction_errors(self.model):
            self.trainer.predict(**kwargs)

    def fit(self, **kwargs: Any) -> None:
        """Trains. A run that fails or is interrupted is closed too, so that W&B shows how it ended."""
        try:
            self.trainer.fit(**kwargs)
        except BaseException as error:
            self.run.close(failed=True)
            if isinstance(error, SystemExit):  # Lightning turns Ctrl-C into this
                raise KeyboardInterrupt from None
            raise

    def after_fit(self) -> None:
        """Restores the best epoch and prints the result."""
        print_result(self.run.close())
        is_ours = isinstance(self.datamodule, InMemoryDataModule) and self.trainer.is_global_zero
        if is_ours and (text := self.datamodule.describe(self.model)):
            print(text)
