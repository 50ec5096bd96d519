"""Transforms of a whole batch against torchvision's of each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from lit_dl.data.batched_transforms import Draws, apply, is_batched

IMAGES = torch.randint(0, 256, (6, 3, 12, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
# Smooth, so that a place that is rounded otherwise changes a pixel by little.
SMOOTH = functional.resize(IMAGES[:, :, :4, :4], [12, 16], antialias=True)


class Given(Draws):
    """Numbers that a test chooses, in place of random ones."""

    def __init__(self, shares: Sequence[Any]) -> None:
        super().__init__([(0, len(shares))])
        self.shares = torch.tensor(shares, dtype=torch.float64)

    def uniform(self, *shape: int) -> Tensor:
        return self.shares.reshape(-1, *shape)


def draws(images: int = 6, seed: int = 0) -> Draws:
    return Draws([(seed, images)])


def each(images: Tensor, transform: Any) -> Tensor:
    return torch.stack([transform(image) for image in images])


# Random numbers


def test_a_share_is_of_the_numbers_of_all_devices() -> None:
    minibatches = [(1, 5), (2, 4)]
    whole = Draws(minibatches)
    parts = [Draws(minibatches, rank, 2) for rank in range(2)]
    places = [torch.tensor([0, 2, 4, 5, 7]), torch.tensor([1, 3, 6, 8])]
    for draw in (
        lambda d: d.uniform(3),
        lambda d: d.normal(2, 2, device=torch.device("cpu")),
        lambda d: torch.tensor(d.seeds()),
    ):
        numbers = draw(whole)
        assert len(numbers.unique()) == numbers.numel()
        for part, rows in zip(parts, places, strict=True):
            assert torch.equal(draw(part), numbers[rows])


def test_minibatches_draw_the_same_alone_and_together() -> None:
    together = Draws([(1, 5), (2, 4)]).uniform(2)
    assert torch.equal(together, torch.cat([Draws([(1, 5)]).uniform(2), Draws([(2, 4)]).uniform(2)]))


# Against torchvision


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize(
    "options",
    [
        {"degrees": [25, 25]},
        {"degrees": [0, 0], "scale": [0.7, 0.7]},
        {"degrees": [0, 0], "shear": [15, 15]},
        {"degrees": [-40, -40], "scale": [1.3, 1.3], "shear": [10, 10, -20, -20]},
        {"degrees": [30, 30], "center": [2.0, 9.0]},
        {"degrees": [30, 30], "fill": 200},
        {"degrees": [30, 30], "fill": [10, 100, 250]},
        {"degrees": [30, 30], "fill": None},
    ],
    ids=str,
)
def test_affine(options: dict[str, Any], interpolation: str) -> None:
    """With ranges of one value torchvision's transform is not random."""
    transform = v2.RandomAffine(**options, interpolation=interpolation)
    ours, theirs = apply(transform, SMOOTH, draws()), each(SMOOTH, transform)
    assert ours.dtype == torch.uint8
    difference = (ours.int() - theirs.int()).abs()
    assert int((difference > 1).sum()) <= (2 if interpolation == "nearest" else 0) * len(SMOOTH)
    assert not torch.equal(ours, SMOOTH)


def test_affine_moves_by_whole_pixels_and_takes_other_numbers_for_each_image() -> None:
    transform = v2.RandomAffine([-90, 90], translate=[0.25, 0.5], scale=[0.5, 1.5], shear=[-20, 20, -10, 10])
    shares = torch.rand(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours = apply(transform, SMOOTH, Given(shares.tolist()))
    for image, changed, (angle, x, y, scale, shear_x, shear_y) in zip(SMOOTH, ours, shares.tolist(), strict=True):
        theirs = functional.affine(
            image,
            angle=180 * angle - 90,
            translate=[round(8 * x - 4), round(12 * y - 6)],
            scale=0.5 + scale,
            shear=[40 * shear_x - 20, 20 * shear_y - 10],
            fill=0,
        )
        assert int((changed != theirs).any(0).sum()) <= 2


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("options", [{}, {"center": [3.0, 4.0]}, {"fill": 90}], ids=str)
def test_rotation(options: dict[str, Any], interpolation: str) -> None:
    transform = v2.RandomRotation([35, 35], interpolation=interpolation, **options)
    difference = (apply(transform, SMOOTH, draws()).int() - each(SMOOTH, transform).int()).abs()
    assert int((difference > 1).sum()) <= (2 if interpolation == "nearest" else 0) * len(SMOOTH)


@pytest.mark.parametrize("padding_mode", ["constant", "edge", "reflect", "symmetric"])
def test_crop(padding_mode: str) -> None:
    transform = v2.RandomCrop((12, 16), padding=[1, 2, 3, 4], fill=7, padding_mode=padding_mode)
    shares = [[0, 0], [0.99, 0.99], [0.5, 0.25], [0.2, 0.8], [0.1, 0.9], [0.6, 0.6]]
    ours = apply(transform, IMAGES, Given(shares))
    for image, changed, (top, left) in zip(IMAGES, ours, shares, strict=True):
        padded = functional.pad(image, [1, 2, 3, 4], fill=7, padding_mode=padding_mode)
        assert torch.equal(changed, functional.crop(padded, int(top * 7), int(left * 5), 12, 16))


@pytest.mark.parametrize("value", [0, 77, [5, 6, 250]])
def test_erasing(value: Any) -> None:
    transform = v2.RandomErasing(0.5, scale=[0.2, 0.2], ratio=[0.5, 0.5], value=value)
    high, wide = round((12 * 16 * 0.2 * 0.5) ** 0.5), round((12 * 16 * 0.2 / 0.5) ** 0.5)
    shares = [
        [0.0] * 20 + [top, left, chance] for top, left, chance in [(0.0, 0.99, 0.1), (0.5, 0.5, 0.49), (0, 0, 0.5)]
    ]
    ours = apply(transform, IMAGES[:3], Given(shares))
    colour = torch.tensor(value if isinstance(value, list) else [value]).to(torch.uint8)[:, None, None]
    for image, changed, (top, left, chance) in zip(IMAGES, ours, [row[20:] for row in shares], strict=False):
        i, j = int(top * (12 - high + 1)), int(left * (16 - wide + 1))
        erased = functional.erase(image, i, j, high, wide, colour)
        assert torch.equal(changed, erased if chance < 0.5 else image)


def test_erasing_takes_the_first_rectangle_that_fits_and_none_where_none_does() -> None:
    transform = v2.RandomErasing(1, scale=[0.0, 1.0], ratio=[1, 1], value=0)
    areas = [[0.999] * 9 + [0.1], [0.999, 0.1] + [0.3] * 8, [0.999] * 10]
    shares = [area + [0.5] * 10 + [0.0, 0.0, 0.0] for area in areas]
    changed = (apply(transform, IMAGES[:3] | 1, Given(shares)) == 0).all(1).sum((1, 2))
    side = round((0.1 * 12 * 16) ** 0.5)
    assert changed.tolist() == [side**2, side**2, 0]


WITH_PROBABILITY = [
    v2.RandomHorizontalFlip,
    v2.RandomVerticalFlip,
    v2.RandomInvert,
    lambda p: v2.RandomPosterize(2, p),
    lambda p: v2.RandomSolarize(100, p),
    lambda p: v2.RandomAdjustSharpness(3.0, p),
    v2.RandomAutocontrast,
    v2.RandomEqualize,
    v2.RandomGrayscale,
    lambda p: v2.RandomApply([v2.RandomInvert(1.0)], p),
]


@pytest.mark.parametrize("make", WITH_PROBABILITY, ids=lambda make: type(make(p=1.0)).__name__)
def test_a_transform_of_a_probability(make: Any) -> None:
    chances = [0.1, 0.6, 0.39, 0.41, 0.0, 0.99]
    ours = apply(make(p=0.4), IMAGES, Given(chances))
    changed = each(IMAGES, make(p=1.0))
    expected = [other if chance < 0.4 else image for image, other, chance in zip(IMAGES, changed, chances, strict=True)]
    assert torch.equal(ours, torch.stack(expected))
    assert torch.equal(apply(make(p=0.0), IMAGES, draws()), IMAGES)


def test_noise_has_its_mean_and_deviation_and_is_another_for_each_image() -> None:
    grey = torch.full((40, 1, 32, 32), 100, dtype=torch.uint8)
    noisy = apply(v2.GaussianNoise(mean=0.1, sigma=0.05), grey, draws(40)).double()
    assert float(noisy.mean()) == pytest.approx(100 + 25.5 - 0.5, abs=0.2)  # torchvision rounds down
    assert float(noisy.std()) == pytest.approx(0.05 * 255, abs=0.2)
    assert len({image.numpy().tobytes() for image in noisy}) == 40
    assert apply(v2.GaussianNoise(sigma=1.0), grey, draws(40)).max() == 255


def test_noise_without_noise_is_torchvisions() -> None:
    transform = v2.GaussianNoise(mean=0.3, sigma=0.0)
    assert torch.equal(apply(transform, IMAGES, draws()), each(IMAGES, transform))


def test_a_list_of_transforms_goes_one_after_another() -> None:
    parts = [v2.RandomPosterize(3, 1.0), v2.RandomInvert(1.0), v2.RandomHorizontalFlip(1.0)]
    assert torch.equal(apply(v2.Compose(parts), IMAGES, draws()), each(IMAGES, v2.Compose(parts)))


# Ranges


def test_angles_and_scales_are_drawn_from_their_ranges_evenly() -> None:
    """A pixel right of the center shows the angle: its row moves by 5 sin(angle)."""
    image = torch.zeros(1, 1, 21, 21, dtype=torch.uint8)
    image[..., 10, 15:] = 255
    turned = apply(v2.RandomRotation([0, 90], interpolation="bilinear"), image.expand(4000, -1, -1, -1), draws(4000))
    rows = torch.arange(21, dtype=torch.float64)[:, None]
    columns = torch.arange(21, dtype=torch.float64)
    weight = turned[:, 0].double() / turned[:, 0].double().sum((1, 2), keepdim=True)
    y, x = 10 - (weight * rows).sum((1, 2)), (weight * columns).sum((1, 2)) - 10
    angles = torch.atan2(y, x).rad2deg()
    quantiles = angles.quantile(torch.tensor([0.02, 0.25, 0.5, 0.75, 0.98], dtype=torch.float64))
    torch.testing.assert_close(quantiles, torch.tensor([1.8, 22.5, 45.0, 67.5, 88.2]).double(), atol=3.0, rtol=0)


def test_every_place_of_a_crop_comes_equally_often() -> None:
    places = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8).expand(5000, -1, -1, -1) + 1
    crops = apply(v2.RandomCrop(8, padding=2), places, draws(5000))
    middle = crops[:, 0, 4, 4].long() - 1  # (row, column) of the original that is now at (4, 4)
    counts = torch.stack([middle // 8, middle % 8], 1)
    for axis in range(2):
        assert counts[:, axis].bincount().tolist()[2:7] == pytest.approx([1000] * 5, abs=120)


# The others


def test_what_is_not_batched_goes_image_by_image() -> None:
    assert not is_batched(v2.ColorJitter(0.5))
    assert not is_batched(v2.RandomRotation(10, expand=True))
    assert not is_batched(v2.RandomErasing(value="random"))
    assert not is_batched(v2.Compose([v2.RandomHorizontalFlip(), v2.ColorJitter(0.5)]))
    assert is_batched(v2.RandomApply([v2.RandomHorizontalFlip()]))

    class Mine(v2.RandomHorizontalFlip):
        pass

    assert not is_batched(Mine())


def test_image_by_image_is_random_for_each_and_leaves_the_generators_alone() -> None:
    same = IMAGES[:1].expand(6, -1, -1, -1)
    state = torch.get_rng_state()
    changed = apply(v2.ColorJitter(brightness=0.9), same, draws())
    assert torch.equal(torch.get_rng_state(), state)
    assert len({image.numpy().tobytes() for image in changed}) == 6
    torch.manual_seed(5)
    assert torch.equal(apply(v2.ColorJitter(brightness=0.9), same, draws()), changed)
    assert not torch.equal(apply(v2.ColorJitter(brightness=0.9), same, draws(seed=1)), changed)


@pytest.mark.parametrize(
    "transform",
    [
        v2.RandomAffine(10, [0.1, 0.1], [0.9, 1.1], 5, interpolation="bilinear", fill=3),
        v2.RandomRotation(10),
        v2.RandomCrop((12, 16), padding=2),
        v2.RandomErasing(),
        v2.RandomApply([v2.RandomHorizontalFlip()]),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_images_stay_on_their_device(transform: v2.Transform) -> None:
    """The meta device computes shapes alone, but refuses tensors of another device as a GPU does."""
    changed = apply(transform, IMAGES.to("meta"), draws())
    assert (changed.device.type, changed.shape, changed.dtype) == ("meta", IMAGES.shape, torch.uint8)
