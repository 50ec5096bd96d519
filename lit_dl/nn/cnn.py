"""The convolutional network, `kind: cnn`."""

from __future__ import annotations

from torch import nn
from torch.nn.utils import skip_init

from lit_dl.errors import ConfigError
from lit_dl.nn.network_builder import NamedLayers, NetworkBuilder
from lit_dl.nn.network_config import NetworkConfig


class CNNBuilder(NetworkBuilder):
    """Builds 3x3 convolutions, each followed by 2x2 max pooling while the image is large enough."""

    source = "3x3 convolutions, each followed by 2x2 max pooling while the image is at least 4 pixels high and wide"
    has_pixels = True

    @classmethod
    def check(cls, config: NetworkConfig) -> None:
        """Refuses what no network can be built from, and samples that are no images.

        Raises:
            ConfigError: See `NetworkBuilder.check`; or `input_shape` is not channels, height and width.
        """
        super().check(config)
        if len(config.input_shape) != 3:
            raise ConfigError(
                "input_shape", f"must be channels, height and width for kind='cnn'; got {config.input_shape!r}"
            )

    def body(self) -> tuple[NamedLayers, int]:
        layers: NamedLayers = []
        channels, height, width = self.config.input_shape
        for number, filters in enumerate(self.config.widths(), start=1):
            layers.append((f"hidden_{number}", self.hidden_layer(channels, filters)))
            if min(height, width) >= 4:
                layers.append((f"pool_{number}", nn.MaxPool2d(2)))
                height, width = height // 2, width // 2
            channels = filters
        layers.append(("flatten", nn.Flatten()))
        return layers, channels * height * width

    def weight_layer(self, features: int, units: int, bias: bool) -> nn.Conv2d:
        layer: nn.Conv2d = skip_init(nn.Conv2d, features, units, kernel_size=3, padding=1, bias=bias)
        return layer

    def projection(self, features: int, units: int) -> nn.Conv2d:
        layer: nn.Conv2d = skip_init(nn.Conv2d, features, units, kernel_size=1, bias=False)
        return layer
