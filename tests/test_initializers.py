"""Weights against the variances of the papers: each statistic within five of its standard deviations."""

from __future__ import annotations

from math import erf, sqrt

import pytest
import torch
from torch import Tensor

from lit_dl.errors import ConfigError
from lit_dl.initializers import INITIALIZERS, choose, initialize

# Written out for a dense layer of 300 units on 800 inputs, and a convolution of 64 channels on 32, 3x3.
DENSE, CONVOLUTION = (300, 800), (64, 32, 3, 3)
VARIANCES = {
    ("glorot", DENSE): 2 / (800 + 300),
    ("he", DENSE): 2 / 800,
    ("lecun", DENSE): 1 / 800,
    ("glorot", CONVOLUTION): 2 / (32 * 9 + 64 * 9),
    ("he", CONVOLUTION): 2 / (32 * 9),
    ("lecun", CONVOLUTION): 1 / (32 * 9),
}
CASES = [(family, shape, kind) for family, shape in VARIANCES for kind in ("normal", "uniform")]


def drawn(name: str, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    weight = torch.empty(shape)
    initialize(weight, name, torch.Generator().manual_seed(seed))
    return weight.double()


def test_every_row_is_tested_here() -> None:
    assert set(INITIALIZERS) == {f"{family}_{kind}" for family, _, kind in CASES}


@pytest.mark.parametrize(("family", "shape", "kind"), CASES)
def test_mean_and_variance_follow_the_fans(family: str, shape: tuple[int, ...], kind: str) -> None:
    weight, variance = drawn(f"{family}_{kind}", shape), VARIANCES[family, shape]
    n = weight.numel()
    kurtosis = 3.0 if kind == "normal" else 1.8
    assert abs(weight.mean()) < 5 * sqrt(variance / n)
    assert abs(weight.square().mean() / variance - 1) < 5 * sqrt((kurtosis - 1) / n)


@pytest.mark.parametrize(("family", "shape", "kind"), [case for case in CASES if case[2] == "uniform"])
def test_uniform_weights_fill_their_interval_and_no_more(family: str, shape: tuple[int, ...], kind: str) -> None:
    bound = sqrt(3 * VARIANCES[family, shape])
    weight = drawn(f"{family}_{kind}", shape)
    assert 0.999 * bound < weight.max() <= bound * (1 + 1e-6)
    assert -bound * (1 + 1e-6) <= weight.min() < -0.999 * bound


@pytest.mark.parametrize("family", ["glorot", "he", "lecun"])
def test_normal_weights_are_normal(family: str) -> None:
    weight, deviation = drawn(f"{family}_normal", DENSE), sqrt(VARIANCES[family, DENSE])
    for limit in (0.5, 1.0, 2.0):
        share, expected = float((weight.abs() < limit * deviation).double().mean()), erf(limit / sqrt(2))
        assert abs(share - expected) < 5 * sqrt(expected * (1 - expected) / weight.numel())


@pytest.mark.parametrize("name", INITIALIZERS)
def test_weights_come_from_the_generator_alone(name: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = drawn(name, (4, 5))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(drawn(name, (4, 5)), first)
    assert not torch.equal(drawn(name, (4, 5), seed=1), first)


@pytest.mark.parametrize(
    ("activation", "initializer"),
    [
        (None, "glorot_uniform"),
        ("tanh", "glorot_uniform"),
        ("sigmoid", "glorot_uniform"),
        ("relu", "he_normal"),
        ("leaky_relu", "he_normal"),
        ("elu", "he_normal"),
        ("silu", "he_normal"),
        ("selu", "lecun_normal"),
    ],
)
def test_auto_chooses_by_activation(activation: str | None, initializer: str) -> None:
    assert choose("auto", activation) == initializer


@pytest.mark.parametrize("activation", [None, "relu", "selu"])
def test_a_named_initializer_applies_in_front_of_any_activation(activation: str | None) -> None:
    assert choose("he_uniform", activation) == "he_uniform"


def test_an_unknown_initializer_offers_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"^initializer: 'he_norml' is not one of auto, .*; did you mean 'he_normal'\?$"
    ):
        choose("he_norml", "relu")
