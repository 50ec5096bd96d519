"""`NetworkBuilder`: what the kinds of networks share when they are built from a `NetworkConfig`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import ClassVar

import torch
from torch import nn
from torch.nn.utils import skip_init

from lit_dl.nn.activations import OUTPUT_ACTIVATIONS, activation_options, build_activation
from lit_dl.nn.initializers import initialize, resolve_initializer
from lit_dl.nn.layers import HiddenLayer, ResidualLayer
from lit_dl.nn.network import Network
from lit_dl.nn.network_config import NetworkConfig, check_network_config
from lit_dl.nn.norms import NORMS, norm_options
from lit_dl.nn.random_layers import Dropout, GaussianNoise, seed_random_layers

NamedLayers = list[tuple[str, nn.Module]]


class NetworkBuilder(ABC):
    """Builds networks of one kind: [noise], [dropout], the layers of the kind, a linear output, [output activation].

    A new kind is a subclass in a file of its own, and a row of `NETWORKS`.

    Weights are drawn from one generator in the order in which the layers are built, so this order decides the initial
    weights of a seed: do not change it.

    Args:
        config: The network; `check_network` has accepted it.
        generator: The only source of the initial weights.
        keras: Use the defaults of Keras for the normalization.
    """

    source: ClassVar[str]
    """What the kind is. Shown by `--help`."""
    network_class: ClassVar[type[Network]] = Network
    has_pixels: ClassVar[bool]
    """Whether the hidden layers have pixels besides channels, as convolutions do."""

    def __init__(self, config: NetworkConfig, generator: torch.Generator, keras: bool) -> None:
        self.config = config
        self.generator = generator
        self.keras = keras

    @classmethod
    def check(cls, config: NetworkConfig) -> None:
        """Refuses a config that this kind cannot build. A subclass adds its own checks.

        Raises:
            ConfigError: An unknown name, a value out of range, or two values that contradict each other.
        """
        check_network_config(config)

    @abstractmethod
    def body(self) -> tuple[NamedLayers, int]:
        """Returns the layers before the output layer, and the number of features that they give."""

    @abstractmethod
    def weight_layer(self, features: int, units: int, bias: bool) -> nn.Linear | nn.Conv2d:
        """Returns the linear part of a hidden layer, with memory for its weights, but without values."""

    @abstractmethod
    def projection(self, features: int, units: int) -> nn.Linear | nn.Conv2d:
        """Returns the linear map of a residual connection between two widths, without values."""

    def build(self) -> Network:
        """Returns the network."""
        config = self.config
        layers: NamedLayers = []
        if config.input_noise:
            layers.append(("input_noise", GaussianNoise(config.input_noise)))
        if config.input_dropout:
            layers.append(("input_dropout", Dropout(config.input_dropout)))
        body, features = self.body()
        output = self._initialized(skip_init(nn.Linear, features, config.outputs), activation=None)
        layers += [*body, ("output", output)]
        if config.output_activation not in (None, "linear"):
            layers.append(("output_activation", OUTPUT_ACTIVATIONS[config.output_activation]()))
        network = self.network_class(OrderedDict(layers))
        # Drawn after the weights, which so stay the same. Training seeds the layers anew in every epoch.
        seed_random_layers(network, int(torch.randint(2**31, (), generator=self.generator)), epoch=0)
        return network

    def hidden_layer(self, features: int, width: int) -> HiddenLayer:
        """Returns a hidden layer from `features` inputs to `width` units, initialized."""
        config = self.config
        options = activation_options(config.activation, config.activation_options)
        units = width * int(options.get("pieces", 1))  # maxout reads several linear pieces for each of its units
        weights = self._initialized(self.weight_layer(features, units, config.has_bias), config.activation)
        parts: dict[str, nn.Module] = {type(weights).__name__.lower(): weights}
        if config.norm == "before":
            parts["norm"] = self._norm(units)
        parts["activation"] = build_activation(config.activation, width, config.activation_options)
        if config.norm == "after":
            parts["norm"] = self._norm(width)
        if config.noise:
            parts["noise"] = GaussianNoise(config.noise)
        if config.dropout:
            parts["dropout"] = Dropout(config.dropout)
        return self._with_residual(parts, features, width) if config.residual else HiddenLayer(parts)

    def _with_residual(self, parts: dict[str, nn.Module], features: int, width: int) -> ResidualLayer:
        skip = None if features == width else self._initialized(self.projection(features, width), activation=None)
        return ResidualLayer(parts, skip, 1 / math.sqrt(len(self.config.widths())))

    def _norm(self, units: int) -> nn.Module:
        options = norm_options(self.config.norm_type, self.config.norm_options, self.keras)
        return NORMS[self.config.norm_type].build(units, self.has_pixels, **options)

    def _initialized(self, layer: nn.Linear | nn.Conv2d, activation: str | None) -> nn.Linear | nn.Conv2d:
        """Returns the layer with its weights drawn for the activation after it, and its bias at zero."""
        initialize(layer.weight, resolve_initializer(self.config.initializer, activation), self.generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        return layer
