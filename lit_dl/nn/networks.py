"""The kinds of networks: a table by `kind`, and the function that builds a network from its config."""

from __future__ import annotations

import torch

from lit_dl.errors import ConfigError, unknown_name
from lit_dl.nn.backbone import BackboneBuilder
from lit_dl.nn.cnn import CNNBuilder
from lit_dl.nn.mlp import MLPBuilder
from lit_dl.nn.network import Network
from lit_dl.nn.network_builder import NetworkBuilder
from lit_dl.nn.network_config import NetworkConfig

NETWORKS: dict[str, type[NetworkBuilder]] = {"mlp": MLPBuilder, "cnn": CNNBuilder, "backbone": BackboneBuilder}


def check_network(config: NetworkConfig) -> None:
    """Refuses a network that cannot be built.

    Raises:
        ConfigError: An unknown name, a value out of range, or two values that contradict each other.
    """
    if config.kind not in NETWORKS:
        raise unknown_name("kind", config.kind, NETWORKS)
    if config.backbone is not None and config.kind != "backbone":
        raise ConfigError("backbone", f"is for kind='backbone', not for {config.kind!r}; set it to null")
    NETWORKS[config.kind].check(config)


def build_network(config: NetworkConfig, generator: torch.Generator, keras: bool = False) -> Network:
    """Builds a network, (batch, *input_shape) float32 -> (batch, outputs) float32.

    Args:
        config: The network.
        generator: The only source of its initial weights.
        keras: Use the defaults of Keras for the normalization.

    Raises:
        ConfigError: See `check_network`.
    """
    check_network(config)
    return NETWORKS[config.kind](config, generator, keras).build()
