"""What belongs to one run and not to its Trainer: rows, checkpoints, early stopping, pruner, tracking, result.

Imports no Lightning: it is given metrics as floats and a function that saves a checkpoint. A Trainer has one recorder
for each run that it trains, so one for a run that is alone; `recorder_callbacks.py` drives them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from lit_dl.config.keys import Config
from lit_dl.config.yaml_io import dump_yaml
from lit_dl.errors import never_logged
from lit_dl.files import csv_text, retry_on_full_disk, write_text
from lit_dl.learning_curve import save_learning_curve
from lit_dl.run.checkpoint_files import CheckpointFiles, SaveCheckpoint
from lit_dl.run.early_stopping import early_stopping
from lit_dl.run.epoch_rows import GLOBAL_STEP, Row, best_row, last_metrics, make_row, metrics_of, places_of
from lit_dl.run.pruner import Moment, Pruner
from lit_dl.run.run_config import CheckpointConfig, EarlyStoppingConfig
from lit_dl.run.run_result import RunLocation, RunResult
from lit_dl.run.run_tracker import start_tracker
from lit_dl.tracking import Tracker

_log = logging.getLogger(__name__)


class RunRecorder:
    """Records one run, and decides which of its moments is best and when it stops.

    A moment is the end of an epoch, or a validation within an epoch. The row, the best checkpoint, early stopping and
    the pruner all are of the same moments.

    Args:
        config: The complete run config. Its groups `early_stopping`, `checkpoint` and `tracking` apply.
        location: Where the files go. `None`: no file is written and nothing is tracked.
        default_monitor: The metric to monitor where the config names none; `None`: no early stopping, no best epoch.
        validates_within_epochs: Whether rows hold the step, because there may be several in an epoch.
        fast_dev_run: Whether the Trainer only tries a few batches: no checkpoint, no early stopping.
        on_row: Called with each row.

    Raises:
        ConfigError: A value of these groups that cannot be used.
    """

    def __init__(
        self,
        config: Config,
        location: RunLocation | None,
        default_monitor: str | None,
        *,
        validates_within_epochs: bool = False,
        fast_dev_run: bool = False,
        on_row: Callable[[Row], None] | None = None,
    ) -> None:
        checkpoint = CheckpointConfig(**config.get("checkpoint", {}))
        stopping = early_stopping(EarlyStoppingConfig(**config.get("early_stopping", {})), default_monitor)
        files = CheckpointFiles(location.run_dir / "checkpoints", checkpoint.last) if location else None
        self.config = config
        self.location = location
        self.on_row = on_row
        self.monitor = checkpoint.monitor or default_monitor
        self.mode = checkpoint.mode
        self.validates_within_epochs = validates_within_epochs
        self.early_stopping = None if fast_dev_run else stopping
        self.files = None if fast_dev_run else files
        self.pruner: Pruner | None = None
        self.tracker: Tracker | None = None
        self.rows: list[Row] = []
        self.epochs = 0
        """Completed epochs."""
        self.is_writer = True
        """Whether this rank writes files: rank 0 does."""
        self.resumed_from: int | None = None
        """The epoch after which the run resumed, from 1; `None`: it started with the first."""
        self._has_validated = False
        self._opened = self._started = perf_counter()

    # Start and resume

    def open(self) -> None:
        """Makes the folder, writes the config, starts tracking."""
        self._opened = perf_counter()
        if self.location is None or not self.is_writer:
            return
        folder = self.location.run_dir
        retry_on_full_disk(folder, lambda: folder.mkdir(parents=True, exist_ok=True))
        write_text(folder / "config.yaml", dump_yaml(self.config), durable=True)
        self.tracker = start_tracker(self.config, self.location)

    def resume(self, rows: Sequence[Row], best_is_ahead: bool) -> None:
        """Rolls everything beside the last checkpoint back to the end of the last of these epochs.

        Args:
            rows: The rows of the completed epochs, at least one.
            best_is_ahead: Whether `best.ckpt` is of a later epoch.
        """
        self.rows = list(rows)
        self.resumed_from = self.epochs = int(self.rows[-1]["epoch"])
        self._opened -= self._earlier_s
        self._write_rows()
        if self.files is not None and self.monitor is not None:
            self.files.roll_back(best_is_ahead, self.is_writer)
        if self.tracker is not None:
            self.tracker.resume([*{row["epoch"]: row for row in self.rows}.values()])  # the last row of each epoch

    @property
    def _earlier_s(self) -> float:
        return float(self.rows[-1]["elapsed_s"]) if self.rows else 0.0

    def start(self) -> None:
        """Starts the clock of the rows, when training starts."""
        self._started = perf_counter() - self._earlier_s

    # Moments

    def end_validation(self, moment: Moment) -> bool:
        """Records a validation within an epoch. Returns whether the run must stop."""
        return self._record(moment, {})

    def end_epoch(self, moment: Moment) -> bool:
        """Records the end of an epoch. Returns whether the run must stop."""
        last = self.rows[-1] if self.rows else {}
        # A validation that stopped the run is the end of its epoch, too.
        is_recorded = last.get("epoch") == moment.epoch and last.get(GLOBAL_STEP) == moment.global_step
        earlier = metrics_of(self.rows.pop()) if is_recorded else {}
        must_stop = self._record(moment, earlier)
        self.epochs = moment.epoch
        if self.epochs == 1 and self._has_validated and not moment.is_last:
            for key, metric in self._unlogged():
                logged = ", ".join(last_metrics(self.rows)) or "none"
                _log.warning("%s: %r is not logged in the first epoch; logged are %s", key, metric, logged)
        return must_stop

    def _record(self, moment: Moment, earlier: Mapping[str, float]) -> bool:
        """Records a moment: row, early stopping, best checkpoint, pruner. Returns whether the run must stop.

        Args:
            moment: The moment.
            earlier: What its row holds beside what was logged since.
        """
        self._has_validated |= moment.is_validated
        step = moment.global_step if self.validates_within_epochs else None
        elapsed_s = round(perf_counter() - self._started, 4)
        row = make_row(moment.epoch, elapsed_s, step, {**earlier, **moment.metrics})
        self.rows.append(row)
        self._write_rows()
        if self.on_row is not None:
            self.on_row(row)
        must_stop = self.early_stopping is not None and self.early_stopping.check(moment.metrics)
        if self._must_save_as_best(row):
            assert self.files is not None
            self.files.save_best(moment.save, self.is_writer)
        if self.pruner is not None:
            self.pruner.observe(replace(moment, is_last=moment.is_last or must_stop), self.is_writer)
            must_stop |= self.pruner.decision is not None
        return must_stop

    def complete_epoch(self, save: SaveCheckpoint) -> None:
        """Saves the last checkpoint. Called after everybody else's end of the epoch: it makes the epoch complete."""
        if self.files is not None and self.files.keeps_last:
            self.files.save_last(save, self.is_writer)

    def end_fit(self, metrics: Sequence[str]) -> None:
        """Checks, after training, the names of the metrics that were logged.

        Raises:
            ConfigError: One that the pruner needs, or that the config names, was never logged.
        """
        if self.pruner is not None and self.rows:
            self.pruner.end_fit(metrics)
        for key, metric in self._unlogged() if self._has_validated else []:
            raise never_logged(key, metric, last_metrics(self.rows))

    def _unlogged(self) -> list[tuple[str, str]]:
        """Returns the keys of the metrics to monitor that no row has yet, with the metrics."""
        stopping = self.early_stopping
        watched = {"early_stopping.monitor": stopping.monitor if stopping and stopping.is_required else None}
        watched["checkpoint.monitor"] = self.monitor if self.files is not None else None
        logged = last_metrics(self.rows)
        return [(key, metric) for key, metric in watched.items() if metric is not None and metric not in logged]

    def _write_rows(self) -> None:
        if self.location is not None and self.is_writer:
            write_text(self.location.run_dir / "metrics.csv", csv_text(self.rows), durable=True)

    @property
    def best_row(self) -> Row | None:
        """The best row, of those with all that the pruner needs; the last row when there is no metric to monitor."""
        if self.monitor is None:
            return self.rows[-1] if self.rows else None
        needed = self.pruner.metrics if self.pruner is not None else ()
        return best_row([row for row in self.rows if all(name in row for name in needed)], self.monitor, self.mode)

    def _must_save_as_best(self, row: Row) -> bool:
        if self.files is None or self.monitor is None or self.monitor not in row:
            return False
        # A run of which no row has a finite value still leaves a checkpoint, of the first one that has any value.
        is_first = not any(self.monitor in earlier for earlier in self.rows[:-1])
        return is_first or self.best_row is row

    # State

    @property
    def has_stopped(self) -> bool:
        """Whether early stopping or the pruner stopped the run."""
        stopped_early = self.early_stopping is not None and self.early_stopping.stopped
        return stopped_early or (self.pruner is not None and self.pruner.decision is not None)

    def state_dict(self) -> dict[str, Any]:
        """Returns what a resumed run needs beside its rows, as plain values for a checkpoint."""
        return {
            "checkpoint_s": self.files.seconds if self.files else 0.0,
            "early_stopping": self.early_stopping.state_dict() if self.early_stopping else None,
            "pruner": self.pruner.state_dict() if self.pruner else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over the state of a checkpoint. Parts that this run does not have are ignored."""
        if self.files is not None:
            self.files.seconds = state["checkpoint_s"]
        if self.early_stopping is not None and state["early_stopping"] is not None:
            self.early_stopping.load_state_dict(state["early_stopping"])
        if self.pruner is not None and state["pruner"] is not None:
            self.pruner.load_state_dict(state["pruner"])

    # The end

    def result(self, max_epochs: int | None, parameters: int, seconds: Mapping[str, float], memory: int) -> RunResult:
        """Returns what the run left so far.

        Args:
            max_epochs: Of the Trainer.
            parameters: Number of weights and biases.
            seconds: By part: train, validate, data.
            memory: Peak memory in bytes.
        """
        best = self.best_row
        checkpoint_s = self.files.seconds if self.files else 0.0
        return RunResult(
            stopped=self.why_stopped(max_epochs),
            epochs=self.epochs,
            best_epoch=int(best["epoch"]) if best else None,
            metrics=metrics_of(best),
            final=last_metrics(self.rows),
            best_checkpoint=None,
            parameters=parameters,
            seconds={**seconds, "checkpoint": checkpoint_s, "tracking": 0.0},
            peak_memory_bytes=memory,
        )

    def why_stopped(self, max_epochs: int | None) -> str:
        """Returns max_epochs, early_stopping, or stopped (by a callback or another limit)."""
        if self.early_stopping is not None and self.early_stopping.stopped:
            return "early_stopping"
        return "max_epochs" if max_epochs is not None and self.epochs >= max_epochs >= 0 else "stopped"

    @property
    def best_checkpoint(self) -> Path | None:
        """The file of the best epoch; `None` when none was kept."""
        files = self.files
        return files.best if files is not None and files.has_best and files.best.is_file() else None

    def draw_learning_curve(self) -> None:
        """Writes `learning_curve_plot.png`, with the best epoch marked where there is a metric to monitor."""
        if self.location is not None and self.is_writer:
            rows = [{**row, "epoch": place} for row, place in zip(self.rows, places_of(self.rows), strict=True)]
            best = self.best_row if self.monitor is not None else None
            place = next((new["epoch"] for new, row in zip(rows, self.rows, strict=True) if row is best), None)
            save_learning_curve(self.location.run_dir / "learning_curve_plot.png", rows, place)

    def close(self, result: RunResult, failed: bool, summary: Mapping[str, Any]) -> None:
        """Finishes tracking, and completes the seconds of the result.

        Args:
            result: What the run left.
            failed: Whether the run did not end by itself.
            summary: More for the summary of the W&B run.
        """
        if self.tracker is not None:
            best = {f"best/{name}": value for name, value in result.metrics.items()}
            counts = {"best_epoch": result.best_epoch, "epochs": result.epochs, "stopped": result.stopped}
            self.tracker.finish({**counts, **best, **summary}, failed)
            result.seconds["tracking"] = self.tracker.seconds
        result.seconds["total"] = perf_counter() - self._opened
