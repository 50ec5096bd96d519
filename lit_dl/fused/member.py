"""`Member`: one run of a stack, as its module and its data."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch.optim import Optimizer

from lit_dl.data.in_memory import InMemoryDataModule
from lit_dl.modules.supervised import SupervisedModule
from lit_dl.nn.network import Network
from lit_dl.nn.network_config import NetworkConfig
from lit_dl.nn.networks import build_network

RANDOM_LAYERS = ("input_noise", "input_dropout", "noise", "dropout")
"""Options of a network that are strengths of a random layer; the layer has the name of the option."""
STRENGTHS = ("l1", "l2", "activity_l1", "activity_l2")
LIMITS = ("max_norm", "clip_norm", "clip_value")


@dataclass(frozen=True)
class Member:
    """A run in a stack.

    Args:
        module: The module with the initial weights of the run. It is never trained itself.
        data: The data, set up.
        seed: The seed of the run; masks and noise come from it.
        max_epochs: Epochs in all, which schedules ask for.
        gradient_clip_val, gradient_clip_algorithm: As the Trainer's.
    """

    module: SupervisedModule
    data: InMemoryDataModule
    seed: int
    max_epochs: int
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: str | None = None

    @cached_property
    def optimizer(self) -> Optimizer:
        """The optimizer that the run would have alone, which never takes a step."""
        return self.module.configure_optimizers()

    @property
    def numbers(self) -> dict[str, float]:
        """Penalties, limits and options of the loss. A limit that is not set is infinite."""
        config, clip = self.module.regularization_config, self.gradient_clip_val or math.inf
        by_value = self.gradient_clip_algorithm == "value"
        return {
            **{name: float(getattr(config, name)) for name in STRENGTHS},
            "max_norm": math.inf if config.max_norm is None else float(config.max_norm),
            "clip_norm": math.inf if by_value else float(clip),
            "clip_value": float(clip) if by_value else math.inf,
            **{name: float(value) for name, value in self.module.loss_options.items()},
        }

    @property
    def features(self) -> frozenset[str]:
        """What the run needs computed that another one may not need: penalties, limits, random layers, momentum."""
        numbers, config = self.numbers, self.module.network_config
        used = {name for name in STRENGTHS if numbers[name]} | {name for name in LIMITS if numbers[name] < math.inf}
        used |= {name for name in RANDOM_LAYERS if getattr(config, name)}
        groups: list[dict[str, Any]] = self.optimizer.param_groups
        used |= {name for name in ("momentum", "weight_decay") if any(group.get(name) for group in groups)}
        return frozenset(used)

    def network_with(self, features: frozenset[str]) -> Network:
        """Builds a network of this shape, with all the random layers that a stack needs."""
        layers: dict[str, Any] = {name: 0.5 for name in RANDOM_LAYERS if name in features}
        config: NetworkConfig = replace(
            self.module.network_config, output_activation=self.module.output_activation, **layers
        )
        network = build_network(config, torch.Generator().manual_seed(0), self.module.is_keras)
        first = next(self.module.network.parameters())
        return network.to(first.device, first.dtype)
