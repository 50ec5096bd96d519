"""Layers that draw random numbers in training: dropout and Gaussian noise, from a counter instead of a generator.

A random number is a function of a key, of how often the layer was called, and of the position of the number in a batch.
It needs no state of a generator: a run that is resumed, compiled, on several devices or fused with others draws the
same numbers as alone. The function is integer arithmetic on tensors, so it is the same on every device.
"""

from __future__ import annotations

import math
from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn

from lit_dl.seeds import derive


def _signed(value: int) -> int:
    """Returns the signed 32-bit integer with the low 32 bits of `value`."""
    return (value + 2**31) % 2**32 - 2**31


# The two multipliers of lowbias32, found by search for the least bias of any output bit by any input bit: Wellons 2018
# (nullprogram.com/blog/2018/07/31).
_FIRST, _SECOND = 0x7FEB352D, _signed(0x846CA68B)
_WEYL = _signed(0x9E3779B9)  # odd: a counter that grows by it takes 2^32 values. Near 2^32 times the golden ratio.
# `>>` keeps the sign of an integer. These masks make it the logical shift that the hash needs.
_LOW_16, _LOW_17 = 2**16 - 1, 2**17 - 1


def random_bits(positions: Tensor, counter: Tensor, key: Tensor) -> Tensor:
    """Returns 32 random bits for each position, as int32. The lowest 15 bits are weak: compare, or shift them away.

    The hash is lowbias32 of `positions ^ counter`, with the key added between its two multiplications and without its
    last step, which serves the lowest bits.

    Args:
        positions: Hashed positions, int32; see `hashed_positions`.
        counter: int32, of a shape that broadcasts.
        key: int32, of a shape that broadcasts.
    """
    bits = positions ^ counter
    bits ^= (bits >> 16) & _LOW_16
    bits *= _FIRST
    bits += key
    bits ^= (bits >> 15) & _LOW_17
    bits *= _SECOND
    return bits


def hashed_positions(rows: int, units: int, first: int, stride: int, device: torch.device) -> Tensor:
    """Returns a hash of the position of each number in a batch, (rows * units,) int32.

    Args:
        rows: Rows of the batch, or of the share of a device.
        units: Numbers in a row.
        first: Row of the whole batch that is the first row here.
        stride: Rows of the whole batch from one row here to the next.
        device: The device of the result.
    """
    places = torch.arange(rows, dtype=torch.int32, device=device) * stride + first
    positions = (places.unsqueeze(1) * units + torch.arange(units, dtype=torch.int32, device=device)).flatten()
    zero = torch.zeros((), dtype=torch.int32, device=device)
    bits = random_bits(positions, zero, zero)
    return bits ^ ((bits >> 16) & _LOW_16)


class RandomLayer(nn.Module):
    """A layer with random numbers in training, the identity in evaluation.

    In a stack of networks, the buffers and the inputs have a leading member axis.
    """

    numbers: ClassVar[tuple[str, ...]] = ()
    """Attributes that are numbers, or tensors (members,) in a stack."""
    key: Tensor
    """Key of the layer in an epoch: int32, or (members,) int32."""
    counter: Tensor
    """Grows at every call in training; it starts at random, as a second half of the key. Shape as `key`."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("key", "counter"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int32), persistent=False)
        self.rows = (0, 1)
        """The share of a batch that this device has: its first row, and the distance of its rows."""
        self._positions: Tensor = torch.empty(0, dtype=torch.int32)
        self._layout: tuple[object, ...] = ()

    def seed(self, key_and_counter: tuple[int, int]) -> None:
        """Sets key and counter."""
        for tensor, value in zip((self.key, self.counter), key_and_counter, strict=True):
            tensor.fill_(value)

    def bits(self, inputs: Tensor) -> Tensor:
        """Returns 32 random bits for each number of the inputs, other ones at every call."""
        self.counter += _WEYL
        shape = inputs.shape[self.key.ndim :]
        positions = self._positions_of(shape[0], prod(shape[1:]), inputs.device).view(shape)
        return random_bits(positions, _widened(self.counter, inputs), _widened(self.key, inputs))

    def _positions_of(self, rows: int, units: int, device: torch.device) -> Tensor:
        """Returns the hashed positions, which are kept: the last batch of an epoch, a smaller one, has the first."""
        layout = (units, self.rows, device)
        if layout != self._layout or len(self._positions) < rows * units:
            self._positions, self._layout = hashed_positions(rows, units, *self.rows, device), layout
        return self._positions[: rows * units]


def key_and_counter(seed: int, epoch: int, name: str) -> tuple[int, int]:
    """Returns the key of a layer for an epoch, counted from 1, and the start of its counter: signed 32-bit integers.

    Args:
        seed: The seed of the run.
        epoch: The epoch.
        name: Name of the layer in the LightningModule.
    """
    value = derive(seed, "mask", epoch, name)
    return _signed(value), _signed(value >> 31)


def _widened(value: Tensor, inputs: Tensor) -> Tensor:
    """Appends axes of size 1, so that a value a member broadcasts over the inputs."""
    return value.view(*value.shape, *[1] * (inputs.ndim - value.ndim))


class Dropout(RandomLayer):
    """Sets a share of its inputs to 0, and divides the others by the share that is kept.

    Source: Srivastava et al. 2014, inverted.

    Args:
        rate: The share that is dropped, in [0, 1).
    """

    numbers = ("threshold", "scale")
    threshold: int | Tensor
    scale: float | Tensor

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.threshold = min(round(rate * 2**32), 2**32 - 1) - 2**31
        self.scale = 1 / (1 - rate)

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training:
            return inputs
        threshold, scale = (_widened(v, inputs) if isinstance(v, Tensor) else v for v in (self.threshold, self.scale))
        return inputs * (self.bits(inputs) >= threshold).to(inputs.dtype).mul_(scale)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


class GaussianNoise(RandomLayer):
    """Adds noise of zero mean. Source: Keras's layer of this name.

    The noise is that of 24 random bits, so it is at most 5.4 standard deviations.

    Args:
        std: Standard deviation of the noise.
    """

    numbers = ("std",)
    std: float | Tensor

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training:
            return inputs
        std = _widened(self.std, inputs) if isinstance(self.std, Tensor) else self.std
        dtype = inputs.dtype if inputs.dtype == torch.float64 else torch.float32
        uniform = (self.bits(inputs) >> 8).to(dtype).add_(0.5).mul_(2.0**-23)  # in (-1, 1), without rounding
        return inputs + (uniform.erfinv_().mul_(math.sqrt(2)) * std).to(inputs.dtype)

    def extra_repr(self) -> str:
        return f"std={self.std}"


def random_layers(network: nn.Module) -> dict[str, RandomLayer]:
    """Returns the layers of a network that draw random numbers, by name."""
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, RandomLayer)}


def seed_random_layers(network: nn.Module, seed: int, epoch: int, rows: tuple[int, int] = (0, 1)) -> None:
    """Seeds the random layers for an epoch, counted from 1: each has a stream of its own, by its name.

    Args:
        network: The network, or the module that contains it.
        seed: The seed of the run.
        epoch: The epoch.
        rows: The share of each batch that this device has: its first row, and the distance of its rows.
    """
    for name, layer in random_layers(network).items():
        layer.seed(key_and_counter(seed, epoch, name))
        layer.rows = rows
