"""`LayerHealth`: the callback that writes `diagnostics.csv` and warns of vanishing or exploding gradients.

The file has gradients, updates and activations by layer and epoch.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Optimizer

from lit_dl.callbacks.gradient_health import (
    EXPLODING_ABOVE,
    VANISHING_BELOW,
    gradient_ratio,
    gradient_status,
    per_weight,
)
from lit_dl.callbacks.layer_activity import LayerActivity
from lit_dl.callbacks.layer_weights import layer_weights, trained_weights
from lit_dl.callbacks.step_sampler import StepSampler
from lit_dl.files import csv_text, write_text
from lit_dl.modules.optimization import SAME_ON_ALL_RANKS

GRADIENT_RATIO = "gradient_ratio"
FIGURES = ("gradient_norm", "update_ratio", "activation_mean", "activation_std", "dead", "saturated")

_log = logging.getLogger(__name__)
_ADVICE = {
    "vanishing": f"below {VANISHING_BELOW:g}, so they vanish: the first layers hardly learn; ReLU with He "
    "initialization, normalization, residual connections or fewer layers may help",
    "exploding": f"above {EXPLODING_ABOVE:g}, so they explode; a smaller learning rate, smaller initial weights, "
    "normalization or gradient clipping may help",
}

Rows = dict[str, dict[str, Any]]
"""The figures of an epoch: by layer, then by name. A figure that is undefined is missing or `None`."""


class LayerHealth(Callback):
    """Records how gradients, weights and activations behave, by layer and epoch.

    A layer is a parameter of two or more axes, under the shortest name that no other has. Each epoch has:

    - `gradient_norm`: Euclidean norm of the gradient of the loss, penalties included, before clipping (after it, where
      a module clips by itself), averaged over 16 to 32 steps of the epoch;
    - `update_ratio`: norm of the change by such a step over the norm of the weights before it. The weights are compared
      before the next step, so the change includes momentum, decay and max norm;
    - `activation_mean`, `activation_std`, `dead`, `saturated`: see `LayerActivity`; over all batches of the (last)
      validation of the epoch, without dropout; empty without validation.

    They go to a table with one row for each epoch and layer, and to the loggers of the Trainer as
    `gradient_norm/hidden_1`. Only `gradient_ratio` is a metric: the gradient of the first layer over that of the last,
    both as root mean square per weight (see `gradient_ratio`). When it first leaves [1e-3, 1e3], a warning is logged.

    On several devices, gradients and updates are those of all devices. Activations are of the first device's share of
    the batches. The callback reads nothing from the device before the epoch ends, and draws no random number.

    Args:
        path: The CSV file, written whole after every epoch. `None`: no file.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._text = ""
        self._warned: set[str] = set()
        self._samplers: dict[Optimizer, StepSampler] = {}
        self._activity: LayerActivity | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._samplers = {
            optimizer: StepSampler(trained_weights(pl_module, optimizer), sampler.stride)
            for optimizer, sampler in self._samplers.items()
        }
        self._activity = None

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if optimizer not in self._samplers:
            self._samplers[optimizer] = StepSampler(trained_weights(pl_module, optimizer))
        self._samplers[optimizer].before_step(_scaler_of(trainer, optimizer))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._activity = LayerActivity(pl_module, layer_weights(pl_module))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        if self._activity is not None:
            self._activity.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        self.on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reads the figures of the epoch, writes and logs them, and warns.

        Lightning calls it before the hook of the module, so that the metrics of the epoch have the ratio.
        """
        weights = layer_weights(pl_module)
        rows: Rows = {name: {} for name in weights}
        for name, figures in self._read():
            if name in rows:
                rows[name].update(figures)
        self._write(trainer, weights, rows)
        self._log_figures(trainer, rows)
        self._log_gradient_ratio(trainer, pl_module, weights, rows)

    def _read(self) -> list[tuple[str, dict[str, float | None]]]:
        """Reads all figures of the epoch by one transfer from the device."""
        sources: list[Any] = [*self._samplers.values(), *([self._activity] if self._activity else [])]
        tensors = [source.tensors() for source in sources]
        flat = iter(_to_host([tensor for group in tensors for tensor in group]))
        found = [source.rows([next(flat) for _ in group]) for source, group in zip(sources, tensors, strict=True)]
        return [row for rows in found for row in rows.items()]

    def _write(self, trainer: Trainer, weights: dict[str, nn.Parameter], rows: Rows) -> None:
        if self.path is None or not trainer.is_global_zero or not rows:
            return
        table = [
            {"epoch": trainer.current_epoch + 1, "layer": name, "weights": weights[name].numel()}
            | {figure: _cell(rows[name].get(figure)) for figure in FIGURES}
            for name in weights
        ]
        head, lines = csv_text(table).split("\n", 1)
        self._text = (self._text or f"{head}\n") + lines
        write_text(self.path, self._text, durable=True)

    def state_dict(self) -> dict[str, Any]:
        return {"told": sorted(self._warned)}  # the key that checkpoints have

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._warned = set(state_dict["told"])

    def resume(self, epoch: int, writes: bool = True) -> None:
        """Continues the file after `epoch`: removes the rows of later epochs.

        Args:
            epoch: The last epoch to keep, from 1.
            writes: Whether this process writes the file.
        """
        if self.path is None or not self.path.is_file():
            return
        head, *lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        self._text = head + "".join(line for line in lines if int(line.split(",")[0]) <= epoch)
        if writes:
            write_text(self.path, self._text, durable=True)

    def _log_figures(self, trainer: Trainer, rows: Rows) -> None:
        """Sends the figures to the loggers alone: as metrics of the module they would be columns of every table."""
        values = {f"{figure}/{name}": rows[name].get(figure) for figure in FIGURES for name in rows}
        known = {name: value for name, value in values.items() if value is not None}
        for logger in trainer.loggers if known else []:
            logger.log_metrics({**known, "epoch": trainer.current_epoch}, trainer.global_step)

    def _log_gradient_ratio(
        self, trainer: Trainer, module: LightningModule, weights: dict[str, nn.Parameter], rows: Rows
    ) -> None:
        """Logs the gradient ratio as a metric, and warns once when gradients vanish and once when they explode."""
        norms = {name: row["gradient_norm"] for name, row in rows.items() if row.get("gradient_norm") is not None}
        ratio = gradient_ratio([per_weight(norm, weights[name].numel()) for name, norm in norms.items()])
        if len(weights) > 1:
            # NaN where the ratio is unknown. Without a value, Lightning would keep that of the epoch before.
            module.log(GRADIENT_RATIO, math.nan if ratio is None else ratio, **SAME_ON_ALL_RANKS)
        status = gradient_status(ratio)
        if status is not None and status not in self._warned and trainer.is_global_zero:
            self._warned.add(status)
            first, *_, last = norms
            _log.warning(
                f"{status} gradients: in epoch {trainer.current_epoch + 1} those of {first} are {ratio:.2g} times "
                f"those of {last} (root mean square per weight), {_ADVICE[status]}"
            )


def _scaler_of(trainer: Trainer, optimizer: Optimizer) -> Any:
    """Returns the gradient scaler of 16-mixed if the gradients still carry its scale, else `None`.

    Lightning unscales gradients before the step, except for optimizers that do it themselves, as torch's fused ones.
    """
    unscales_itself = getattr(optimizer, "_step_supports_amp_scaling", False)  # Lightning asks the same attribute
    return getattr(trainer.precision_plugin, "scaler", None) if unscales_itself else None


def _to_host(tensors: list[Tensor]) -> list[Tensor]:
    """Copies tensors to host memory by one transfer."""
    if not tensors:
        return []
    flat = torch.cat([tensor.detach().flatten().to(tensors[0].device) for tensor in tensors]).cpu()
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.reshape(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def _cell(value: float | None) -> str | None:
    return None if value is None else f"{value:.6g}"
