"""One run: a module, its data, a Trainer, and the recorder of what it leaves."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

from lit_dl.callbacks.checkpoint_folders import CheckpointFolders
from lit_dl.callbacks.epoch_seeds import EpochSeeds
from lit_dl.callbacks.generator_states import GeneratorStates
from lit_dl.callbacks.layer_health import LayerHealth
from lit_dl.callbacks.log_interval import LogInterval
from lit_dl.callbacks.longer_schedules import LongerSchedules
from lit_dl.callbacks.resume_state import ResumeState
from lit_dl.callbacks.run_timing import RunTiming
from lit_dl.config.keys import Config
from lit_dl.data.in_memory import InMemoryDataModule
from lit_dl.errors import ConfigError, LitError, key_prefix
from lit_dl.run.checkpoint_io import loads_plainly, save_atomically
from lit_dl.run.epoch_rows import Row, with_test_metrics
from lit_dl.run.logged_metrics import scalar_metrics
from lit_dl.run.module_hooks import hooks_of, require_test
from lit_dl.run.monitors import check_monitors
from lit_dl.run.no_logger import NoLogger
from lit_dl.run.recorder import RunRecorder
from lit_dl.run.recorder_callbacks import CompleteEpoch, RecordEpoch
from lit_dl.run.resume import config_hash, is_ahead, rows_to_keep
from lit_dl.run.run_config import TrackingConfig, validates_within_epochs
from lit_dl.run.run_result import RunLocation, RunResult
from lit_dl.run.sync_logging import sync_logging
from lit_dl.tracking import Tracker, resolve_wandb_mode


class Run:
    """A run that is ready to start.

    Args:
        module: The LightningModule.
        data: Its data; `None` for a module that has its own loaders.
        trainer: Keyword arguments of the Trainer.
        config: The complete run config. It is saved as it is; its groups `early_stopping`, `checkpoint`, `tracking` and
            `diagnostics` apply.
        location: Where the files go. `None`: no file is written and nothing is tracked.
        callbacks: More callbacks. Those that are a `Checkpoint` are called after the epoch's row is recorded.
        on_row: Called with each row.
        scratch: Folder of what the user's loggers and callbacks write in a run that is to leave no file. It is deleted
            at the end of `fit` and of `test`.

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
        scratch: Path | None = None,
    ) -> None:
        self.module = module
        self.data = data
        self.config = config
        self.location = location
        self.scratch = scratch
        self.hooks = hooks_of(module)
        self.is_open = False
        self.timing = RunTiming()
        self.health = self._layer_health()
        self._check_monitors()
        recorder = RunRecorder(
            config,
            location,
            self.hooks.default_monitor,
            validates_within_epochs=validates_within_epochs(trainer),
            fast_dev_run=bool(trainer.get("fast_dev_run")),
            on_row=on_row,
        )
        self.recorders = [recorder]
        self.trainer = self._trainer(trainer, callbacks or [])
        recorder.is_writer = self.trainer.is_global_zero
        save_atomically(self.trainer)
        if self.trainer.world_size > 1 and not self.hooks.syncs_metrics:
            sync_logging(module)

    @property
    def recorder(self) -> RunRecorder:
        """The recorder of a run that is alone."""
        (recorder,) = self.recorders
        return recorder

    @property
    def rows(self) -> list[Row]:
        """The rows of the epochs so far, and of the validations within them."""
        return self.recorder.rows

    @property
    def tracker(self) -> Tracker | None:
        """The W&B run, on the rank that writes; `None`: nothing is tracked."""
        return self.recorder.tracker

    @property
    def resumed_from(self) -> int | None:
        """The epoch after which `fit` resumed, from 1; `None`: it started with the first."""
        return self.recorder.resumed_from

    def _layer_health(self) -> LayerHealth | None:
        wanted = self.config.get("diagnostics")
        if not (self.hooks.diagnoses_layers if wanted is None else wanted):
            return None
        return LayerHealth(self.location.run_dir / "diagnostics.csv" if self.location else None)

    def _check_monitors(self) -> None:
        logged = self.hooks.logged_metrics()
        if logged is not None:
            check_monitors(self.config, [*logged, *["gradient_ratio"] * (self.health is not None)])

    def _trainer(self, given: Mapping[str, Any], callbacks: list[Callback]) -> Trainer:
        arguments = self.hooks.prepare_trainer(dict(given))
        theirs = arguments.pop("callbacks", None) or []
        theirs = theirs if isinstance(theirs, list) else [theirs]
        if arguments.pop("enable_checkpointing", None) is False:
            raise ConfigError(
                "trainer.enable_checkpointing", "must be left out; got False; checkpoint.* says what is kept"
            )
        self._resume_state = ResumeState(config_hash(self.config))
        record = RecordEpoch(self.recorders)
        # The order matters. Lightning calls callbacks that are no `Checkpoint` first, then the module's own hook, then
        # those that are. The resume state must be taken before the best checkpoint is saved, and the epoch completed
        # after all others.
        ours: list[Callback | None] = [EpochSeeds(), self.timing, GeneratorStates(), self.health]
        ours += [LongerSchedules(), self._resume_state, record, *callbacks, CompleteEpoch(record)]
        if arguments.get("log_every_n_steps") is None:
            arguments["log_every_n_steps"] = 1
            ours.append(LogInterval())
        if self.location is not None:
            ours.append(CheckpointFolders(self.location.run_dir / "checkpoints", bool(arguments.get("logger"))))
        return Trainer(**arguments, callbacks=[*theirs, *(callback for callback in ours if callback is not None)])

    def check(self) -> None:
        """Finds what only shows with the data, the optimizer or the account at hand, before anything is written.

        Raises:
            ConfigError: A batch or split larger than the data, images that the network does not take, arguments that
                the optimizer does not take, W&B online without a key.
            DataError: A file that cannot be used.
        """
        if isinstance(self.data, InMemoryDataModule):
            self.data.trainer = self.trainer  # as `fit` does, so that the data knows how many devices share a batch
            with key_prefix("data"):
                self.data.prepare_data()
                self.data.setup("fit")
        self.hooks.check_run(self.data, self.trainer)
        if self.location is not None:
            resolve_wandb_mode(self.location.wandb or TrackingConfig(**self.config.get("tracking", {})).wandb)

    def open(self) -> None:
        """Makes the folder, writes the config, starts tracking."""
        self.is_open = True
        self.recorder.open()
        self.add_logger(self.tracker)

    def add_logger(self, tracker: Tracker | None) -> None:
        """Adds the logger of a tracked run to those of the user. A Trainer without any gets one that keeps nothing."""
        more = [] if tracker is None else [tracker.logger()]
        self.trainer.loggers = [*self.trainer.loggers, *more] or [NoLogger(self.trainer.default_root_dir)]

    def fit(self, resume: bool = False) -> None:
        """Trains, between `open` and `close`.

        Args:
            resume: Resume after the last epoch that an earlier run of this config completed in this folder, if there is
                one; `resumed_from` is its number. Everything else that is left there is deleted.
        """
        path = None
        if resume and self.location is not None:
            folder, is_writer = self.location.run_dir, self.trainer.is_global_zero
            rows = rows_to_keep(folder, self.module, self.config, is_writer)
            if rows:
                self._resume(rows, is_writer)
                path = folder / "checkpoints" / "last.ckpt"
        with self._without_traces():
            self.trainer.fit(self.module, datamodule=self.data, ckpt_path=path, weights_only=True if path else None)

    @contextmanager
    def _without_traces(self) -> Iterator[None]:
        try:
            yield
        finally:
            if self.scratch is not None:
                shutil.rmtree(self.scratch, ignore_errors=True)

    def _resume(self, rows: list[Row], is_writer: bool) -> None:
        """Rolls everything beside the checkpoint back to the end of the last of these epochs."""
        epoch = int(rows[-1]["epoch"])
        self._resume_state.resumed_from = epoch
        if self.health is not None:
            self.health.resume(epoch, is_writer)
        files = self.recorder.files
        self.recorder.resume(rows, best_is_ahead=files is not None and is_ahead(files.best, epoch))

    def test(self, checkpoint: Path | None = None) -> dict[str, float]:
        """Evaluates on the test set, and returns all metrics that the module logs there.

        Args:
            checkpoint: Its weights are loaded first. `None`: the weights are evaluated as they are.

        Raises:
            ConfigError: The module or the data has no test, or the test logs nothing.
            DataError: The checkpoint does not load.
        """
        require_test(self.module, self.data)
        with loads_plainly(checkpoint), self._without_traces():
            self.trainer.test(self.module, datamodule=self.data, verbose=False, ckpt_path=checkpoint, weights_only=True)
        metrics = scalar_metrics(self.trainer)
        if not metrics:
            raise ConfigError("model", f"must log a metric on the test set; {type(self.module).__name__} logs none")
        return metrics

    def close(self, failed: bool = False, test: bool = False, summary: Mapping[str, Any] | None = None) -> RunResult:
        """Restores the best epoch, finishes tracking, and returns what the run left.

        Args:
            failed: The run did not end by itself; nothing is restored.
            test: Evaluate the best epoch on the test set.
            summary: More for the summary of the W&B run.
        """
        result = self._result()
        self.recorder.draw_learning_curve()
        try:
            if not failed:
                self._end_with_best(result, test)
        except BaseException:
            failed = True
            raise
        finally:
            self.is_open = False
            self.recorder.close(result, failed, summary or {})
        return result

    def _result(self) -> RunResult:
        timing = self.timing
        seconds = {"train": timing.train_s, "validate": timing.validate_s, "data": timing.data_s}
        parameters = sum(parameter.numel() for parameter in self.module.parameters())
        return self.recorder.result(self.trainer.max_epochs, parameters, seconds, timing.peak_memory_bytes)

    def why_stopped(self) -> str:
        """Returns max_epochs, early_stopping, or stopped (by a callback or another limit)."""
        return self.recorder.why_stopped(self.trainer.max_epochs)

    def _end_with_best(self, result: RunResult, test: bool) -> None:
        """Restores the best epoch, and evaluates it on the test set. The result says why that cannot be done."""
        result.best_checkpoint = self.recorder.best_checkpoint
        try:
            if result.best_checkpoint is not None:
                self._load_weights(result.best_checkpoint)
            if test:
                result.metrics = with_test_metrics(result.metrics, self.test())
        except LitError as error:
            warnings.warn(str(error), stacklevel=3)
            result.untested = str(error) if test else None

    def _load_weights(self, path: Path) -> None:
        with loads_plainly(path):
            checkpoint = torch.load(path, map_location=self.module.device, weights_only=True)
        self.module.load_state_dict(checkpoint["state_dict"], strict=self.module.strict_loading)
