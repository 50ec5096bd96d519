"""The Lightning callbacks that drive the recorders of a run: at the end of each epoch and of validations within it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import proxy

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.trainer.states import TrainerFn

from lit_dl.run.checkpoint_io import leave_out_objects
from lit_dl.run.logged_metrics import logged_in_epoch, logged_in_validation, loss_is_finite, scalar_metrics
from lit_dl.run.pruner import Moment
from lit_dl.run.recorder import RunRecorder


class RecordEpoch(Checkpoint):
    """Hands what is logged to the recorders, at each moment, and stops the Trainer when all of them say so.

    A moment is the end of an epoch, with a validation that ended there, or a validation within it.

    A `Checkpoint` only in name: Lightning calls those after the module's own `on_train_epoch_end`, where it may still
    log.

    Args:
        recorders: One for each run that the Trainer trains.
    """

    STATE_KEY = "RunRecorder"

    def __init__(self, recorders: list[RunRecorder]) -> None:
        self.recorders = recorders
        self._validated: set[str] = set()
        """What a validation at the end of the epoch logged."""
        self._is_validated = False
        self._last_output: Any = None
        self._is_saving = False

    @property
    def state_key(self) -> str:
        return self.STATE_KEY

    def state_dict(self) -> dict[str, Any]:
        return {"recorders": [recorder.state_dict() for recorder in self.recorders]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for recorder, state in zip(self.recorders, state_dict["recorders"], strict=True):
            recorder.load_state_dict(state)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        if self._is_saving:  # and not a `ModelCheckpoint` of the user's, whose files stay as they are
            leave_out_objects(checkpoint)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        callbacks = checkpoint["callbacks"]
        if self.STATE_KEY not in callbacks:
            for recorder in self.recorders:
                recorder.load_state_dict(_state_of_earlier_callbacks(callbacks, recorder))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        for recorder in self.recorders:
            recorder.is_writer = trainer.is_global_zero

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        for recorder in self.recorders:
            recorder.start()
        # An earlier attempt may have died between its last epoch and its end. A run that continues from a checkpoint
        # which the user named is not stopped: the user wants to train on.
        if all(recorder.has_stopped and recorder.resumed_from is not None for recorder in self.recorders):
            trainer.should_stop = True

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:  # noqa: ARG002
        self._last_output = outputs  # read at the next moment: on a GPU to read a loss is to wait for it

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        self._is_validated = True
        self._validated = logged_in_validation(trainer)
        if not trainer.fit_loop.epoch_loop.done:
            moment = self._moment(trainer, self._validated)
            _stop_if_all(trainer, [recorder.end_validation(moment) for recorder in self.recorders])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        moment = self._moment(trainer, self._validated | logged_in_epoch(trainer))
        _stop_if_all(trainer, [recorder.end_epoch(moment) for recorder in self.recorders])

    def _moment(self, trainer: Trainer, logged: set[str]) -> Moment:
        """Returns the present moment, with the metrics of rank 0, so that all ranks record and decide the same."""
        metrics = {name: value for name, value in scalar_metrics(trainer).items() if name in logged}
        metrics, is_finite = trainer.strategy.broadcast((metrics, loss_is_finite(metrics, self._last_output)))
        is_validated, self._is_validated, self._validated = self._is_validated, False, set()
        return Moment(
            epoch=trainer.current_epoch + 1,
            metrics=metrics,
            is_validated=is_validated,
            is_last=_is_last(trainer),
            save=lambda path: self.save(trainer, path),
            broadcast=trainer.strategy.broadcast,
            global_step=trainer.global_step,
            loss_is_finite=is_finite,
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        for recorder in self.recorders:
            recorder.end_fit(sorted(trainer.callback_metrics))

    # Checkpoints

    def save(self, trainer: Trainer, path: Path) -> None:
        """Saves a checkpoint, on all ranks, and tells the Trainer's loggers, as Lightning's ModelCheckpoint does."""
        self._is_saving = True
        try:
            trainer.save_checkpoint(path)
        finally:
            self._is_saving = False
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.after_save_checkpoint(proxy(self))

    # Loggers that upload checkpoints (`log_model=True`) read the following attributes of ModelCheckpoint.

    @property
    def best_model_path(self) -> str:
        """The file of the best epoch; empty when there is none."""
        return str(self.recorders[0].best_checkpoint or "")

    @property
    def best_model_score(self) -> float | None:
        """The monitored metric of the best epoch."""
        recorder = self.recorders[0]
        row = recorder.best_row
        return None if row is None or recorder.monitor is None else float(row[recorder.monitor])

    @property
    def last_model_path(self) -> str:
        """The file of the last epoch; empty when there is none."""
        files = self.recorders[0].files
        return str(files.last) if files is not None and files.last.is_file() else ""

    @property
    def current_score(self) -> float | None:
        """The monitored metric of the last row."""
        recorder = self.recorders[0]
        return recorder.rows[-1].get(recorder.monitor) if recorder.rows and recorder.monitor else None


class CompleteEpoch(Checkpoint):
    """Saves `last.ckpt` when all other callbacks have ended the epoch: whatever is done for an epoch without it is done
    again by a resumed run.

    Args:
        record: The callback that saves.
    """

    def __init__(self, record: RecordEpoch) -> None:
        self.record = record

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        # The module's `configure_callbacks` may have added callbacks behind this one.
        others = [callback for callback in trainer.callbacks if callback is not self]  # type: ignore[attr-defined]
        trainer.callbacks = [*others, self]  # type: ignore[attr-defined]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        for recorder in self.record.recorders:
            recorder.complete_epoch(lambda path: self.record.save(trainer, path))


def _is_last(trainer: Trainer) -> bool:
    """Whether training ends here, by whichever limit: of epochs, of steps, of time, or because somebody stopped it."""
    max_steps: int = trainer.max_steps
    reached = trainer.current_epoch + 1 == trainer.max_epochs or trainer.global_step >= max_steps > -1
    return trainer.should_stop or reached


def _stop_if_all(trainer: Trainer, must_stop: list[bool]) -> None:
    trainer.should_stop = trainer.should_stop or all(must_stop)


def _state_of_earlier_callbacks(callbacks: Mapping[str, Any], recorder: RunRecorder) -> dict[str, Any]:
    """Returns the state of a recorder from a checkpoint of an earlier version.

    There, Lightning's ModelCheckpoint and EarlyStopping and a callback named ReportAndPrune held its parts.
    """
    saving = ("BestCheckpoint{", "TimedCheckpoint{", "LastCheckpoint{")
    state: dict[str, Any] = {
        "checkpoint_s": sum(callbacks[key].get("seconds", 0.0) for key in callbacks if key.startswith(saving)),
        "early_stopping": None,
        "pruner": callbacks.get("ReportAndPrune"),
    }
    stopping = recorder.early_stopping
    key = repr({"monitor": stopping.monitor, "mode": stopping.config.mode}) if stopping else ""
    if (counters := callbacks.get(f"EarlyStopping{key}")) is not None:
        state["early_stopping"] = {
            "best": float(counters["best_score"]),
            "wait_count": counters["wait_count"],
            "stopped": counters["stopping_reason"] != EarlyStoppingReason.NOT_STOPPED.value,
        }
    return state
