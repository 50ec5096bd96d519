"""The LightningModule: a network, a loss, an optimizer and regularization, each from configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim import Optimizer

from lit_dl.data.batches import Batch, Minibatches
from lit_dl.errors import ConfigError, under, unknown_name
from lit_dl.losses import loss_function
from lit_dl.metrics import EpochMetrics
from lit_dl.network import NetworkConfig, build_network
from lit_dl.optimizers import OptimizerConfig, build_optimizer, check_optimizer
from lit_dl.randomness import generator, run_seed
from lit_dl.regularizers import RegularizationConfig, check_regularization, penalty, project

Group = TypeVar("Group", NetworkConfig, OptimizerConfig, RegularizationConfig)


class Classifier(LightningModule):
    """Classifies images (batch, channels, height, width) float32 into one of `network.classes` classes.

    Logs, once an epoch, `train|val|test` x `loss|acc`: means over the samples of the epoch. The loss is without
    penalties; the training figures are taken in training mode (dropout on) while the weights change, as Keras's
    history has them.

    The three groups are given as dataclasses or, from checkpoints, as dicts (annotated as dataclasses alone, because a
    union would hide their keys from the command line).

    Args:
        network: Depth, width, activation, initializer, norm, dropout.
        optimizer: Optimizer and its hyperparameters.
        regularization: Penalties and max norm.
        loss: cross_entropy or hinge.
        steps_per_execution: Minibatches, each with its own optimizer step, in one `training_step`: Keras's word for
            paying a Trainer's cost a step only once in so many. 1: Lightning's automatic optimization. The results are
            the same.
        seed: Seed of the initial weights. `None`: the run's seed.

    Raises:
        ConfigError: A name or value that cannot be used; its key is relative to the module (`network.depth`).
    """

    def __init__(
        self,
        network: NetworkConfig = NetworkConfig(),  # noqa: B008 - frozen
        optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008
        regularization: RegularizationConfig = RegularizationConfig(),  # noqa: B008
        loss: str = "cross_entropy",
        steps_per_execution: int = 10,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.network_config = _group(NetworkConfig, network, "network")
        self.optimizer_config = _group(OptimizerConfig, optimizer, "optimizer")
        self.regularization_config = _group(RegularizationConfig, regularization, "regularization")
        if steps_per_execution < 1:
            raise ConfigError("steps_per_execution", f"must be 1 or more; got {steps_per_execution!r}")
        self.steps_per_execution = steps_per_execution
        self.automatic_optimization = steps_per_execution == 1
        self.seed = run_seed() if seed is None else seed
        # Plain dicts: a checkpoint with dataclasses in it does not load with `weights_only=True`.
        self.save_hyperparameters(
            {
                "network": asdict(self.network_config),
                "optimizer": asdict(self.optimizer_config),
                "regularization": asdict(self.regularization_config),
                "loss": loss,
                "steps_per_execution": steps_per_execution,
                "seed": self.seed,
            }
        )
        self.loss = loss_function(loss)
        with under("optimizer"):
            check_optimizer(self.optimizer_config)
        with under("regularization"):
            check_regularization(self.regularization_config)
        with under("network"):
            self.network = build_network(self.network_config, generator(self.seed, "initialization"))
        self.kernels = [weight for weight in self.network.parameters() if weight.ndim > 1]
        # With manual optimization the Trainer takes none of these; `lit_dl.run` hands them over from its arguments.
        self.gradient_clip_val: float | None = None
        self.gradient_clip_algorithm: str | None = None
        self.accumulate_grad_batches = 1
        self.fused = True
        self._accumulated = 0
        self._metrics = {split: EpochMetrics() for split in ("train", "val", "test")}

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, channels, height, width) float32 -> logits (batch, classes) float32."""
        return self.network(images)  # type: ignore[no-any-return]

    def configure_optimizers(self) -> Optimizer:
        """The optimizer of the configuration, over one group of all parameters."""
        return build_optimizer(self.optimizer_config, [{"params": list(self.parameters())}], self.fused)

    def check_shape(self, shape: list[int]) -> None:
        """Refuses images that the network does not take.

        Args:
            shape: Channels, height and width.

        Raises:
            ConfigError: It is built for others.
        """
        expected = list(self.network_config.input_shape)
        if shape != expected:
            raise ConfigError("model.network.input_shape", f"must be {shape}, as the data's images are; got {expected}")

    # One step

    def training_step(self, batch: Batch | Minibatches, batch_idx: int) -> Tensor | None:  # noqa: ARG002
        """The loss of a batch to Lightning; or, with manual optimization, an optimizer step for every minibatch."""
        if self.automatic_optimization:
            return self._training_loss(batch)  # type: ignore[arg-type]
        minibatches = batch if isinstance(batch, Minibatches) else [batch]
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        for number, minibatch in enumerate(minibatches, start=1):
            is_last = self.trainer.is_last_batch and number == len(minibatches)
            self._optimize(optimizer, minibatch, is_last)
        return None

    def _optimize(self, optimizer: LightningOptimizer, batch: Batch, is_last: bool) -> None:
        loss = self._training_loss(batch)
        if self.accumulate_grad_batches > 1:
            loss = loss / self.accumulate_grad_batches
            self._accumulated += 1
        self.manual_backward(loss)
        if self._accumulated % self.accumulate_grad_batches and not is_last:
            return
        if is_last:
            self._accumulated = 0
        if self.gradient_clip_val:
            self.clip_gradients(
                optimizer,  # type: ignore[arg-type]
                gradient_clip_val=self.gradient_clip_val,
                gradient_clip_algorithm=self.gradient_clip_algorithm or "norm",
            )
        optimizer.step()
        optimizer.zero_grad()
        project(self.regularization_config, self.kernels)

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """The step of automatic optimization, then max norm."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        project(self.regularization_config, self.kernels)

    def _training_loss(self, batch: Batch) -> Tensor:
        loss = self._measure(batch, "train")
        extra = penalty(self.regularization_config, self.kernels)
        return loss if extra is None else loss + extra

    # Metrics

    def _measure(self, batch: Batch, split: str) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = self.loss(logits, labels)
        self._metrics[split].add(loss, logits, labels)
        return loss

    def _log_epoch(self, split: str) -> None:
        sums = self.trainer.strategy.reduce(self._metrics[split].sums(), reduce_op="sum")
        assert isinstance(sums, Tensor)
        self.log_dict({f"{split}/loss": sums[0] / sums[2], f"{split}/acc": sums[1] / sums[2]})

    def on_train_epoch_start(self) -> None:
        self._metrics["train"].clear()

    def on_train_epoch_end(self) -> None:
        self._log_epoch("train")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        self._measure(batch, "val")

    def on_validation_epoch_start(self) -> None:
        self._metrics["val"].clear()

    def on_validation_epoch_end(self) -> None:
        self._log_epoch("val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        self._measure(batch, "test")

    def on_test_epoch_start(self) -> None:
        self._metrics["test"].clear()

    def on_test_epoch_end(self) -> None:
        self._log_epoch("test")

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Class probabilities (batch, classes) float32."""
        return self(batch[0]).softmax(1)  # type: ignore[no-any-return]


def _group(cls: type[Group], given: Group | Mapping[str, Any], key: str) -> Group:
    """A configuration group from itself or from a dict; `class_path` in a dict is the `name` of an optimizer."""
    if isinstance(given, cls):
        return given
    values = dict(given)  # type: ignore[arg-type]
    if "class_path" in values:
        values["name"] = values.pop("class_path")
    known = [field.name for field in fields(cls)]
    for name in values:
        if name not in known:
            raise unknown_name(key, name, known)
    return cls(**values)
