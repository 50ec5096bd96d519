"""`Augmentation`: random changes of the training images of a batch, the same again for the same seed and epoch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms import v2  # type: ignore[import-untyped]

from lit_dl.data.batched_transforms import Draws, apply
from lit_dl.errors import ConfigError
from lit_dl.seeds import derive


class Augmentation:
    """Changes each training image at random, on the device that has the batch.

    What an image becomes is a function of the seed, the epoch, the number of the minibatch and the place in it. So it
    is the same after a resume, in a replay, on several devices, and for any `steps_per_execution`.

    Args:
        transforms: Transforms of uint8 images that keep their shape, called one after another.
        seed: Seed of all random numbers.
    """

    def __init__(self, transforms: Sequence[v2.Transform], seed: int) -> None:
        self.transforms = list(transforms)
        self.seed = seed

    def __call__(
        self, images: Tensor, epoch: int, minibatches: Sequence[tuple[int, int]], rank: int = 0, world_size: int = 1
    ) -> Tensor:
        """Returns the images of this device in some minibatches, changed.

        Args:
            images: (n, channels, height, width) uint8.
            epoch: The epoch, from 1.
            minibatches: The number of each minibatch in the epoch, from 0, and its samples over all devices.
            rank: The rank of this process, from 0. It has the images rank, rank + world_size, ... of each minibatch.
            world_size: Number of processes that share the minibatches.
        """
        seeds = [(derive(self.seed, "augmentation", epoch, number), samples) for number, samples in minibatches]
        draws = Draws(seeds, rank, world_size)
        for transform in self.transforms:
            images = apply(transform, images, draws)
        return images

    def check(self, images: Tensor) -> None:
        """Refuses transforms that fail on these images, or that return anything but uint8 images of their shape.

        Raises:
            ConfigError: With the number of the transform in its key.
        """
        for number, transform in enumerate(self.transforms):
            name = type(transform).__name__
            try:
                changed = apply(transform, images, Draws([(self.seed, len(images))]))
            except Exception as error:  # of any class of the user's
                given = f"{name} fails on those of shape {list(images.shape[1:])} ({type(error).__name__}: {error})"
                raise ConfigError(f"augment.{number}", f"must take uint8 images; {given}") from error
            if changed.shape != images.shape or changed.dtype != torch.uint8:
                raise ConfigError(
                    f"augment.{number}",
                    f"must keep uint8 images of shape {list(images.shape[1:])}; {name} makes "
                    f"{str(changed.dtype).removeprefix('torch.')} of {list(changed.shape[1:])}",
                )
