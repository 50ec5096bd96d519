"""What our modules share: a network, a loss, an optimizer, a schedule and regularization, each from configuration."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lit_dl.data.batches import Batch
from lit_dl.data.in_memory import InMemoryDataModule
from lit_dl.errors import ConfigError, key_prefix, unknown_name
from lit_dl.modules.epoch_metrics import EpochMetrics
from lit_dl.modules.optimization import LOGGED_ALIKE, SteppedModule
from lit_dl.nn.compilation import compile_network
from lit_dl.nn.losses import check_outputs, loss_function
from lit_dl.nn.network import NetworkConfig, build_network, check_network
from lit_dl.nn.regularizers import RegularizationConfig, activity_penalty, check_regularization, penalty
from lit_dl.optim.optimizers import OptimizerConfig, build_optimizer, check_optimizer
from lit_dl.optim.schedules import ScheduleConfig, check_length, check_schedule
from lit_dl.randomness import generator, run_seed

Group = TypeVar("Group", NetworkConfig, OptimizerConfig, ScheduleConfig, RegularizationConfig)


class SupervisedModule(SteppedModule):
    """Learns targets from inputs (batch, *input_shape) float32. `Classifier` and `Regressor` say what is learned.

    Logs, once an epoch, the loss and the score of `train`, `val` and each test set: means over the samples of the
    epoch. The loss is without penalties; the training figures are taken in training mode (dropout on) while the weights
    change, as Keras's history has them. With a schedule, `lr` as well.

    The groups are given as dataclasses or, from checkpoints, as dicts (annotated as dataclasses alone, because a union
    would hide their keys from the command line).

    Args:
        network: Depth, width, activation, initializer, norm, residual connections, dropout, noise.
        optimizer: Optimizer and its hyperparameters.
        schedule: How the learning rate changes.
        regularization: Penalties and max norm.
        loss: Of labels, or of values: then labels are taken as one-hot, or as 0 and 1 where there is one output.
        label_smoothing: Share of the target spread over all classes, in [0, 1); default 0; for cross_entropy, nll and
            binary_cross_entropy.
        delta: Where huber and pseudo_huber turn from squared to linear, above 0; default 1.
        defaults: Whose defaults stand for null in optimizer and normalization: torch (the papers', mostly) or keras.
        compile: Compile the network with torch.compile, whose dropout and noise draw other random numbers; with one
            warning where no compiler works.
        steps_per_execution: Minibatches, each with its own optimizer step, in one `training_step`: Keras's word for
            paying a Trainer's cost a step only once in so many. 1: Lightning's automatic optimization. The results are
            the same.
        seed: Seed of the initial weights. `None`: the run's seed.

    Raises:
        ConfigError: A name or value that cannot be used; its key is relative to the module (`network.depth`).
    """

    score: ClassVar[str]
    """Name of the metric beside the loss."""

    def __init__(
        self,
        network: NetworkConfig = NetworkConfig(),  # noqa: B008 - frozen
        optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008
        schedule: ScheduleConfig = ScheduleConfig(),  # noqa: B008
        regularization: RegularizationConfig = RegularizationConfig(),  # noqa: B008
        loss: str = "cross_entropy",
        label_smoothing: float | None = None,
        delta: float | None = None,
        defaults: Literal["torch", "keras"] = "torch",
        compile: bool = False,
        steps_per_execution: int = 10,
        seed: int | None = None,
    ) -> None:
        if steps_per_execution < 1:
            raise ConfigError("steps_per_execution", f"must be 1 or more; got {steps_per_execution!r}")
        if defaults not in ("torch", "keras"):
            raise unknown_name("defaults", defaults, ("torch", "keras"))
        schedule = _group(ScheduleConfig, schedule, "schedule")
        regularization = _group(RegularizationConfig, regularization, "regularization")
        with key_prefix("schedule"):
            check_schedule(schedule)
        with key_prefix("regularization"):
            check_regularization(regularization)
        super().__init__(schedule, regularization, steps_per_execution)
        self.network_config = _group(NetworkConfig, network, "network")
        self.optimizer_config = _group(OptimizerConfig, optimizer, "optimizer")
        self.is_keras, self.compiles, self.fused = defaults == "keras", compile, True
        self.seed = run_seed() if seed is None else seed
        # Plain dicts: a checkpoint with dataclasses in it does not load with `weights_only=True`.
        self.save_hyperparameters(
            {
                "network": asdict(self.network_config),
                "optimizer": asdict(self.optimizer_config),
                "schedule": asdict(self.schedule_config),
                "regularization": asdict(self.regularization_config),
                "loss": loss,
                "label_smoothing": label_smoothing,
                "delta": delta,
                "defaults": defaults,
                "compile": compile,
                "steps_per_execution": steps_per_execution,
                "seed": self.seed,
            }
        )
        self.loss_name = loss
        self.loss = loss_function(
            loss, self.network_config.outputs, {"label_smoothing": label_smoothing, "delta": delta}
        )
        with key_prefix("optimizer"):
            check_optimizer(self.optimizer_config)
        self.network = self._build_network()
        self.kernels = [weight for weight in self.network.parameters() if weight.ndim > 1]
        self._metrics: dict[str, EpochMetrics] = {}

    def _build_network(self) -> nn.Sequential:
        with key_prefix("network"):
            check_network(self.network_config)
        output = check_outputs(self.loss_name, self.network_config.outputs, self.network_config.output_activation)
        self.output_activation = output
        config = replace(self.network_config, output_activation=output)
        network = build_network(config, generator(self.seed, "initialization"), self.is_keras)
        self._activities: list[Tensor] = []
        if self.regularization_config.penalizes_activity:
            for name, layer in network.named_children():
                if name.startswith("hidden_"):
                    layer.get_submodule("activation").register_forward_hook(self._note_activity)
        return network

    def _note_activity(self, module: nn.Module, _: object, outputs: Tensor) -> None:
        if module.training:
            self._activities.append(outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (batch, *input_shape) float32 -> outputs (batch, outputs) float32; logits for most losses."""
        return self.network(inputs)  # type: ignore[no-any-return]

    @abstractmethod
    def _score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The score of a batch, summed over its samples."""

    def _of_mean(self, score: Tensor) -> Tensor:
        """The metric from the mean of the score."""
        return score

    def configure_optimizers(self) -> Optimizer:
        """The optimizer of the configuration, over one group of all parameters."""
        groups = [{"params": list(self.parameters())}]
        return build_optimizer(self.optimizer_config, groups, self.fused, self.is_keras)

    @classmethod
    def logged(cls) -> tuple[str, ...]:
        """The metrics of an epoch that may be monitored."""
        return tuple(f"{split}/{name}" for split in ("train", "val") for name in (cls.score, "loss"))

    def check_training(self, max_epochs: int | None, max_steps: int) -> None:
        """Refuses a schedule that does not fit the training.

        Raises:
            ConfigError: As `schedules.check_length`.
        """
        with key_prefix("model.schedule"):
            check_length(self.schedule_config, max_epochs, max_steps)

    def check_data(self, data: InMemoryDataModule) -> None:
        """Refuses data, already set up, that the network does not take.

        Raises:
            ConfigError: The network is built for other samples, or the module for other targets.
        """
        expected = list(self.network_config.input_shape)
        if data.shape != expected:
            raise ConfigError(
                "model.network.input_shape", f"must be {data.shape}, as the data's samples are; got {expected}"
            )
        self._check_targets(data)
        if self.needs_pairs and data.smallest_batch < 2 * data.ranks:
            least = 2 * data.ranks
            fix = f"choose {least} or more" if data.batch_size < least else "choose another, or set data.drop_last"
            where = f" on one of {data.ranks} devices" if data.ranks > 1 else ""
            raise ConfigError(
                "data.batch_size",
                f"must leave no batch of one sample{where}, which batch norm cannot normalize, of "
                f"{len(data.train_rows):,}; got {data.batch_size}; {fix}",
            )
        if self.loss_name == "rmse" and data.ranks > 1:
            raise ConfigError(
                "model.loss",
                f"must not be rmse on {data.ranks} devices, whose roots do not add up to that of a batch; take mse, "
                "which is least where rmse is",
            )

    @property
    def needs_pairs(self) -> bool:
        """Whether a batch must have two samples on a device: dense batch norm can take no variance of one."""
        return any(isinstance(module, nn.BatchNorm1d) for module in self.network.modules())

    @abstractmethod
    def _check_targets(self, data: InMemoryDataModule) -> None:
        """Refuses targets that are of another kind, or more than there are outputs."""

    def on_fit_start(self) -> None:
        """Compiles the network, on the device that trains."""
        if self.compiles:
            compile_network(self.network, self.device)

    def _training_loss(self, batch: Batch) -> Tensor:
        self._activities.clear()  # of forwards that were no step's
        loss = self._measure(batch, "train")
        config, samples = self.regularization_config, self._samples_of_step(batch)
        activity = activity_penalty(config, self._activities)
        if self._ranks > 1:
            # Gradients are averaged over devices: weighted so, means over shares become the mean over the whole batch.
            weight = len(batch[1]) * self._ranks / samples
            loss, activity = loss * weight, None if activity is None else activity * weight
        for extra in (penalty(config, self.kernels, samples), activity):
            loss = loss if extra is None else loss + extra
        self._activities.clear()
        return loss

    # Metrics

    def _measure(self, batch: Batch, split: str) -> Tensor:
        inputs, targets = batch
        outputs = self(inputs)
        loss = self.loss(outputs, targets)
        self._metrics_of(split).add(loss, outputs, targets)
        return loss

    def _metrics_of(self, split: str) -> EpochMetrics:
        if split not in self._metrics:
            self._metrics[split] = EpochMetrics(self._score)
        return self._metrics[split]

    def _clear(self, *splits: str) -> None:
        for split in splits:
            self._metrics_of(split).clear()

    def _log_epoch(self, *splits: str) -> None:
        for split in splits:
            sums = self.trainer.strategy.reduce(self._metrics_of(split).sums(self.device), reduce_op="sum")
            assert isinstance(sums, Tensor)
            if not sums[2]:  # a run resumed from the end of an epoch's training ends that epoch again, without a sample
                continue
            score = self._of_mean(sums[1] / sums[2])
            self.log_dict({f"{split}/loss": sums[0] / sums[2], f"{split}/{self.score}": score}, **LOGGED_ALIKE)

    def on_train_epoch_start(self) -> None:
        self._clear("train")

    def on_train_epoch_end(self) -> None:
        self._log_epoch("train")
        super().on_train_epoch_end()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        self._measure(batch, "val")

    def on_validation_epoch_start(self) -> None:
        self._clear("val")
        if self.trainer.world_size > 1:
            # Those of batch norm are of each device's shares; the checkpoint has the first one's.
            for buffer in self.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def on_validation_epoch_end(self) -> None:
        self._log_epoch("val")

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:  # noqa: ARG002
        self._measure(batch, self._test_sets[dataloader_idx])

    def on_test_epoch_start(self) -> None:
        # A data module with several test sets names them; metrics of others are numbered.
        count = len(self.trainer.num_test_batches)
        names = getattr(self.trainer.datamodule, "test_sets", ["test"])  # type: ignore[attr-defined]
        self._test_sets = [*names, *(f"test_{number}" for number in range(len(names), count))]
        self._clear(*self._test_sets)

    def on_test_epoch_end(self) -> None:
        self._log_epoch(*self._test_sets)


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
