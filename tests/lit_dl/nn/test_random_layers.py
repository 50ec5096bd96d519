"""The numbers of random layers: uniform, independent, and a function of seed, epoch, call and place."""

from __future__ import annotations

import copy
from math import erf, sqrt

import pytest
import torch
from torch import Tensor

from lit_dl.nn.random_layers import Dropout, GaussianNoise, RandomLayer, seed_random_layers

N = 1 << 18


def uniform(bits: Tensor) -> Tensor:
    """In (0, 1), from 24 of the bits."""
    return ((bits >> 8).double() + 2**23 + 0.5) / 2**24


def seeded(seed: int = 0, epoch: int = 1, layer: RandomLayer | None = None) -> RandomLayer:
    layer = layer or RandomLayer()
    seed_random_layers(layer, seed, epoch)
    return layer


def draws(layer: RandomLayer, *shape: int) -> Tensor:
    return uniform(layer.bits(torch.empty(shape)))


def largest_correlation(rows: Tensor) -> float:
    """The largest correlation of two rows, as a multiple of its standard deviation."""
    scaled = (rows - 0.5) * sqrt(12)
    matrix = scaled @ scaled.T / sqrt(rows.shape[1])
    return float((matrix - torch.diag(matrix.diag())).abs().max())


@pytest.mark.parametrize("epoch", [1, 2, 50])
def test_numbers_are_uniform(epoch: int) -> None:
    """Chi square of 256 bins, of every byte of the 24 bits, within five standard deviations."""
    for _ in range(3):
        layer = seeded(3, epoch)
        bits = layer.bits(torch.empty(N // 784, 784))
        for shift in (24, 16, 8):
            counts = torch.bincount((bits >> shift & 255).flatten(), minlength=256).double()
            expected = bits.numel() / 256
            assert abs(float(((counts - expected) ** 2 / expected).sum()) - 255) < 5 * sqrt(2 * 255)


def test_calls_epochs_seeds_and_layers_are_independent() -> None:
    """No pair of 40 correlates: in any of these a neighbour differs by one. Six standard deviations, 780 pairs."""
    network = torch.nn.Sequential(*(RandomLayer() for _ in range(10)))
    seed_random_layers(network, 1, 1)
    rows = [draws(layer, N) for layer in network]  # type: ignore[arg-type]
    rows += [draws(network[0], N) for _ in range(10)]  # type: ignore[arg-type]
    rows += [draws(seeded(1, epoch), N) for epoch in range(2, 12)]
    rows += [draws(seeded(seed, 1), N) for seed in range(2, 12)]
    assert largest_correlation(torch.stack(rows)) < 6


def test_neighbours_are_independent() -> None:
    """At a distance of 1 to 64, of a row of MNIST, and of other powers of two, within a call."""
    row = (draws(seeded(5), N) - 0.5) * sqrt(12)
    for distance in [*range(1, 65), 100, 128, 256, 300, 784, 1024, 4096, 65536]:
        assert abs(float((row[:-distance] * row[distance:]).sum())) / sqrt(N - distance) < 6, distance


def test_one_place_over_many_calls_is_uniform_and_independent() -> None:
    """4,096 calls of 64 places: what a unit sees from step to step."""
    layer = seeded(7)
    calls = torch.stack([draws(layer, 64) for _ in range(4096)])
    assert ((calls.mean(0) - 0.5).abs() < 5 * sqrt(1 / 12 / 4096)).all()
    scaled = (calls - 0.5) * sqrt(12)
    for distance in range(1, 33):
        assert ((scaled[:-distance] * scaled[distance:]).sum(0) / sqrt(4096 - distance)).abs().max() < 6
    assert largest_correlation(calls.T) < 6


def test_the_same_seed_epoch_call_and_place_give_the_same_number() -> None:
    first = [draws(seeded(2, 3), 6, 5) for _ in range(2)]
    assert torch.equal(*first)
    layer = seeded(2, 3)
    draws(layer, 9, 5)
    other = copy.deepcopy(layer)
    assert torch.equal(draws(layer, 6, 5), draws(other, 6, 5))
    assert not torch.equal(draws(layer, 6, 5), first[0])


def test_a_smaller_batch_has_the_numbers_of_the_first_rows() -> None:
    layer, other = seeded(), seeded()
    draws(layer, 8, 5), draws(other, 3, 5)
    assert torch.equal(draws(layer, 3, 5), draws(other, 8, 5)[:3])


@pytest.mark.parametrize("world_size", [2, 3])
def test_devices_that_share_a_batch_draw_the_numbers_of_one(world_size: int) -> None:
    whole, parts = draws(seeded(), 12, 5), []
    for rank in range(world_size):
        layer = RandomLayer()
        seed_random_layers(layer, 0, 1, (rank, world_size))
        parts.append(draws(layer, 12 // world_size, 5))
    assert torch.equal(torch.stack(parts, 1).flatten(0, 1), whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("make", [lambda: Dropout(0.3), lambda: GaussianNoise(0.5)])
def test_the_numbers_do_not_depend_on_the_type(make: object, dtype: torch.dtype) -> None:
    outputs = [seeded(layer=make())(torch.ones(50, 20, dtype=kind)) for kind in (dtype, torch.float64)]  # type: ignore[operator]
    assert outputs[0].dtype == dtype
    tolerance = dict.fromkeys(("rtol", "atol"), 2e-2 if dtype == torch.bfloat16 else 1e-5)
    torch.testing.assert_close(*outputs, check_dtype=False, **tolerance)


@pytest.mark.parametrize("rate", [1e-9, 0.001, 0.5, 0.999, 1 - 2**-40])
def test_any_rate_can_be_dropped(rate: float) -> None:
    dropped = float((seeded(layer=Dropout(rate))(torch.ones(N)) == 0).double().mean())
    assert abs(dropped - rate) <= 5 * sqrt(rate * (1 - rate) / N) + 2**-32


def test_noise_is_normal() -> None:
    """Shares below seven deviations, within five standard deviations each, and none infinite."""
    noise = seeded(layer=GaussianNoise(1.0))(torch.zeros(N, dtype=torch.float64))
    for x in (-3.0, -2.0, -1.0, 0.0, 0.5, 1.5, 2.5):
        share = (1 + erf(x / sqrt(2))) / 2
        assert abs(float((noise < x).double().mean()) - share) < 5 * sqrt(share * (1 - share) / N)
    assert 4 < float(noise.abs().max()) < 5.5


def test_random_layers_leave_nothing_in_a_checkpoint_and_no_trace_in_the_generators() -> None:
    layer, state = seeded(layer=Dropout(0.5)), torch.get_rng_state()
    layer(torch.ones(5, 5))
    assert layer.state_dict() == {}
    assert torch.equal(torch.get_rng_state(), state)


def test_members_of_a_stack_draw_what_each_draws_alone() -> None:
    alone = [seeded(seed, 4) for seed in (1, 5, 9)]
    stacked = RandomLayer()
    stacked.key, stacked.counter = (torch.stack([getattr(a, name) for a in alone]) for name in ("key", "counter"))
    for shape in ((6, 5), (4, 5)):
        together = draws(stacked, 3, *shape)
        assert torch.equal(together, torch.stack([draws(layer, *shape) for layer in alone]))
