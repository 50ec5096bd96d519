"""One run: a module, its data and a Trainer that stops early, keeps its best epoch, and leaves files in one folder."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from time import perf_counter
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.utilities.model_helpers import is_overridden

from lit_dl.callbacks.checkpoints import BestCheckpoint
from lit_dl.callbacks.epoch_seeds import EpochSeeds
from lit_dl.callbacks.epoch_table import EpochTable, Row, best_row, metrics_of
from lit_dl.callbacks.generator_states import GeneratorStates
from lit_dl.callbacks.layer_health import LayerHealth
from lit_dl.callbacks.resume_state import ResumeState
from lit_dl.callbacks.run_timing import RunTiming
from lit_dl.config.keys import Config
from lit_dl.config.yaml_io import dump_yaml
from lit_dl.data.in_memory import InMemoryDataModule
from lit_dl.errors import ConfigError, key_prefix
from lit_dl.files import retry_on_full_disk, write_text
from lit_dl.learning_curve import save_learning_curve
from lit_dl.modules.supervised import SupervisedModule
from lit_dl.run.checkpoint_io import write_whole_checkpoints
from lit_dl.run.monitors import check_monitors, checkpoints, early_stopping
from lit_dl.run.resume import config_hash, is_ahead, rows_to_keep
from lit_dl.run.run_config import (
    CheckpointConfig,
    EarlyStoppingConfig,
    TrackingConfig,
    counts_batches,
    validates_every_epoch,
)
from lit_dl.run.run_result import RunLocation, RunResult
from lit_dl.run.sync_logging import sync_logging
from lit_dl.tracking import Tracker, resolve_wandb_mode


class Run:
    """A run that is ready to start.

    Args:
        module: The LightningModule.
        data: Its data; `None` for a module that brings its loaders.
        trainer: Keyword arguments of the Trainer.
        config: The complete run config, saved as it is; what `early_stopping`, `checkpoint` and `tracking` say applies.
        place: Where the files go. `None`: no file is written and nothing tracked.
        callbacks: More callbacks, called after the epoch's row is known.
        on_row: Called with the row of each epoch.

    Raises:
        ConfigError: A value of the groups above that cannot be used.
    """

    def __init__(
        self,
        module: LightningModule,
        data: LightningDataModule | None,
        trainer: Mapping[str, Any],
        config: Config,
        location: RunLocation | None,
        *,
        callbacks: list[Callback] | None = None,
        on_row: Callable[[Row], None] | None = None,
    ) -> None:
        self.module, self.data, self.config, self.location = module, data, config, location
        self.stopping = EarlyStoppingConfig(**config.get("early_stopping", {}))
        self.keeping = CheckpointConfig(**config.get("checkpoint", {}))
        default = "val/loss" if isinstance(module, SupervisedModule) else None
        wanted = config.get("diagnostics")
        wanted = isinstance(module, SupervisedModule) if wanted is None else wanted
        check_monitors(module, self.stopping, self.keeping, wanted)
        self.monitor = self.keeping.monitor or default
        self.table = EpochTable(location.run_dir / "metrics.csv" if location else None, on_row)
        self.timing = RunTiming()
        folder, is_fresh = location.run_dir / "checkpoints" if location else None, validates_every_epoch(trainer)
        self.checkpoint, self.last = (
            checkpoints(folder, self.keeping, self.monitor, is_fresh) if folder else (None, None)
        )
        self.early_stopping = early_stopping(self.stopping, default)
        self.health = LayerHealth(location.run_dir / "diagnostics.csv" if location else None) if wanted else None
        self.continuation = ResumeState(config_hash(config), self.last)
        first = [EpochSeeds(), self.timing, GeneratorStates(), self.health, self.early_stopping]
        ours = [*first, self.table, self.continuation, self.checkpoint, *(callbacks or []), self.last]
        self.trainer = self._trainer(dict(trainer), [callback for callback in ours if callback is not None])
        write_whole_checkpoints(self.trainer)
        if self.trainer.world_size > 1 and not isinstance(module, SupervisedModule):
            sync_logging(module)
        self.tracker: Tracker | None = None
        self._earlier_s = 0.0
        self.is_open = False

    def _trainer(self, arguments: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        module = self.module
        if isinstance(module, SupervisedModule) and arguments.get("gradient_clip_val"):
            module.fused = False  # with mixed precision torch's fused steps refuse clipped gradients
            if str(arguments.get("precision")) in ("16", "16-mixed"):
                # Lightning unscales before it clips
                module.automatic_optimization, module.steps_per_execution = True, 1
        if isinstance(module, SupervisedModule) and not module.automatic_optimization:
            # The Trainer takes these only with automatic optimization; the module's own step does them.
            module.gradient_clip_val = arguments.pop("gradient_clip_val", None)
            module.gradient_clip_algorithm = arguments.pop("gradient_clip_algorithm", None)
            module.accumulate_grad_batches = arguments.pop("accumulate_grad_batches", 1)
            if counts_batches(arguments):
                module.steps_per_execution = 1
        theirs = arguments.pop("callbacks", None) or []
        theirs = theirs if isinstance(theirs, list) else [theirs]
        if arguments.pop("enable_checkpointing", None) is False:
            raise ConfigError(
                "trainer.enable_checkpointing", "must be left out; got False; checkpoint.* says what is kept"
            )
        return Trainer(**arguments, callbacks=[*theirs, *callbacks])

    def check(self) -> None:
        """Finds what only shows with the data, the optimizer or the account at hand, before anything is written.

        Raises:
            ConfigError: A batch or split larger than the data, images that the network does not take, arguments that
                the optimizer does not take, W&B online without a key.
            DataError: A file that cannot be used.
        """
        if isinstance(self.data, InMemoryDataModule):
            self.data.trainer = self.trainer  # as its `fit` will do: so the data knows how many devices share a batch
            with key_prefix("data"):
                self.data.prepare_data()
                self.data.setup("fit")
        if isinstance(self.module, SupervisedModule):
            self.module.check_training(self.trainer.max_epochs, self.trainer.max_steps)
            with key_prefix("model.optimizer"):
                self.module.configure_optimizers()
            if isinstance(self.data, InMemoryDataModule):
                self.module.check_data(self.data)
        if self.location is not None:
            resolve_wandb_mode(self.location.wandb or TrackingConfig(**self.config.get("tracking", {})).wandb)

    def open(self) -> None:
        """Makes the folder, writes the config, starts tracking."""
        self._started = perf_counter()
        self.is_open = True
        if self.location is None or not self.trainer.is_global_zero:
            return
        folder = self.location.run_dir
        retry_on_full_disk(folder, lambda: folder.mkdir(parents=True, exist_ok=True))
        write_text(folder / "config.yaml", dump_yaml(self.config), durable=True)
        tracking = TrackingConfig(**self.config.get("tracking", {}))
        mode = self.location.wandb or tracking.wandb
        if mode == "disabled":
            return
        self.tracker = Tracker(
            mode,
            self.location.run_dir,
            project=tracking.project,
            entity=tracking.entity,
            tags=tracking.tags,
            name=self.location.name,
            group=self.location.group,
            run_id=self.location.run_id,
            config=self.config,
        )
        self.trainer.loggers = [*self.trainer.loggers, self.tracker.logger()]

    def close(self, failed: bool = False, test: bool = False, summary: Mapping[str, Any] | None = None) -> RunResult:
        """Restores the best epoch, finishes tracking, and says what the run left.

        Args:
            failed: The run did not end by itself; nothing is restored.
            test: Evaluate the best epoch on the test set.
            summary: More for the summary of the W&B run.
        """
        result = self._result()
        if self.location is not None and self.trainer.is_global_zero:
            best = result.best_epoch if self.monitor else None
            save_learning_curve(self.location.run_dir / "learning_curve_plot.png", self.table.rows, best)
        try:
            if not failed:
                result.best_checkpoint = self._restore_best()
            if test and not failed and self.can_test:
                result.metrics |= self.test()
        except BaseException:
            failed = True
            raise
        finally:
            self._finish_tracking(result, failed, summary or {})
        result.seconds["total"] = perf_counter() - self._started + self._earlier_s
        return result

    def _finish_tracking(self, result: RunResult, failed: bool, summary: Mapping[str, Any]) -> None:
        self.is_open = False
        if self.tracker is None:
            return
        bests = {f"best/{name}": value for name, value in result.metrics.items()}
        counts = {"best_epoch": result.best_epoch, "epochs": result.epochs, "stopped": result.stopped}
        self.tracker.finish({**counts, **bests, **summary}, failed)
        result.seconds["tracking"] = self.tracker.seconds

    @property
    def can_test(self) -> bool:
        """Whether the module says what to do with the test set."""
        return is_overridden("test_step", self.module)

    def fit(self, resume: bool = False) -> None:
        """Trains, between `open` and `close`.

        Args:
            resume: Go on after the last epoch that an earlier run of this config completed in this folder, if there is
                one; `resumed_from` says which. What is there otherwise goes, as if nothing had been.
        """
        path = None
        if resume and self.location is not None:
            folder, writes = self.location.run_dir, self.trainer.is_global_zero
            rows = rows_to_keep(folder, self.module, self.config, writes)
            if rows:
                self._roll_back(rows, writes)
                path = folder / "checkpoints" / "last.ckpt"
        self.trainer.fit(self.module, datamodule=self.data, ckpt_path=path, weights_only=True if path else None)

    @property
    def resumed_from(self) -> int | None:
        """The epoch that `fit` went on after, from 1; `None`: it started with the first."""
        return self.continuation.resumed_from

    def _roll_back(self, rows: list[Row], writes: bool) -> None:
        """Brings everything beside the checkpoint to where it was at the end of the last of these epochs."""
        epoch = self.continuation.resumed_from = len(rows)
        self._earlier_s = rows[-1]["elapsed_s"]
        self.table.resume(rows, writes)
        if self.health is not None:
            self.health.resume(epoch, writes)
        if writes and isinstance(self.checkpoint, BestCheckpoint):
            self.checkpoint.roll_back(is_ahead(self.checkpoint.path, epoch))
        if self.tracker is not None:
            self.tracker.resume(rows)

    def test(self) -> dict[str, float]:
        """Metrics of the weights as they are on the test set."""
        self.trainer.test(self.module, datamodule=self.data, verbose=False)
        return {name: float(value) for name, value in self.trainer.callback_metrics.items() if name.startswith("test")}

    def _restore_best(self) -> Path | None:
        path = Path(self.checkpoint.best_model_path) if self.checkpoint and self.checkpoint.best_model_path else None
        if path is None or not path.is_file():
            return None
        self.load_weights(path)
        return path

    def load_weights(self, path: Path) -> bool:
        """Takes the weights of a checkpoint; false, with a warning, when it holds more than plain values.

        Such a file is loaded by unpickling alone, which runs what it says; that is for its owner to decide.
        """
        try:
            checkpoint = torch.load(path, map_location=self.module.device, weights_only=True)
        except UnpicklingError:
            warnings.warn(
                f"{path}: not loaded, as its hyperparameters are objects; have save_hyperparameters ignore them",
                stacklevel=2,
            )
            return False
        self.module.load_state_dict(checkpoint["state_dict"], strict=self.module.strict_loading)
        return True

    def _result(self) -> RunResult:
        rows = self.table.rows
        best = best_row(rows, self.monitor, self.keeping.mode) if self.monitor else (rows[-1] if rows else None)
        seconds = {
            "train": self.timing.train_s,
            "validate": self.timing.validate_s,
            "data": self.timing.data_s,
            "checkpoint": sum(checkpoint.seconds for checkpoint in (self.checkpoint, self.last) if checkpoint),
            "tracking": 0.0,
        }
        return RunResult(
            stopped=self.why_stopped(),
            epochs=len(rows),
            best_epoch=int(best["epoch"]) if best else None,
            metrics=metrics_of(best),
            final=metrics_of(rows[-1] if rows else None),
            best_checkpoint=None,
            parameters=sum(parameter.numel() for parameter in self.module.parameters()),
            seconds=seconds,
            peak_memory_bytes=self.timing.peak_memory_bytes,
        )

    def why_stopped(self) -> str:
        """max_epochs, early_stopping, or stopped (by a callback or another limit)."""
        stopping = self.early_stopping
        if stopping is not None and stopping.stopping_reason is not EarlyStoppingReason.NOT_STOPPED:
            return "early_stopping"
        limit = self.trainer.max_epochs
        return "max_epochs" if limit is not None and len(self.table.rows) >= limit else "stopped"
