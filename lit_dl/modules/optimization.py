"""`OptimizationModule`: optimizer steps, the learning-rate schedule, gradient accumulation and clipping.

Several optimizer steps in one `training_step` (manual optimization) give the same results as Lightning's automatic
optimization.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim import Optimizer

from lit_dl.data.batches import Batch, Batches, Minibatches
from lit_dl.errors import ConfigError
from lit_dl.nn.network import Network
from lit_dl.nn.regularizers import RegularizationConfig, apply_max_norm
from lit_dl.optim.schedules import SCHEDULES, Plateau, ScheduleConfig, multiplier, schedule_options

SAME_ON_ALL_RANKS: dict[str, Any] = {"sync_dist": True, "reduce_fx": "max"}
"""Arguments of `log` for a value that all ranks have. Without `sync_dist` Lightning warns; a mean would round."""


class OptimizationModule(LightningModule):
    """A LightningModule that takes `steps_per_execution` optimizer steps in one `training_step`.

    A step computes gradients, clips them, sets the learning rate of the schedule, calls the optimizer and applies max
    norm. On several devices, gradients are averaged at every step, so that all devices take the same step.

    Args:
        schedule: The learning-rate schedule.
        regularization: The max norm constraint after each step.
        steps_per_execution: Optimizer steps in one `training_step`; 1: Lightning's automatic optimization.
    """

    network: Network
    """The network, which may have parameter groups with rates of their own."""
    weight_matrices: list[Tensor]
    """The weight matrices that max norm applies to."""

    def __init__(
        self, schedule: ScheduleConfig, regularization: RegularizationConfig, steps_per_execution: int
    ) -> None:
        super().__init__()
        self.schedule_config = schedule
        self.regularization_config = regularization
        self.steps_per_execution = steps_per_execution
        self.automatic_optimization = steps_per_execution == 1
        # The Trainer refuses these arguments with manual optimization, so `Run` sets them here.
        self.gradient_clip_val: float | None = None
        self.gradient_clip_algorithm: str | None = None
        self.accumulate_grad_batches = 1
        self.plateau = Plateau(**schedule_options(schedule)) if schedule.name == "plateau" else None
        self._accumulated = 0
        self._minibatch = 0
        self._is_validated = False
        self._world_size = 1

    syncs_metrics = True  # a hook of `Run`; see `lit_dl.run.module_hooks`
    fused = True
    """Whether the optimizer uses torch's fused implementation."""

    def prepare_trainer(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Takes over the Trainer's arguments that it refuses with manual optimization. See `RunHooks`."""
        arguments = dict(arguments)
        if arguments.get("gradient_clip_val"):
            self.fused = False  # with mixed precision torch's fused optimizers refuse clipped gradients
            if str(arguments.get("precision")) in ("16", "16-mixed"):
                # With automatic optimization Lightning unscales the gradients before it clips them.
                self.automatic_optimization = True
                self.steps_per_execution = 1
        if not self.automatic_optimization:
            self.gradient_clip_val = arguments.pop("gradient_clip_val", None)
            self.gradient_clip_algorithm = arguments.pop("gradient_clip_algorithm", None)
            self.accumulate_grad_batches = arguments.pop("accumulate_grad_batches", 1)
            if _counts_batches(arguments):
                self.steps_per_execution = 1
        return arguments

    @abstractmethod
    def _training_loss(self, batch: Batch) -> Tensor:
        """Returns the loss of a minibatch, penalties included, to be differentiated."""

    def training_step(self, batch: Batch | Minibatches, batch_idx: int) -> Tensor | None:
        """Returns the loss to Lightning; or, with manual optimization, takes an optimizer step for every minibatch."""
        if self.automatic_optimization:
            self._minibatch = batch_idx
            return self._training_loss(batch)  # type: ignore[arg-type]
        if isinstance(batch, Minibatches):
            minibatches, first = batch.batches, batch_idx * self.steps_per_execution
        else:
            minibatches, first = [batch], batch_idx
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        for number, minibatch in enumerate(minibatches):
            self._minibatch = first + number
            is_last = self.trainer.is_last_batch and number == len(minibatches) - 1
            self._optimize(optimizer, minibatch, is_last)
        return None

    def _optimize(self, optimizer: LightningOptimizer, batch: Batch, is_last: bool) -> None:
        """Processes a minibatch with manual optimization: a step, or only its gradients while they accumulate."""
        loss = self._training_loss(batch)
        if self.accumulate_grad_batches > 1:
            loss = loss / self.accumulate_grad_batches
            self._accumulated += 1
        self.manual_backward(loss)
        if self._accumulated % self.accumulate_grad_batches and not is_last:
            return
        if is_last:
            self._accumulated = 0
        self._set_lr(optimizer)
        optimizer.step()
        optimizer.zero_grad()
        apply_max_norm(self.regularization_config, self.weight_matrices)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clips gradients with manual optimization.

        Lightning calls this hook after those of the callbacks, so that they see the gradients before clipping, as with
        automatic optimization. A subclass that overrides it must call it.
        """
        if not self.automatic_optimization and self.gradient_clip_val:
            algorithm = self.gradient_clip_algorithm or "norm"
            self.clip_gradients(optimizer, self.gradient_clip_val, algorithm)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Takes the step of automatic optimization at the learning rate of the schedule, then applies max norm."""
        self._minibatch = batch_idx
        self._set_lr(optimizer)
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        apply_max_norm(self.regularization_config, self.weight_matrices)

    def _samples_of_step(self, batch: Batch) -> int:
        """Returns the number of samples of a minibatch over all devices; `batch` is the share of this one."""
        if self._world_size == 1:
            return len(batch[1])
        loader = self.trainer.train_dataloader
        # The samplers that Lightning puts into a DataLoader give every device the same number.
        return loader.samples_of(self._minibatch) if isinstance(loader, Batches) else len(batch[1]) * self._world_size

    # The learning rate

    @property
    def is_scheduled(self) -> bool:
        """Whether the learning rate changes."""
        return self.schedule_config.name != "constant" or self.schedule_config.warmup_epochs > 0

    def lr_factor(self, elapsed: float, epochs: float) -> float:
        """Returns the factor on the learning rate after so many epochs of training, of so many in all."""
        return multiplier(self.schedule_config, elapsed, epochs) * (self.plateau.multiplier if self.plateau else 1.0)

    def _set_lr(self, optimizer: Optimizer | LightningOptimizer) -> None:
        """Sets the learning rate of every parameter group for the current minibatch."""
        if not (self.is_scheduled or self.network.varies_lr):
            return
        loader, batches = self.trainer.train_dataloader, self.trainer.num_training_batches
        minibatches = getattr(loader, "batches", batches) if self.steps_per_execution > 1 else batches
        elapsed = self.current_epoch + self._minibatch / minibatches
        factor = self.lr_factor(elapsed, float(self.trainer.max_epochs or 0))
        for group in optimizer.param_groups:
            own = self.network.lr_factor(group, elapsed)
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor * own

    def on_train_start(self) -> None:
        """Stores the number of devices; refuses a rate that changes within epochs of unknown length.

        Raises:
            ConfigError: The training data has no length, and the schedule needs one.
        """
        self._world_size = self.trainer.world_size
        config = self.schedule_config
        within = config.warmup_epochs > 0 or SCHEDULES[config.name].is_finite
        if within and math.isinf(self.trainer.num_training_batches):
            raise ConfigError("model.schedule", "must not change within an epoch, as the training data has no length")

    def on_validation_model_zero_grad(self) -> None:
        """Keeps accumulated gradients when validation runs within an epoch."""
        if not self._accumulated % self.accumulate_grad_batches:
            super().on_validation_model_zero_grad()

    def on_validation_end(self) -> None:
        """Marks that `plateau` has a new validation loss."""
        self._is_validated = not self.trainer.sanity_checking

    def on_train_epoch_end(self) -> None:
        """Logs the learning rate of the last step of the epoch, and gives the loss of the epoch to `plateau`."""
        if self.is_scheduled:
            self.log("lr", float(self.trainer.optimizers[0].param_groups[-1]["lr"]), **SAME_ON_ALL_RANKS)
        is_new = self._is_validated or not self.trainer.enable_validation
        self._is_validated = False
        if self.plateau is not None and is_new:
            metrics = self.trainer.callback_metrics
            loss = metrics.get("val/loss", metrics.get("train/loss"))
            if loss is not None:
                self.plateau.step(float(loss))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Stores the state of `plateau`."""
        if self.plateau is not None:
            checkpoint["plateau"] = self.plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the state of `plateau`."""
        if self.plateau is not None and "plateau" in checkpoint:
            self.plateau.load_state_dict(checkpoint["plateau"])


def _counts_batches(trainer: Mapping[str, Any]) -> bool:
    """Returns whether an argument of the Trainer counts training batches or takes a share of them: then each batch must
    be a `training_step` of its own."""
    limits = [trainer.get(name) for name in ("limit_train_batches", "val_check_interval", "overfit_batches")]
    is_limited = any(limit and not (isinstance(limit, float) and limit == 1.0) for limit in limits)
    return is_limited or trainer.get("max_steps", -1) > 0 or bool(trainer.get("fast_dev_run"))
