"""Random transforms of torchvision on a whole batch, with numbers of its own for every image.

A transform of `torchvision.transforms.v2` draws once for all images that it is given. The functions here compute what
it would return for each image alone; the random numbers come from `Draws`. The other transforms are called image by
image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2  # type: ignore[import-untyped]

from lit_dl.randomness import kept_generators, seed_generators

_ATTEMPTS = 10  # of RandomErasing, to find a rectangle that fits


class Draws:
    """Random numbers for the images of some minibatches, of which this device has a share.

    They are drawn for all images of a minibatch, so they are the same however the images are divided among devices.

    Args:
        minibatches: The seed and the number of images of each minibatch, over all devices.
        rank: The rank of this process, from 0. It has the images rank, rank + world_size, ... of each minibatch.
        world_size: Number of processes that share the minibatches.
    """

    def __init__(self, minibatches: Iterable[tuple[int, int]], rank: int = 0, world_size: int = 1) -> None:
        self.minibatches = list(minibatches)
        self.share = slice(rank, None, world_size)
        self._generators: dict[str, list[torch.Generator]] = {}

    def uniform(self, *shape: int) -> Tensor:
        """Returns numbers in [0, 1) for each image: (n, *shape) float64 on the CPU, the same for every device."""
        return self._each("cpu", lambda images, g: torch.rand(images, *shape, generator=g, dtype=torch.float64))

    def normal(self, *shape: int, device: torch.device) -> Tensor:
        """Returns standard normal numbers for each image: (n, *shape) float32, drawn on a device."""
        return self._each(str(device), lambda images, g: torch.randn(images, *shape, generator=g, device=device))

    def seeds(self) -> list[int]:
        """Returns a seed for each image."""
        seeds: list[int] = self._each("cpu", lambda images, g: torch.randint(2**62, (images,), generator=g)).tolist()
        return seeds

    def _each(self, device: str, draw: Callable[[int, torch.Generator], Tensor]) -> Tensor:
        if device not in self._generators:
            self._generators[device] = [torch.Generator(device).manual_seed(seed) for seed, _ in self.minibatches]
        drawn = zip(self.minibatches, self._generators[device], strict=True)
        return torch.cat([draw(images, generator)[self.share] for (_, images), generator in drawn])


def apply(transform: v2.Transform, images: Tensor, draws: Draws) -> Tensor:
    """Returns images (n, channels, height, width) after a transform that is random for each of them."""
    batched = _BATCHED.get(type(transform))
    if batched is None or not _is_plain(transform):
        return _one_by_one(transform, images, draws)
    return batched(transform, images, draws)


def is_batched(transform: v2.Transform) -> bool:
    """Returns whether a transform is computed for a whole batch at once."""
    parts = getattr(transform, "transforms", [])
    return type(transform) in _BATCHED and _is_plain(transform) and all(map(is_batched, parts))


def _is_plain(transform: v2.Transform) -> bool:
    """Returns whether no option asks for what the functions here do not compute."""
    is_grown = getattr(transform, "expand", False) or getattr(transform, "pad_if_needed", False)
    fill = getattr(transform, "fill", 0)
    is_noise = type(transform) is v2.RandomErasing and transform.value is None
    return not (is_grown or is_noise) and (fill is None or isinstance(fill, int | float | Sequence))


def _one_by_one(transform: v2.Transform, images: Tensor, draws: Draws) -> Tensor:
    changed = []
    with kept_generators():
        for image, seed in zip(images, draws.seeds(), strict=True):
            seed_generators(seed, images.device)
            changed.append(transform(image))
    return torch.stack(changed)


def _some(is_changed: Tensor, changed: Tensor, images: Tensor) -> Tensor:
    """Returns the changed image where `is_changed` (n,) is true, and the image elsewhere."""
    return torch.where(is_changed.to(images.device)[:, None, None, None], changed, images)


def _between(shares: Tensor, low: float, high: float) -> Tensor:
    return low + shares * (high - low)


# Transforms


def _with_probability(transform: Any, images: Tensor, draws: Draws) -> Tensor:
    """A transform in which only the choice of the images is random."""
    changed = transform.transform(images, transform.make_params([images]))
    return _some(draws.uniform() < transform.p, changed, images)


def _compose(transform: Any, images: Tensor, draws: Draws) -> Tensor:
    for part in transform.transforms:
        images = apply(part, images, draws)
    return images


def _random_apply(transform: Any, images: Tensor, draws: Draws) -> Tensor:
    return _some(draws.uniform() < transform.p, _compose(transform, images, draws), images)


def _affine(transform: Any, images: Tensor, draws: Draws) -> Tensor:
    height, width = images.shape[-2:]
    dx, dy = (share * size for share, size in zip(transform.translate or (0, 0), (width, height), strict=True))
    shear = [*(transform.shear or (0, 0)), 0, 0][:4]
    ranges = [transform.degrees, (-dx, dx), (-dy, dy), transform.scale or (1, 1), shear[:2], shear[2:]]
    shares = draws.uniform(len(ranges)).unbind(1)
    angle, x, y, scale, *shears = (_between(share, *bounds) for share, bounds in zip(shares, ranges, strict=True))
    return _warp(images, transform, angle, (x.round(), y.round()), scale, (shears[0], shears[1]))


def _rotation(transform: Any, images: Tensor, draws: Draws) -> Tensor:
    angle = _between(draws.uniform(), *transform.degrees)
    zero = torch.zeros_like(angle)
    return _warp(images, transform, -angle, (zero, zero), zero + 1, (zero, zero))  # torchvision's two turn differently


def _crop(transform: Any, images: Tensor, draws: Draws) -> Tensor:
    height, width = transform.size
    left, right, top, bottom = transform.padding or [0] * 4
    padded: Tensor = v2.functional.pad(
        images, [left, top, right, bottom], fill=transform.fill, padding_mode=transform.padding_mode
    )
    free = torch.tensor([padded.shape[-2] - height + 1, padded.shape[-1] - width + 1])
    first = (draws.uniform(2) * free).long().to(images.device)
    rows = first[:, :1] + torch.arange(height, device=images.device)
    columns = first[:, 1:] + torch.arange(width, device=images.device)
    number = torch.arange(len(images), device=images.device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=images.device)[:, None, None]
    return padded[number, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _erasing(transform: Any, images: Tensor, draws: Draws) -> Tensor:
    channels, height, width = images.shape[1:]
    shares = draws.uniform(2 * _ATTEMPTS + 3)
    area = _between(shares[:, :_ATTEMPTS], *transform.scale) * height * width
    aspect = _between(shares[:, _ATTEMPTS:-3], *map(math.log, transform.ratio)).exp()
    sides = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()]).round().long()
    fits = (sides[0] < height) & (sides[1] < width)
    attempt = fits.to(torch.uint8).argmax(1, keepdim=True)  # the first that fits
    high, wide = (side.gather(1, attempt)[:, 0] for side in sides)
    is_erased = fits.any(1) & (shares[:, -1] < transform.p)
    top, left = ((shares[:, -3] * (height - high + 1)).long(), (shares[:, -2] * (width - wide + 1)).long())
    inside = _span(top, high, height)[:, :, None] & _span(left, wide, width)[:, None, :] & is_erased[:, None, None]
    value = torch.tensor(transform.value, device=images.device).to(images.dtype)
    if len(value) not in (1, channels):
        raise ValueError(f"value must be one number or one for each of {channels} channels; got {transform.value}")
    return torch.where(inside[:, None].to(images.device), value[:, None, None], images)


def _span(first: Tensor, length: Tensor, size: int) -> Tensor:
    """Returns (n, size): whether a place is in [first, first + length)."""
    place = torch.arange(size)
    return (place >= first[:, None]) & (place < (first + length)[:, None])


def _noise(transform: Any, images: Tensor, draws: Draws) -> Tensor:
    drawn = draws.normal(*images.shape[1:], device=images.device)
    noisy: Tensor = images + (transform.mean * 255 + drawn * (transform.sigma * 255)).to(torch.int16)
    return (noisy.clamp_(0, 255) if transform.clip else noisy).to(images.dtype)


_BATCHED: dict[type, Callable[[Any, Tensor, Draws], Tensor]] = {
    v2.Compose: _compose,
    v2.RandomApply: _random_apply,
    v2.RandomAffine: _affine,
    v2.RandomRotation: _rotation,
    v2.RandomCrop: _crop,
    v2.RandomErasing: _erasing,
    v2.GaussianNoise: _noise,
    v2.RandomHorizontalFlip: _with_probability,
    v2.RandomVerticalFlip: _with_probability,
    v2.RandomInvert: _with_probability,
    v2.RandomPosterize: _with_probability,
    v2.RandomSolarize: _with_probability,
    v2.RandomAdjustSharpness: _with_probability,
    v2.RandomAutocontrast: _with_probability,
    v2.RandomEqualize: _with_probability,
    v2.RandomGrayscale: _with_probability,
}

# Affine maps


def _warp(
    images: Tensor,
    transform: Any,
    angle: Tensor,
    translate: tuple[Tensor, Tensor],
    scale: Tensor,
    shear: tuple[Tensor, Tensor],
) -> Tensor:
    """Returns each image under an affine map of its own, as `affine` of torchvision computes it.

    Args:
        images: (n, channels, height, width) uint8.
        transform: Its `center`, `interpolation` and `fill` apply.
        angle: In degrees, clockwise, (n,) as all that follow.
        translate: To the right and down, in pixels.
        scale: The factor.
        shear: Along x and along y, in degrees.
    """
    height, width = images.shape[-2:]
    center = transform.center or (width / 2, height / 2)
    middle = center[0] - width / 2, center[1] - height / 2
    theta = _inverse_matrix(middle, angle.deg2rad(), translate, scale, shear[0].deg2rad(), shear[1].deg2rad())
    half = torch.tensor([width / 2, height / 2], dtype=torch.float64)
    # In float64 on the CPU, as torchvision's; not every device has float64.
    theta = (theta / half[:, None]).to(images.device, torch.float32)
    x = torch.linspace((1 - width) / 2, (width - 1) / 2, width, device=images.device)
    y = torch.linspace((1 - height) / 2, (height - 1) / 2, height, device=images.device)
    points = torch.stack(
        [x.expand(height, width), y[:, None].expand(height, width), torch.ones_like(x).expand(height, width)]
    )
    grid = (theta @ points.flatten(1)).mT.reshape(-1, height, width, 2)
    mode = getattr(transform.interpolation, "value", transform.interpolation)
    return _sample(images, grid, mode, transform.fill)


def _inverse_matrix(
    center: tuple[float, float],
    angle: Tensor,
    translate: tuple[Tensor, Tensor],
    scale: Tensor,
    shear_x: Tensor,
    shear_y: Tensor,
) -> Tensor:
    """Returns the matrix (n, 2, 3) that maps a place of the output to a place of the input; angles in radians.

    Source: torchvision, `_get_inverse_affine_matrix`: the inverse of T C R(angle) S(scale) SHy SHx C^-1.
    """
    a = (angle - shear_y).cos() / shear_y.cos()
    b = -(a * shear_x.tan() + angle.sin())
    c = (angle - shear_y).sin() / shear_y.cos()
    d = angle.cos() - c * shear_x.tan()
    inverse = torch.stack([d, -b, -c, a], 1).reshape(-1, 2, 2) / scale[:, None, None]
    middle = torch.tensor(center, dtype=inverse.dtype)
    offset = middle - (inverse @ (middle + torch.stack(translate, 1))[:, :, None])[:, :, 0]
    return torch.cat([inverse, offset[:, :, None]], 2)


def _sample(images: Tensor, grid: Tensor, mode: str, fill: Any) -> Tensor:
    """Returns images sampled at the places of a grid, with `fill` outside.

    Source: torchvision, `_apply_grid_transform`, which also weights a bilinear sample at the border twice.
    """
    values = images.to(torch.float32)
    if fill is None:
        return F.grid_sample(values, grid, mode, "zeros", False).round_().to(images.dtype)
    inside = torch.ones_like(values[:, :1])
    sampled = F.grid_sample(torch.cat([values, inside], 1), grid, mode, "zeros", False)
    values, inside = sampled[:, :-1], sampled[:, -1:]
    outside = torch.tensor(np.atleast_1d(fill), dtype=values.dtype, device=values.device)[:, None, None]
    if mode == "nearest":
        values = torch.where(inside < 0.5, outside, values)
    else:
        values = values.sub_(outside).mul_(inside).add_(outside)
    return values.round_().to(images.dtype)
