"""`InputAdapter`: fits samples to the channels, the size and the normalization of a trained network."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn, tensor

from lit_dl.errors import ConfigError

_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, as torchvision's Grayscale


class InputAdapter(nn.Module):
    """Maps samples (batch, *shape) float32 to (batch, *target) float32; the only place where inputs are adapted.

    Grey images are repeated for three channels, colour images become their luminance for one. Images are resized
    (bilinear, antialiased). Then the mean of each channel is subtracted, and its standard deviation divides the rest.

    Args:
        shape: Shape of a sample of the data.
        target: Shape of a sample of the trained network.
        mean: Mean of each channel. `None`: 0.
        std: Standard deviation of each channel. `None`: 1.

    Raises:
        ConfigError: The data cannot be adapted.
    """

    def __init__(
        self,
        shape: Sequence[int],
        target: Sequence[int],
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.shape, self.target = list(shape), list(target)
        self._check()
        for name, values in {"mean": mean, "std": std}.items():
            if values is not None and len(values) not in (1, target[0]):
                raise ConfigError(f"backbone.{name}", f"must have {target[0]} values, one a channel; got {len(values)}")
            column = None if values is None else tensor(values).reshape(-1, *[1] * (len(target) - 1))
            self.register_buffer(name, column, persistent=False)
        self.register_buffer("luminance", tensor(_LUMINANCE).reshape(3, 1, 1), persistent=False)

    mean: Tensor | None
    std: Tensor | None
    luminance: Tensor

    def _check(self) -> None:
        if self.shape == self.target:
            return
        are_images = len(self.shape) == len(self.target) == 3
        if not are_images or (self.shape[0] != self.target[0] and {self.shape[0], self.target[0]} != {1, 3}):
            raise ConfigError(
                "input_shape",
                f"must be adaptable to the {self.target} of the backbone (images of another size, grey or colour); "
                f"got {self.shape}",
            )

    def forward(self, inputs: Tensor) -> Tensor:
        if self.shape[0] == 3 and self.target[0] == 1 and len(self.target) == 3:
            inputs = (inputs * self.luminance).sum(1, keepdim=True)
        if self.shape[1:] != self.target[1:]:
            inputs = F.interpolate(inputs, size=self.target[1:], mode="bilinear", antialias=True)
        if self.shape[0] == 1 and self.target[0] == 3 and len(self.target) == 3:
            inputs = inputs.expand(-1, 3, -1, -1)
        if self.mean is not None:
            inputs = inputs - self.mean
        return inputs if self.std is None else inputs / self.std
