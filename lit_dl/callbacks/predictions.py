"""`predictions.csv`: one row a sample."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from lit_dl.callbacks.epoch_table import csv_text
from lit_dl.files import write_text


class PredictionTable(BasePredictionWriter):
    """Writes `sample` (from 0, in file order), `class` and `probability` when `predict_step` gives class probabilities.

    Args:
        path: The CSV file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(write_interval="epoch")
        self.path = path

    def write_on_epoch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],  # noqa: ARG002
    ) -> None:
        if not predictions or not all(isinstance(batch, torch.Tensor) and batch.ndim == 2 for batch in predictions):
            return
        probability, label = torch.cat(list(predictions)).max(1)
        rows = [
            {"sample": number, "class": int(c), "probability": round(float(p), 6)}
            for number, (p, c) in enumerate(zip(probability, label, strict=True))
        ]
        if trainer.is_global_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.path, csv_text(rows))
            print(f"{len(rows):,} predictions in {self.path}")
