"""`SupervisedModule`: the base of our modules, with network, loss, optimizer, schedule and regularization by config."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from lit_dl.data.batches import Batch
from lit_dl.data.in_memory import InMemoryDataModule
from lit_dl.errors import ConfigError, key_prefix, unknown_name
from lit_dl.modules.config_groups import config_group
from lit_dl.modules.data_checks import check_input_shape, check_loss_on_devices, check_no_single_sample
from lit_dl.modules.epoch_metrics import EpochMetrics
from lit_dl.modules.optimization import SAME_ON_ALL_RANKS, OptimizationModule
from lit_dl.nn.backbone import BackboneNetwork
from lit_dl.nn.compilation import compile_network
from lit_dl.nn.finetuning import FinetuneConfig, check_finetune, check_finetune_length
from lit_dl.nn.losses import build_loss, check_outputs, compute_loss, loss_options
from lit_dl.nn.network import Network
from lit_dl.nn.network_config import NetworkConfig
from lit_dl.nn.networks import build_network, check_network
from lit_dl.nn.regularizers import RegularizationConfig, activity_penalty, check_regularization, weight_penalty
from lit_dl.optim.optimizers import OptimizerConfig, build_optimizer, check_optimizer
from lit_dl.optim.schedules import ScheduleConfig, check_length, check_schedule
from lit_dl.randomness import generator, run_seed

_DEFAULTS = ("torch", "keras")


class SupervisedModule(OptimizationModule):
    """Learns targets from inputs (batch, *input_shape) float32. `Classifier` and `Regressor` define the targets.

    Logs, once an epoch, the loss and the score of `train`, `val` and each test set: means over the samples of the
    epoch. The loss is without penalties. The training metrics are taken in training mode (dropout on) while the weights
    change, as in Keras's history. With a schedule, `lr` is logged as well.

    The groups are given as dataclasses or, from checkpoints, as dicts (annotated as dataclasses alone, because a union
    would hide their keys from the command line).

    Args:
        network: Depth, width, activation, initializer, norm, residual connections, dropout, noise.
        optimizer: Optimizer and its hyperparameters.
        schedule: The learning-rate schedule.
        regularization: Penalties and max norm.
        loss: Of labels, or of values: then labels are taken as one-hot, or as 0 and 1 where there is one output.
        label_smoothing: Share of the target spread over all classes, in [0, 1). `None`: the default of the loss.
        delta: The error at which the loss turns from squared to linear, above 0. `None`: the default of the loss.
        defaults: Whose defaults stand for null in optimizer and normalization: torch (the papers', mostly) or keras.
        compile: Compile the network with torch.compile; with one warning where no compiler works.
        steps_per_execution: Minibatches, each with its own optimizer step, in one `training_step`: Keras's word for
            paying a Trainer's cost a step only once in so many. 1: Lightning's automatic optimization. The results are
            the same.
        seed: Seed of the initial weights. `None`: the run's seed.
        finetune: Which parts of a backbone are trained, when and how fast; for network.kind backbone alone.

    Raises:
        ConfigError: A name or value that cannot be used; its key is relative to the module (`network.depth`).
    """

    score: ClassVar[str]
    """Name of the metric beside the loss."""

    default_monitor = "val/loss"  # a hook of `Run`, as the next; see `lit_dl.run.module_hooks`
    diagnoses_layers = True

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
        finetune: FinetuneConfig | None = None,
    ) -> None:
        if steps_per_execution < 1:
            raise ConfigError("steps_per_execution", f"must be 1 or more; got {steps_per_execution!r}")
        if defaults not in _DEFAULTS:
            raise unknown_name("defaults", defaults, _DEFAULTS)
        schedule = config_group("schedule", ScheduleConfig, schedule, check_schedule)
        regularization = config_group("regularization", RegularizationConfig, regularization, check_regularization)
        super().__init__(schedule, regularization, steps_per_execution)
        self.network_config = config_group("network", NetworkConfig, network, check_network)
        self.optimizer_config = config_group("optimizer", OptimizerConfig, optimizer, check_optimizer)
        self.is_keras = defaults == "keras"
        self.compiles = compile
        self.seed = run_seed() if seed is None else seed
        self.loss_name = loss
        options = {"label_smoothing": label_smoothing, "delta": delta}
        self.loss = build_loss(loss, self.network_config.outputs, options)
        self.loss_options = loss_options(loss, options)
        self.finetune_config = self._finetune_config(finetune)
        self.network = self._build_network()
        self._save_hyperparameters(**options, defaults=defaults)
        self.weight_matrices = self.network.weight_matrices()
        self._metrics: dict[str, EpochMetrics] = {}

    def _finetune_config(self, given: FinetuneConfig | None) -> FinetuneConfig | None:
        if self.network_config.kind == "backbone":
            return config_group("finetune", FinetuneConfig, given or FinetuneConfig(), check_finetune)
        if given is not None:
            kind = self.network_config.kind
            raise ConfigError("finetune", f"is for network.kind='backbone', not for {kind!r}; set it to null")
        return None

    def _save_hyperparameters(self, **options: Any) -> None:
        """Stores the arguments of `__init__` as plain dicts: checkpoints with dataclasses do not load with
        `weights_only=True`."""
        self.save_hyperparameters(
            {
                "network": asdict(self.network.saved_config(self.network_config)),
                "optimizer": asdict(self.optimizer_config),
                "schedule": asdict(self.schedule_config),
                "regularization": asdict(self.regularization_config),
                "loss": self.loss_name,
                **options,
                "compile": self.compiles,
                "steps_per_execution": self.steps_per_execution,
                "seed": self.seed,
                "finetune": asdict(self.finetune_config) if self.finetune_config else None,
            }
        )

    def _build_network(self) -> Network:
        output = check_outputs(self.loss_name, self.network_config.outputs, self.network_config.output_activation)
        self.output_activation = output
        config = replace(self.network_config, output_activation=output)
        with key_prefix("network"):  # the files of a backbone
            network = build_network(config, generator(self.seed, "initialization"), self.is_keras)
        if isinstance(network, BackboneNetwork) and self.finetune_config is not None:
            network.set_finetuning(self.finetune_config)
        self._activities: list[Tensor] = []
        if self.regularization_config.penalizes_activity:
            for activation in network.activations().values():
                activation.register_forward_hook(self._keep_activity)
        return network

    def _keep_activity(self, module: nn.Module, _: object, outputs: Tensor) -> None:
        if module.training:
            self._activities.append(outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Maps inputs (batch, *input_shape) float32 to outputs (batch, outputs) float32: logits for most losses."""
        outputs: Tensor = self.network(inputs)
        return outputs

    @abstractmethod
    def _score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the score of a batch, summed over its samples."""

    def _metric_of_mean_score(self, score: Tensor) -> Tensor:
        """Returns the metric for a mean score over samples; the same by default."""
        return score

    def configure_optimizers(self) -> Optimizer:
        """Builds the optimizer over the parameter groups of the network.

        Parameters that a subclass has outside the network join the last group, in the order of `parameters()`: the
        optimizer state in a checkpoint is by position.
        """
        *groups, last = self.network.parameter_groups()
        elsewhere = {id(parameter) for group in groups for parameter in group["params"]}
        others = [parameter for parameter in self.parameters() if id(parameter) not in elsewhere]
        groups.append({**last, "params": others})
        return build_optimizer(self.optimizer_config, groups, self.fused, self.is_keras)

    @classmethod
    def logged(cls) -> tuple[str, ...]:
        """Returns the names of the metrics that are logged every epoch."""
        return tuple(f"{split}/{name}" for split in ("train", "val") for name in (cls.score, "loss"))

    def logged_metrics(self) -> list[str] | None:
        """Returns the metrics of every epoch; `None` for a user's subclass, which may log more."""
        ours = [*self.logged(), *["lr"] * self.is_scheduled]
        return ours if type(self).__module__.startswith("lit_dl.") else None

    def check_run(self, data: LightningDataModule | None, trainer: Trainer) -> None:
        """Checks the length of the schedule, the arguments of the optimizer, and the data, which is set up."""
        with key_prefix("model.schedule"):
            check_length(self.schedule_config, trainer.max_epochs, trainer.max_steps)
        with key_prefix("model.optimizer"):
            self.configure_optimizers()
        if self.finetune_config is not None:
            with key_prefix("model.finetune"):
                check_finetune_length(self.finetune_config, trainer.max_epochs, trainer.world_size)
        if isinstance(data, InMemoryDataModule):
            self.check_data(data)

    def check_data(self, data: InMemoryDataModule) -> None:
        """Refuses data, already set up, that does not fit the network.

        Raises:
            ConfigError: Other samples or targets than those that the module is built for, a batch that batch norm
                cannot normalize, or a loss that does not work on several devices.
        """
        check_input_shape(data, list(self.network_config.input_shape))
        self._check_targets(data)
        if self.needs_two_samples:
            check_no_single_sample(data)
        check_loss_on_devices(data, self.loss_name)

    @property
    def needs_two_samples(self) -> bool:
        """Whether a batch must have two samples on a device: dense batch norm has no variance of one."""
        return any(isinstance(module, nn.BatchNorm1d) for module in self.network.modules())

    @abstractmethod
    def _check_targets(self, data: InMemoryDataModule) -> None:
        """Refuses targets of another kind, or more targets than outputs.

        Raises:
            ConfigError: The targets do not fit.
        """

    def on_fit_start(self) -> None:
        """Compiles the network, if asked, on the device that trains."""
        if self.compiles:
            compile_network(self.network, self.device)

    def _training_loss(self, batch: Batch) -> Tensor:
        self._activities.clear()  # a callback may have called the network outside of a step
        loss = self._measure(batch, "train")
        config, samples = self.regularization_config, self._samples_of_step(batch)
        activity = activity_penalty(config, self._activities)
        if self._world_size > 1:
            # Gradients are averaged over devices. With this weight, the average over the shares of a batch is the mean
            # over the whole batch, even when the shares differ in size.
            weight = len(batch[1]) * self._world_size / samples
            loss, activity = loss * weight, None if activity is None else activity * weight
        for extra in (weight_penalty(config, self.weight_matrices, samples), activity):
            loss = loss if extra is None else loss + extra
        self._activities.clear()
        return loss

    # Metrics

    def loss_and_score(
        self, outputs: Tensor, targets: Tensor, options: Mapping[str, float | Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Returns the loss of a batch, and its score summed over the samples, with these options of the loss."""
        loss = compute_loss(self.loss_name, self.network_config.outputs, options, outputs, targets)
        return loss, self._score(outputs.detach(), targets)

    def metrics_of(self, sums: Tensor) -> dict[str, Tensor]:
        """Returns the metrics of an epoch by name, from the sums of loss and score and the number of samples, (3,)."""
        return {"loss": sums[0] / sums[2], self.score: self._metric_of_mean_score(sums[1] / sums[2])}

    def _measure(self, batch: Batch, split: str) -> Tensor:
        """Returns the loss of a batch, and adds the batch to the metrics of a split."""
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
        """Logs loss and score of the epoch for each split, over all devices."""
        for split in splits:
            sums = self.trainer.strategy.reduce(self._metrics_of(split).sums(self.device), reduce_op="sum")
            assert isinstance(sums, Tensor)
            if not sums[2]:
                continue  # a run resumed at the end of an epoch ends this epoch again, without a sample
            named = {f"{split}/{name}": value for name, value in self.metrics_of(sums).items()}
            self.log_dict(named, **SAME_ON_ALL_RANKS)

    def on_train_epoch_start(self) -> None:
        self._clear("train")
        self.network.begin_epoch(self.current_epoch)
        self.weight_matrices = self.network.weight_matrices()

    def on_train_epoch_end(self) -> None:
        self._log_epoch("train")
        super().on_train_epoch_end()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        self._measure(batch, "val")

    def on_validation_epoch_start(self) -> None:
        self._clear("val")
        if self.trainer.world_size > 1:
            # Every device has batch norm statistics of its own share; the checkpoint has those of the first device.
            for buffer in self.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def on_validation_epoch_end(self) -> None:
        self._log_epoch("val")

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:  # noqa: ARG002
        self._measure(batch, self._test_sets[dataloader_idx])

    def on_test_epoch_start(self) -> None:
        # A data module of ours names its test sets. Further ones are numbered.
        count = len(self.trainer.num_test_batches)
        names = getattr(self.trainer.datamodule, "test_sets", ["test"])  # type: ignore[attr-defined]
        self._test_sets = [*names, *(f"test_{number}" for number in range(len(names), count))]
        self._clear(*self._test_sets)

    def on_test_epoch_end(self) -> None:
        self._log_epoch(*self._test_sets)
