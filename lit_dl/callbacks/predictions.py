"""A callback that writes `predictions.csv`, one row a sample."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from lit_dl.files import csv_text, write_text
from lit_dl.modules.regressor import Regressor


class PredictionTable(BasePredictionWriter):
    """Writes the predictions of a module as CSV.

    The columns are `sample` (from 0, in order), then the values `value_1`, `value_2` and so on of a `Regressor`. Of
    other modules they are `class` and `probability`, when `predict_step` returns class probabilities.

    Args:
        path: The CSV file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(write_interval="epoch")
        self.path = path

    def write_on_epoch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],  # noqa: ARG002
    ) -> None:
        if not predictions or not all(isinstance(batch, torch.Tensor) and batch.ndim == 2 for batch in predictions):
            return
        outputs = torch.cat(list(predictions)).float().cpu()
        row_of = _values if isinstance(pl_module, Regressor) else _class
        rows = [{"sample": number, **row_of(output)} for number, output in enumerate(outputs)]
        if trainer.is_global_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.path, csv_text(rows))
            print(f"{len(rows):,} predictions in {self.path}")


def _class(probabilities: torch.Tensor) -> dict[str, Any]:
    probability, label = probabilities.max(0)
    return {"class": int(label), "probability": round(float(probability), 6)}


def _values(outputs: torch.Tensor) -> dict[str, Any]:
    return {f"value_{number}": float(f"{value:.6g}") for number, value in enumerate(outputs.tolist(), start=1)}
