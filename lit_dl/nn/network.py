"""A network from its description: depth, width, activation, initializer, normalization, noise, residual connections."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from math import prod
from typing import Literal

import torch
from torch import nn
from torch.nn.utils import skip_init

from lit_dl.errors import ConfigError, unknown_name
from lit_dl.nn.activations import OUTPUT_ACTIVATIONS, activation, activation_parameters
from lit_dl.nn.initializers import choose, initialize
from lit_dl.nn.layers import GaussianNoise, Residual

_NAMES = {"kind": ("mlp", "cnn"), "norm": ("none", "before", "after"), "norm_type": ("batch", "layer")}
# Keras keeps 0.99 of the running statistics at each step, which PyTorch writes as 0.01 of the new ones.
NORM_DEFAULTS = {"torch": {"momentum": 0.1, "eps": 1e-5}, "keras": {"momentum": 0.01, "eps": 1e-3}}


@dataclass(frozen=True)
class NetworkConfig:
    """Hidden layers, each `dense or convolution -> [norm] -> activation -> [norm] -> [noise] -> [dropout]`, then a
    linear output.

    Args:
        kind: mlp, dense layers on the flattened sample; or cnn, 3x3 convolutions, each followed by 2x2 max pooling
            while the image is at least 4 pixels high and wide.
        depth: Hidden layers, 0 or more; 0 is a linear model. `None`: as many as `width` lists, or 2 when `width` is one
            number.
        width: Units (mlp) or channels (cnn) of the hidden layers: one number for all, or a list with one for each.
        activation: What follows the linear part of a hidden layer.
        negative_slope: Slope below 0, in [0, 1); leaky_relu's (default 0.1), or where prelu starts (0.25).
        pieces: Linear pieces of a maxout unit, 2 or more; default 2.
        initializer: What the weights are drawn from: a name of the table, of which the *_truncated_normal are those
            that Keras calls *_normal, or auto, which picks by activation. Biases start at 0.
        norm: Normalization none, before or after the activation. Source: Ioffe & Szegedy 2015 (arXiv 1502.03167).
        norm_type: batch (of several devices each its share, and the running statistics are those of the first, unless
            trainer.sync_batchnorm), or layer: over the units (and pixels) of a sample. Source: Ba et al. 2016 (arXiv
            1607.06450).
        norm_momentum: Share of a batch in the running statistics of batch norm, in (0, 1]. `None`: 0.1, or 0.01 with
            Keras's defaults (there called 0.99).
        norm_eps: Added to the variance, above 0. `None`: 1e-5, or 1e-3 with Keras's defaults.
        bias: Whether hidden layers have a bias; auto: unless batch norm before the activation takes it out again. The
            output layer always has one.
        residual: Adds the input of each hidden layer to its output, by a linear projection where widths differ.
        dropout: Share of a hidden layer's outputs dropped in training, in [0, 1). Source: Srivastava et al. 2014,
            inverted.
        input_dropout: The same for the inputs of the network.
        noise: Deviation of Gaussian noise added to a hidden layer's outputs in training, 0 or more.
        input_noise: The same for the inputs of the network.
        output_activation: linear, sigmoid, softmax or log_softmax. `None`: what the loss takes.
        input_shape: Shape of one sample: channels, height, width for a cnn; anything for an mlp.
        outputs: Number of outputs: classes, 1 for a binary decision, or values to predict.
    """

    kind: Literal["mlp", "cnn"] = "mlp"
    depth: int | None = None
    width: int | list[int] = 128
    activation: str = "relu"
    negative_slope: float | None = None
    pieces: int | None = None
    initializer: str = "auto"
    norm: Literal["none", "before", "after"] = "none"
    norm_type: Literal["batch", "layer"] = "batch"
    norm_momentum: float | None = None
    norm_eps: float | None = None
    bias: bool | Literal["auto"] = "auto"
    residual: bool = False
    dropout: float = 0.0
    input_dropout: float = 0.0
    noise: float = 0.0
    input_noise: float = 0.0
    output_activation: str | None = None
    input_shape: list[int] = field(default_factory=lambda: [1, 28, 28])
    outputs: int = 10

    def widths(self) -> list[int]:
        """Width of each hidden layer, first to last.

        Raises:
            ConfigError: `depth` below 0 or `width` below 1, or a list whose length is not `depth`.
        """
        if self.depth is not None and self.depth < 0:
            raise ConfigError("depth", f"must be 0 or more; got {self.depth!r}")
        depth = 2 if self.depth is None else self.depth
        widths = list(self.width) if isinstance(self.width, list | tuple) else [self.width] * depth
        if min(widths, default=1) < 1 or (isinstance(self.width, int) and self.width < 1):
            raise ConfigError("width", f"must be 1 or more for every layer; got {self.width!r}")
        if self.depth not in (None, len(widths)):
            raise ConfigError(
                "depth", f"must be the length of width={self.width!r}; got {self.depth!r}; leave one of the two out"
            )
        return widths

    @property
    def has_bias(self) -> bool:
        """Whether hidden layers have a bias."""
        if self.bias == "auto":
            return not (self.norm == "before" and self.norm_type == "batch")
        return self.bias

    @property
    def activation_values(self) -> dict[str, float | None]:
        """What was given for the parameters of the activation."""
        return {"negative_slope": self.negative_slope, "pieces": self.pieces}


def check_network(config: NetworkConfig) -> None:
    """Refuses what cannot be built.

    Raises:
        ConfigError: An unknown name, a value out of range, or two that contradict each other.
    """
    for key, names in {**_NAMES, "output_activation": (None, *OUTPUT_ACTIVATIONS)}.items():
        if getattr(config, key) not in names:
            raise unknown_name(key, getattr(config, key), [name for name in names if name])
    activation_parameters(config.activation, config.activation_values)
    choose(config.initializer, config.activation)
    config.widths()
    for key in ("dropout", "input_dropout"):
        if not 0 <= getattr(config, key) < 1:
            raise ConfigError(key, f"must be in [0, 1); got {getattr(config, key)!r}")
    for key in ("noise", "input_noise"):
        if not 0 <= getattr(config, key) < math.inf:
            raise ConfigError(key, f"must be 0 or more and finite; got {getattr(config, key)!r}")
    _check_norm(config)
    _check_shape(config)


def _check_norm(config: NetworkConfig) -> None:
    momentum, eps = config.norm_momentum, config.norm_eps
    if momentum is not None and not 0 < momentum <= 1:
        raise ConfigError("norm_momentum", f"must be in (0, 1]; got {momentum!r}; Keras's 0.99 is 0.01 here")
    if eps is not None and not 0 < eps < math.inf:
        raise ConfigError("norm_eps", f"must be above 0 and finite; got {eps!r}")
    for key, value in (("norm_momentum", momentum), ("norm_eps", eps)):
        if value is not None and config.norm == "none":
            raise ConfigError(
                key, f"{value!r} does not apply to norm='none'; set norm to before or after, or this to null"
            )
    if momentum is not None and config.norm_type == "layer":
        raise ConfigError("norm_momentum", f"{momentum!r} does not apply to norm_type='layer'; set it to null")


def _check_shape(config: NetworkConfig) -> None:
    shape = config.input_shape
    if config.outputs < 1:
        raise ConfigError("outputs", f"must be 1 or more; got {config.outputs!r}")
    if config.kind == "cnn" and len(shape) != 3:
        raise ConfigError("input_shape", f"must be channels, height and width for kind='cnn'; got {shape!r}")
    if not shape or min(shape) < 1:
        raise ConfigError("input_shape", f"must be the sizes of a sample, each 1 or more; got {shape!r}")


def build_network(config: NetworkConfig, generator: torch.Generator, keras: bool = False) -> nn.Sequential:
    """The network, (batch, *input_shape) float32 -> (batch, outputs) float32.

    Args:
        config: Its description.
        generator: The only source of its initial weights.
        keras: Keras's defaults for the normalization.

    Raises:
        ConfigError: As `check_network`.
    """
    check_network(config)
    layers: list[tuple[str, nn.Module]] = []
    if config.input_noise:
        layers.append(("input_noise", GaussianNoise(config.input_noise)))
    if config.input_dropout:
        layers.append(("input_dropout", nn.Dropout(config.input_dropout)))
    build = _Builder(config, generator, NORM_DEFAULTS["keras" if keras else "torch"])
    hidden, features = build.cnn() if config.kind == "cnn" else build.mlp()
    output = build.weights(skip_init(nn.Linear, features, config.outputs), behind=None)
    layers += [*hidden, ("output", output)]
    if config.output_activation not in (None, "linear"):
        layers.append(("output_activation", OUTPUT_ACTIVATIONS[config.output_activation]()))
    return nn.Sequential(OrderedDict(layers))


@dataclass(frozen=True)
class _Builder:
    """The layers of a network, first to last, with weights from one generator."""

    config: NetworkConfig
    generator: torch.Generator
    norm: dict[str, float]

    def mlp(self) -> tuple[list[tuple[str, nn.Module]], int]:
        layers: list[tuple[str, nn.Module]] = [("flatten", nn.Flatten())]
        features = prod(self.config.input_shape)
        for number, width in enumerate(self.config.widths(), start=1):
            layers.append((f"hidden_{number}", self._hidden(features, width)))
            features = width
        return layers, features

    def cnn(self) -> tuple[list[tuple[str, nn.Module]], int]:
        layers: list[tuple[str, nn.Module]] = []
        channels, height, width = self.config.input_shape
        for number, filters in enumerate(self.config.widths(), start=1):
            layers.append((f"hidden_{number}", self._hidden(channels, filters)))
            if min(height, width) >= 4:
                layers.append((f"pool_{number}", nn.MaxPool2d(2)))
                height, width = height // 2, width // 2
            channels = filters
        layers.append(("flatten", nn.Flatten()))
        return layers, channels * height * width

    def _hidden(self, features: int, width: int) -> nn.Sequential:
        config = self.config
        units = width * int(activation_parameters(config.activation, config.activation_values).get("pieces", 1))
        layer = self._layer(features, units, config.has_bias, 3)
        parts = {type(layer).__name__.lower(): self.weights(layer, config.activation)}
        if config.norm == "before":
            parts["norm"] = self._norm(units)
        parts["activation"] = activation(config.activation, width, config.activation_values)
        if config.norm == "after":
            parts["norm"] = self._norm(width)
        if config.noise:
            parts["noise"] = GaussianNoise(config.noise)
        if config.dropout:
            parts["dropout"] = nn.Dropout(config.dropout)
        if not config.residual:
            return nn.Sequential(OrderedDict(parts))
        skip = None if features == width else self.weights(self._layer(features, width, False, 1), None)
        return Residual(parts, skip, 1 / math.sqrt(len(config.widths())))

    def _layer(self, features: int, units: int, bias: bool, kernel: int) -> nn.Linear | nn.Conv2d:
        layer: nn.Linear | nn.Conv2d
        if self.config.kind == "cnn":
            layer = skip_init(nn.Conv2d, features, units, kernel_size=kernel, padding=kernel // 2, bias=bias)
        else:
            layer = skip_init(nn.Linear, features, units, bias=bias)
        return layer

    def _norm(self, features: int) -> nn.Module:
        config = self.config
        eps = self.norm["eps"] if config.norm_eps is None else config.norm_eps
        if config.norm_type == "layer":
            # One group: over channels and pixels of a sample, with a scale and a shift for each channel.
            return nn.GroupNorm(1, features, eps) if config.kind == "cnn" else nn.LayerNorm(features, eps)
        momentum = self.norm["momentum"] if config.norm_momentum is None else config.norm_momentum
        batch_norm = nn.BatchNorm2d if config.kind == "cnn" else nn.BatchNorm1d
        return batch_norm(features, eps, momentum)

    def weights(self, layer: nn.Linear | nn.Conv2d, behind: str | None) -> nn.Module:
        """The layer with its weights drawn, for the activation `behind` it."""
        initialize(layer.weight, choose(self.config.initializer, behind), self.generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        return layer
