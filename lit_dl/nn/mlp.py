"""The multilayer perceptron, `kind: mlp`."""

from __future__ import annotations

from math import prod

from torch import nn
from torch.nn.utils import skip_init

from lit_dl.nn.network_builder import NamedLayers, NetworkBuilder


class MLPBuilder(NetworkBuilder):
    """Builds dense hidden layers on the flattened sample."""

    source = "dense layers on the flattened sample"
    has_pixels = False

    def body(self) -> tuple[NamedLayers, int]:
        return self.dense_layers(prod(self.config.input_shape))

    def dense_layers(self, features: int) -> tuple[NamedLayers, int]:
        """Returns the hidden layers on flattened features, and the number of features that they give."""
        layers: NamedLayers = [("flatten", nn.Flatten())]
        for number, width in enumerate(self.config.widths(), start=1):
            layers.append((f"hidden_{number}", self.hidden_layer(features, width)))
            features = width
        return layers, features

    def weight_layer(self, features: int, units: int, bias: bool) -> nn.Linear:
        layer: nn.Linear = skip_init(nn.Linear, features, units, bias=bias)
        return layer

    def projection(self, features: int, units: int) -> nn.Linear:
        return self.weight_layer(features, units, bias=False)
