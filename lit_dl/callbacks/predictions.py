"""A callback that writes what a module predicts: a table with one row a sample, where the outputs have such rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from lit_dl.files import csv_text, write_bytes, write_text
from lit_dl.modules.regressor import Regressor

_Columns = dict[str, list[Any]]


class PredictionTable(BasePredictionWriter):
    """Writes the predictions of a module as CSV; those of another form, such as pictures, as a file of `torch.save`.

    The columns are `sample` (from 0, in order), then `class` and `probability` where the outputs are class
    probabilities. Other outputs are written as they are: one value a sample is `value`, several are `value_1`,
    `value_2` and so on. Outputs that are a mapping, tuple or list have such columns for each part.

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
        batch_indices: Sequence[Any],
    ) -> None:
        if trainer.is_global_zero:
            several = len(batch_indices) > 1  # dataloaders, each with a list of batches
            batches = list(chain.from_iterable(predictions)) if several else list(predictions)
            print(self._write(batches, is_of_values=isinstance(pl_module, Regressor)))

    def _write(self, batches: list[Any], is_of_values: bool) -> str:
        """Writes the outputs of all batches, and returns a line that says where they are, or why nowhere."""
        if all(batch is None for batch in batches):
            return "no predictions are written: predict_step returns nothing"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        columns_of = _class if not is_of_values and all(map(_are_shares, batches)) else _columns
        try:
            tables = [columns_of(batch) for batch in batches]
            rows = [{"sample": number, **row} for number, row in enumerate(chain.from_iterable(map(_rows, tables)))]
            write_text(self.path, csv_text(rows))
        except ValueError as error:
            return self._write_as_they_are(batches, str(error))
        return f"{len(rows):,} predictions in {self.path}"

    def _write_as_they_are(self, batches: list[Any], problem: str) -> str:
        if not _is_plain(batches):
            return f"no predictions are written: {problem}; write them with a BasePredictionWriter in trainer.callbacks"
        path, content = self.path.with_suffix(".pt"), BytesIO()
        torch.save(batches, content)
        write_bytes(path, content.getbuffer())
        return f"predictions of {len(batches):,} batches, for torch.load, in {path}; no table: {problem}"


def _class(shares: Tensor) -> _Columns:
    probabilities, classes = shares.float().max(1)
    return {"class": classes.tolist(), "probability": [round(value, 6) for value in probabilities.tolist()]}


def _columns(output: Any, name: str = "") -> _Columns:
    """Returns the output of a batch as columns with one value a sample.

    Raises:
        ValueError: It is of another form.
    """
    if isinstance(output, Tensor) and output.ndim == 1:
        return {name or "value": [_short(value) for value in output.tolist()]}
    if isinstance(output, Tensor) and output.ndim == 2:
        return _parts(output.unbind(1), name or "value")
    if isinstance(output, Mapping):
        named = [_columns(part, f"{name}_{key}".strip("_")) for key, part in output.items()]
        return dict(chain.from_iterable(columns.items() for columns in named))
    if isinstance(output, list) and all(isinstance(value, str | int | float) for value in output):
        return {name or "value": [_short(value) for value in output]}
    if isinstance(output, list | tuple):
        return _parts(output, name or "value")
    what = f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
    raise ValueError(f"predict_step returns {what}, not one value or one row of values a sample")


def _parts(parts: Iterable[Any], name: str) -> _Columns:
    columns = [_columns(part, f"{name}_{number}") for number, part in enumerate(parts, start=1)]
    return dict(chain.from_iterable(column.items() for column in columns))


def _rows(columns: _Columns) -> list[dict[str, Any]]:
    if len({len(values) for values in columns.values()}) > 1:
        raise ValueError("predict_step returns parts with different numbers of samples")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _are_shares(output: Any) -> bool:
    """Returns whether an output is class probabilities: rows that sum to 1, up to the rounding of half precision."""
    if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[1] < 2:
        return False
    total = output.float().sum(1)
    return bool((output >= 0).all()) and torch.allclose(total, torch.ones_like(total), atol=1e-2)


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _is_plain(value: Any) -> bool:
    """Returns whether `torch.load` gives the value back without unpickling."""
    if isinstance(value, Mapping):
        return all(_is_plain(part) for part in value.values())
    if isinstance(value, list | tuple):
        return all(_is_plain(part) for part in value)
    return isinstance(value, Tensor | str | int | float | None)
