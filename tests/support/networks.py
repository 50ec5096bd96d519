"""Small networks for tests, and their formulas in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lit_dl.nn.network import Network
from lit_dl.nn.network_config import NetworkConfig
from lit_dl.nn.networks import build_network


def built(seed: int = 0, keras: bool = False, **values: Any) -> Network:
    return build_network(NetworkConfig(**values), torch.Generator().manual_seed(seed), keras)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def layers(module: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in module.modules() if not list(layer.children())]


def weights(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def scattered(network: Network) -> Network:
    """The network in float64, with biases, scales and shifts that are not those it starts with."""
    generator = torch.Generator().manual_seed(9)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.5, 1.5, generator=generator)
    return network.double()


def arrays(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy().copy() for name, value in module.state_dict().items()}


def inputs(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=scale, size=shape)


def output_of(network: nn.Module, x: np.ndarray) -> np.ndarray:
    return network(torch.from_numpy(x)).detach().numpy()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def convolved(images: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """3x3 correlations with zeros around the image, pixel by pixel."""
    n, _, height, width = images.shape
    around = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    result = np.empty((n, len(kernel), height, width))
    for row in range(height):
        for column in range(width):
            patch = around[:, :, row : row + 3, column : column + 3].reshape(n, -1)
            result[:, :, row, column] = patch @ kernel.reshape(len(kernel), -1).T + bias
    return result
