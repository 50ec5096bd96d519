"""`diagnostics.csv`: gradients, updates and activations by layer and epoch, and a word when gradients vanish."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from lit_dl.callbacks.epoch_table import csv_text
from lit_dl.callbacks.gradient_health import (
    EXPLODING_ABOVE,
    VANISHING_BELOW,
    gradient_ratio,
    gradient_verdict,
    per_weight,
)
from lit_dl.callbacks.layer_activity import LayerActivity
from lit_dl.files import write_text
from lit_dl.modules.optimization import LOGGED_ALIKE

RATIO = "gradient_ratio"
FIGURES = ("gradient_norm", "update_ratio", "activation_mean", "activation_std", "dead", "saturated")
MOST_SAMPLES = 32  # even; an epoch of more steps keeps 16 to 32, evenly spread

_log = logging.getLogger(__name__)
_ADVICE = {
    "vanishing": f"below {VANISHING_BELOW:g}, so they vanish: the first layers hardly learn; ReLU with He "
    "initialization, normalization, residual connections or fewer layers may help",
    "exploding": f"above {EXPLODING_ABOVE:g}, so they explode; a smaller learning rate, smaller initial weights, "
    "normalization or gradient clipping may help",
}


class LayerHealth(Callback):
    """How gradients, weights and activations do, by layer and epoch.

    A layer is a kernel, a parameter of two or more axes, under the shortest name that tells it from others. Each epoch:

    - `gradient_norm`: Euclidean norm of the loss's gradient, penalties included, before clipping (after it, where a
      module clips by itself), averaged over 16 to 32 steps of the epoch;
    - `update_ratio`: norm of what such a step changed over norm of the weights before it, from the weights as they are
      before the next step: with momentum, decay and max norm in it;
    - `activation_mean`, `activation_std`, `dead`, `saturated`: see `LayerActivity`; over all batches of the epoch's
      (last) validation, without dropout; empty without one.

    They go to a table of one row an epoch and layer, and to the Trainer's loggers as `gradient_norm/hidden_1`. Logged
    as a metric is only `gradient_ratio`: the gradient of the first layer over that of the last, both as root mean
    square per weight (see `gradient_ratio`). When it first leaves [1e-3, 1e3], a message says so.

    On several devices gradients and updates are those of all; activations are of the first one's share of the batches.
    Nothing is read from the device before the epoch ends, and no random number is drawn.

    Args:
        path: The CSV file, written whole after every epoch. `None`: no file.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._text = ""
        self._told: set[str] = set()
        self._steps: dict[Optimizer, _Steps] = {}
        self._activity: LayerActivity | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._steps = {
            optimizer: _Steps(_layers_of(pl_module, optimizer), steps.stride)
            for optimizer, steps in self._steps.items()
        }
        self._activity = None

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if optimizer not in self._steps:
            self._steps[optimizer] = _Steps(_layers_of(pl_module, optimizer))
        self._steps[optimizer].add(_scaler_of(trainer, optimizer))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._activity = LayerActivity(pl_module, kernels_of(pl_module))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        if self._activity is not None:
            self._activity.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        self.on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the module's own hook, so that the epoch's row has the ratio."""
        kernels = kernels_of(pl_module)
        rows: dict[str, dict[str, Any]] = {name: {} for name in kernels}
        for name, figures in self._read():
            if name in rows:
                rows[name].update(figures)
        self._write(trainer, kernels, rows)
        self._log_figures(trainer, rows)
        self._judge(trainer, pl_module, kernels, rows)

    def _read(self) -> list[tuple[str, dict[str, float | None]]]:
        """Everything of the epoch, by one transfer from the device."""
        groups: list[Any] = [*self._steps.values(), *([self._activity] if self._activity else [])]
        tensors = [group.tensors() for group in groups]
        flat = iter(_to_host([tensor for group in tensors for tensor in group]))
        found = [group.rows([next(flat) for _ in mine]) for group, mine in zip(groups, tensors, strict=True)]
        return [row for rows in found for row in rows.items()]

    def _write(self, trainer: Trainer, kernels: dict[str, nn.Parameter], rows: dict[str, dict[str, Any]]) -> None:
        if self.path is None or not trainer.is_global_zero or not rows:
            return
        table = [
            {"epoch": trainer.current_epoch + 1, "layer": name, "weights": kernels[name].numel()}
            | {figure: _cell(rows[name].get(figure)) for figure in FIGURES}
            for name in kernels
        ]
        head, lines = csv_text(table).split("\n", 1)
        self._text = (self._text or f"{head}\n") + lines
        write_text(self.path, self._text, durable=True)

    def state_dict(self) -> dict[str, Any]:
        return {"told": sorted(self._told)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._told = set(state_dict["told"])

    def resume(self, epoch: int, writes: bool = True) -> None:
        """Goes on after `epoch`, with nothing after it in the file.

        Args:
            epoch: The last epoch that counts, from 1.
            writes: Whether this process writes the file.
        """
        if self.path is None or not self.path.is_file():
            return
        head, *lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        self._text = head + "".join(line for line in lines if int(line.split(",")[0]) <= epoch)
        if writes:
            write_text(self.path, self._text, durable=True)

    def _log_figures(self, trainer: Trainer, rows: dict[str, dict[str, Any]]) -> None:
        """To the loggers alone: as metrics of the module they would be columns of every table."""
        values = {f"{figure}/{name}": rows[name].get(figure) for figure in FIGURES for name in rows}
        known = {name: value for name, value in values.items() if value is not None}
        for logger in trainer.loggers if known else []:
            logger.log_metrics({**known, "epoch": trainer.current_epoch}, trainer.global_step)

    def _judge(
        self,
        trainer: Trainer,
        module: LightningModule,
        kernels: dict[str, nn.Parameter],
        rows: dict[str, dict[str, Any]],
    ) -> None:
        norms = {name: row["gradient_norm"] for name, row in rows.items() if row.get("gradient_norm") is not None}
        ratio = gradient_ratio([per_weight(norm, kernels[name].numel()) for name, norm in norms.items()])
        if len(kernels) > 1:  # not a number where it is unknown: else Lightning would keep that of the epoch before
            module.log(RATIO, math.nan if ratio is None else ratio, **LOGGED_ALIKE)
        verdict = gradient_verdict(ratio)
        if verdict is not None and verdict not in self._told and trainer.is_global_zero:
            self._told.add(verdict)
            first, *_, last = norms
            _log.warning(
                f"{verdict} gradients: in epoch {trainer.current_epoch + 1} those of {first} are {ratio:.2g} times "
                f"those of {last} (root mean square per weight), {_ADVICE[verdict]}"
            )


class _Steps:
    """Gradients and updates of the kernels of one optimizer, at steps spread evenly over an epoch of unknown length.

    Every step is taken until there are `MOST_SAMPLES`; then every other one is dropped and only every second step
    taken, and so on. The next epoch begins with the stride that this one ended with.
    """

    def __init__(self, kernels: dict[str, nn.Parameter], stride: int = 1) -> None:
        self.kernels, self.stride = kernels, stride
        self.calls = 0
        self.gradients: list[Tensor] = []
        self.updates: list[Tensor] = []
        self._before: list[Tensor] = []

    def add(self, scaler: Any = None) -> None:
        """One more step is about to be made.

        Args:
            scaler: The gradient scaler, when gradients are still multiplied by its scale. `None`: they are not.
        """
        self._compare()
        if self.calls % self.stride == 0 and self.kernels:
            if len(self.gradients) == MOST_SAMPLES:
                del self.gradients[1::2], self.updates[1::2]
                self.stride *= 2
            self.gradients.append(self._norms(scaler))
            self._before = [kernel.detach().clone() for kernel in self.kernels.values()]
        self.calls += 1

    def _norms(self, scaler: Any) -> Tensor:
        kernels = list(self.kernels.values())
        missing = torch.full((), math.nan, device=kernels[0].device)
        norms = torch.stack([missing if kernel.grad is None else _norm(kernel.grad) for kernel in kernels])
        if scaler is not None:
            norms = norms / scaler.scale(torch.ones_like(missing))
        return _finite(norms)  # in mixed precision a step whose gradients overflow is skipped, and counts for nothing

    def _compare(self) -> None:
        """What the step taken last changed."""
        if not self._before:
            return
        pairs = list(zip(self._before, self.kernels.values(), strict=True))
        sizes = torch.stack([_norm(before) for before, _ in pairs])
        changes = torch.stack([_norm(before.sub_(kernel.detach())) for before, kernel in pairs])
        self.updates.append(_finite(changes / sizes))  # weights of zero have no ratio
        self._before = []

    def tensors(self) -> list[Tensor]:
        """Gradient norms and update ratios, means over the steps, each (kernels,); nothing when no step was taken."""
        self._compare()
        return [torch.stack(taken).nanmean(0) for taken in (self.gradients, self.updates)] if self.gradients else []

    def rows(self, read: list[Tensor]) -> dict[str, dict[str, float | None]]:
        """The figures of each layer, from its `tensors` as read from the device; a layer without gradient has none."""
        if not read:
            return {}
        columns = zip(self.kernels, read[0].tolist(), read[1].tolist(), strict=True)
        return {
            name: {"gradient_norm": gradient, "update_ratio": None if math.isnan(update) else update}
            for name, gradient, update in columns
            if not math.isnan(gradient)
        }


def kernels_of(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of two or more axes, by layer name, in order of registration."""
    kernels = {name: weight for name, weight in module.named_parameters() if not is_lazy(weight) and weight.ndim > 1}
    return dict(zip(layer_names(kernels), kernels.values(), strict=True))


def _layers_of(module: nn.Module, optimizer: Optimizer) -> dict[str, nn.Parameter]:
    """The kernels that an optimizer moves."""
    moved = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    return {name: kernel for name, kernel in kernels_of(module).items() if id(kernel) in moved}


def layer_names(parameters: Iterable[str]) -> list[str]:
    """The shortest beginnings of dotted names that differ, without what all share.

    `network.hidden_1.linear.weight` and `network.output.weight` are `hidden_1` and `output`; a number alone keeps what
    stands before it, as in `net.0`.
    """
    paths = [name.replace("_orig_mod.", "").split(".") for name in parameters]  # torch.compile's wrapper
    most = min((len(path) for path in paths), default=0) - 2  # at least a layer and its parameter stay
    shared = 0
    while shared < most and len({path[shared] for path in paths}) == 1:
        shared += 1
    if shared and any(path[shared].isdigit() for path in paths):
        shared -= 1
    beginnings = [[".".join(path[shared:end]) for end in range(shared + 1, len(path) + 1)] for path in paths]
    often = Counter(beginning for several in beginnings for beginning in several)
    return [next(beginning for beginning in several if often[beginning] == 1) for several in beginnings]


def _norm(tensor: Tensor) -> Tensor:
    values = tensor.coalesce().values() if tensor.is_sparse else tensor
    norm: Tensor = torch.linalg.vector_norm(values, dtype=torch.promote_types(values.dtype, torch.float32))
    return norm


def _finite(values: Tensor) -> Tensor:
    return values.where(values.isfinite(), math.nan)


def _scaler_of(trainer: Trainer, optimizer: Optimizer) -> Any:
    """The gradient scaler of 16-mixed where gradients still carry its scale: Lightning takes that off before, except
    for optimizers that do it in their step, as torch's fused ones."""
    handles = getattr(optimizer, "_step_supports_amp_scaling", False)  # what Lightning asks as well
    return getattr(trainer.precision_plugin, "scaler", None) if handles else None


def _to_host(tensors: list[Tensor]) -> list[Tensor]:
    """Copies in host memory, by one transfer."""
    if not tensors:
        return []
    flat = torch.cat([tensor.detach().flatten().to(tensors[0].device) for tensor in tensors]).cpu()
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.reshape(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def _cell(value: float | None) -> str | None:
    return None if value is None else f"{value:.6g}"
