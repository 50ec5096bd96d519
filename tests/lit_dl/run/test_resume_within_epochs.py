"""Runs that validate within epochs, interrupted there: they go on after the last whole epoch as if nothing had been."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, LightningModule, Trainer
from resumable import Interrupted, compare, foreign, run_in

from lit_dl.run.epoch_rows import read_rows

OFTEN = {"val_check_interval": 2}
ACROSS = {"val_check_interval": 3, "check_val_every_n_epoch": None}
LIMITED = {"val_check_interval": 2, "max_epochs": -1, "max_steps": 18}


class InterruptsAtStep(Callback):
    """Interrupts before a batch, when the validation before it has left its row and its checkpoint."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise Interrupted


def config_of(trainer: dict[str, Any]) -> dict[str, Any]:
    config = foreign("")
    config["trainer"] |= trainer
    config["checkpoint"] = config["early_stopping"] = {"monitor": "val_loss"}
    return config


@pytest.mark.parametrize("trainer", [OFTEN, ACROSS, LIMITED])
@pytest.mark.parametrize("step", [3, 7, 9, 14])
def test_a_run_goes_on_after_its_last_whole_epoch(tmp_path: Path, trainer: dict[str, Any], step: int) -> None:
    config = config_of(trainer)
    whole = run_in(config, tmp_path / "whole")
    with suppress(Interrupted):
        run_in(config, tmp_path / "parts", [InterruptsAtStep(step)])
    left = read_rows(tmp_path / "parts" / "metrics.csv")
    assert left[-1]["global_step"] <= step
    parts = run_in(config, tmp_path / "parts")
    assert parts["resumed_from"] == (step // 5 or None)  # five batches an epoch
    compare(parts, whole)
