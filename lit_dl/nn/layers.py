"""Layers that torch does not have: noise, and a hidden layer with a connection around it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GaussianNoise(nn.Module):
    """Adds noise of zero mean in training; the identity otherwise. Source: Keras's layer of this name.

    Args:
        deviation: Standard deviation of the noise.
    """

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.deviation * torch.randn_like(inputs) if self.training else inputs


class Residual(nn.Sequential):
    """A hidden layer with a connection around it: `skip(x) + scale * layer(x)`.

    Source: He et al. 2016 (arXiv 1512.03385), eq. 2; the scale, 1 / sqrt(depth), by Hayou et al. 2021 (arXiv
    2010.12859): without it the activations of a stack without normalization double with every layer. With it those of
    ReLU layers, which are all positive, still grow to about 30 times at depth 50; any normalization holds them below 5.

    Args:
        parts: The layer's modules by name.
        skip: Projection to the layer's width; `None`: the input as it is.
        scale: Factor on the layer.
    """

    def __init__(self, parts: dict[str, nn.Module], skip: nn.Module | None, scale: float) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self.skip = skip or nn.Identity()
        self.scale = scale

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = inputs
        for name, part in self.named_children():
            outputs = outputs if name == "skip" else part(outputs)
        result: Tensor = self.skip(inputs) + self.scale * outputs
        return result
