"""A network from its description: depth, width, activation, initializer, normalization, dropout."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from math import prod
from typing import Literal

import torch
from torch import nn
from torch.nn.utils import skip_init

from lit_dl.activations import ACTIVATIONS, activation
from lit_dl.errors import ConfigError, unknown_name
from lit_dl.initializers import choose, initialize


@dataclass(frozen=True)
class NetworkConfig:
    """Hidden layers, each `linear or convolution -> [norm] -> activation -> [norm] -> [dropout]`, then a linear output.

    Args:
        kind: mlp, dense layers on the flattened image; or cnn, 3x3 convolutions, each followed by 2x2 max pooling while
            the image is at least 4 pixels high and wide.
        depth: Hidden layers, 1 or more. `None`: as many as `width` lists, or 2 when `width` is one number.
        width: Units (mlp) or channels (cnn) of the hidden layers: one number for all, or a list with one for each.
        activation: relu, leaky_relu, elu, selu, tanh, sigmoid or silu.
        initializer: glorot, he or lecun, each _normal or _uniform; or auto, which picks by activation: glorot_uniform
            for none, tanh and sigmoid, he_normal for relu and its variants, lecun_normal for selu. Biases start at 0.
        norm: Batch normalization none, before or after the activation. Source: Ioffe & Szegedy 2015 (arXiv 1502.03167).
        bias: Whether hidden layers have a bias; the output layer always has one.
        dropout: Share of a hidden layer's outputs dropped in training, in [0, 1). Source: Srivastava et al. 2014,
            inverted.
        input_shape: Shape of one sample, (channels, height, width).
        classes: Number of outputs.
    """

    kind: Literal["mlp", "cnn"] = "mlp"
    depth: int | None = None
    width: int | list[int] = 128
    activation: str = "relu"
    initializer: str = "auto"
    norm: Literal["none", "before", "after"] = "none"
    bias: bool = True
    dropout: float = 0.0
    input_shape: list[int] = field(default_factory=lambda: [1, 28, 28])
    classes: int = 10

    def widths(self) -> list[int]:
        """Width of each hidden layer, first to last.

        Raises:
            ConfigError: `depth` or `width` below 1, or a list whose length is not `depth`.
        """
        if self.depth is not None and self.depth < 1:
            raise ConfigError("depth", f"must be 1 or more; got {self.depth!r}")
        widths = list(self.width) if isinstance(self.width, list | tuple) else [self.width] * (self.depth or 2)
        if not widths or min(widths) < 1:
            raise ConfigError("width", f"must be 1 or more for every layer; got {self.width!r}")
        if self.depth not in (None, len(widths)):
            raise ConfigError(
                "depth", f"must be the length of width={self.width!r}; got {self.depth!r}; leave one of the two out"
            )
        return widths


def check_network(config: NetworkConfig) -> None:
    """Refuses what cannot be built.

    Raises:
        ConfigError: An unknown name or a value out of range.
    """
    for key, names in (("kind", ("mlp", "cnn")), ("norm", ("none", "before", "after")), ("activation", ACTIVATIONS)):
        if getattr(config, key) not in names:
            raise unknown_name(key, getattr(config, key), names)
    choose(config.initializer, config.activation)
    config.widths()
    if not 0 <= config.dropout < 1:
        raise ConfigError("dropout", f"must be in [0, 1); got {config.dropout!r}")
    if config.classes < 1:
        raise ConfigError("classes", f"must be 1 or more; got {config.classes!r}")
    if len(config.input_shape) != 3 or min(config.input_shape) < 1:
        raise ConfigError(
            "input_shape", f"must be channels, height and width, each 1 or more; got {config.input_shape!r}"
        )


def build_network(config: NetworkConfig, generator: torch.Generator) -> nn.Sequential:
    """The network, (batch, channels, height, width) float32 -> logits (batch, classes) float32.

    Args:
        config: Its description.
        generator: The only source of its initial weights.

    Raises:
        ConfigError: As `check_network`.
    """
    check_network(config)
    build = _cnn_layers if config.kind == "cnn" else _mlp_layers
    layers, features = build(config, generator)
    output = _weights(skip_init(nn.Linear, features, config.classes), config, None, generator)
    return nn.Sequential(OrderedDict([*layers, ("output", output)]))


def _mlp_layers(config: NetworkConfig, generator: torch.Generator) -> tuple[list[tuple[str, nn.Module]], int]:
    layers: list[tuple[str, nn.Module]] = [("flatten", nn.Flatten())]
    features = prod(config.input_shape)
    for number, width in enumerate(config.widths(), start=1):
        linear = skip_init(nn.Linear, features, width, bias=config.bias)
        layers.append((f"hidden_{number}", _hidden(linear, nn.BatchNorm1d(width), config, generator)))
        features = width
    return layers, features


def _cnn_layers(config: NetworkConfig, generator: torch.Generator) -> tuple[list[tuple[str, nn.Module]], int]:
    layers: list[tuple[str, nn.Module]] = []
    channels, height, width = config.input_shape
    for number, filters in enumerate(config.widths(), start=1):
        convolution = skip_init(nn.Conv2d, channels, filters, kernel_size=3, padding=1, bias=config.bias)
        layers.append((f"hidden_{number}", _hidden(convolution, nn.BatchNorm2d(filters), config, generator)))
        if min(height, width) >= 4:
            layers.append((f"pool_{number}", nn.MaxPool2d(2)))
            height, width = height // 2, width // 2
        channels = filters
    layers.append(("flatten", nn.Flatten()))
    return layers, channels * height * width


def _hidden(layer: nn.Module, norm: nn.Module, config: NetworkConfig, generator: torch.Generator) -> nn.Sequential:
    parts = [(type(layer).__name__.lower(), _weights(layer, config, config.activation, generator))]
    parts.append(("activation", activation(config.activation)))
    if config.norm != "none":
        parts.insert(1 if config.norm == "before" else 2, ("norm", norm))
    if config.dropout:
        parts.append(("dropout", nn.Dropout(config.dropout)))
    return nn.Sequential(OrderedDict(parts))


def _weights(layer: nn.Module, config: NetworkConfig, behind: str | None, generator: torch.Generator) -> nn.Module:
    initialize(layer.weight, choose(config.initializer, behind), generator)  # type: ignore[arg-type]
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
