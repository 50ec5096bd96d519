"""Hidden layers, with and without a residual connection."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn


class HiddenLayer(nn.Sequential):
    """A hidden layer: weights, normalization, activation, noise and dropout, each by name and in order.

    Args:
        parts: The modules of the layer by name. One of them is the `activation`.
    """

    activation: nn.Module

    def __init__(self, parts: dict[str, nn.Module]) -> None:
        super().__init__(OrderedDict(parts))


class ResidualLayer(HiddenLayer):
    """A hidden layer with a residual connection: `skip(x) + scale * layer(x)`.

    Source: He et al. 2016 (arXiv 1512.03385), eq. 2. The scale, 1 / sqrt(depth): Hayou et al. 2021 (arXiv 2010.12859).
    Without the scale, the activations of a stack without normalization double with every layer. With it, those of ReLU
    layers, which are all positive, still grow to about 30 times at depth 50. Any normalization holds them below 5.

    Args:
        parts: The modules of the layer by name.
        skip: Projection of the input to the width of the layer. `None`: the identity.
        scale: Factor on the output of the layer.
    """

    def __init__(self, parts: dict[str, nn.Module], skip: nn.Module | None, scale: float) -> None:
        super().__init__(parts)
        self.skip = skip or nn.Identity()
        self.scale = scale

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = inputs
        for name, part in self.named_children():
            outputs = outputs if name == "skip" else part(outputs)
        result: Tensor = self.skip(inputs) + self.scale * outputs
        return result
