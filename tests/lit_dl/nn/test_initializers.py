"""Weights against the variances of the papers.

Each statistic must lie within five of its standard deviations, from fixed seeds. A correct initializer misses that by
chance once in 1.7 million statistics (normal approximation, two-sided 5.7e-7); with as much certainty fails one whose
variance is wrong by 3 % (dense layer) or 11 % (convolution).
"""

from __future__ import annotations

from math import erf, exp, pi, sqrt

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lit_dl.errors import ConfigError
from lit_dl.nn.activations import ACTIVATIONS
from lit_dl.nn.initializers import INITIALIZERS, TRUNCATED_STD, initialize, resolve_initializer
from lit_dl.nn.network_config import NetworkConfig
from lit_dl.nn.networks import build_network

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
# A standard normal cut off at plus and minus 2: its mass, second and fourth moment by partial integration.
DENSITY_AT_2 = exp(-2) / sqrt(2 * pi)
MASS = erf(2 / sqrt(2))
CUT_VARIANCE = 1 - 2 * 2 * DENSITY_AT_2 / MASS
CUT_FOURTH_MOMENT = 3 * CUT_VARIANCE - 2 * 2**3 * DENSITY_AT_2 / MASS
KURTOSIS = {"normal": 3.0, "uniform": 9 / 5, "truncated_normal": CUT_FOURTH_MOMENT / CUT_VARIANCE**2}

SCALED = [(family, shape, kind) for family, shape in VARIANCES for kind in KURTOSIS]
OTHERS = {"orthogonal", "small_normal", "zeros"}  # with a test each below


def drawn(name: str, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    weight = torch.empty(shape)
    initialize(weight, name, torch.Generator().manual_seed(seed))
    return weight.double()


def check_moments(weight: Tensor, variance: float, kurtosis: float) -> None:
    """Zero mean, and the mean square: its variance is (kurtosis - 1) variance^2 / n."""
    n = weight.numel()
    assert abs(weight.mean()) < 5 * sqrt(variance / n)
    assert abs(weight.square().mean() / variance - 1) < 5 * sqrt((kurtosis - 1) / n)


def test_every_row_has_a_reference_here() -> None:
    missing = sorted(set(INITIALIZERS) - {f"{family}_{kind}" for family, _, kind in SCALED} - OTHERS)
    assert not missing, f"add the variance of {missing} to VARIANCES and KURTOSIS, or a test of its own and OTHERS"


def test_every_row_names_its_source() -> None:
    assert all(row.source for row in INITIALIZERS.values())


@pytest.mark.parametrize(("family", "shape", "kind"), SCALED)
def test_mean_and_variance_follow_the_fans(family: str, shape: tuple[int, ...], kind: str) -> None:
    check_moments(drawn(f"{family}_{kind}", shape), VARIANCES[family, shape], KURTOSIS[kind])


@pytest.mark.parametrize(("family", "shape"), VARIANCES)
def test_uniform_weights_fill_their_interval_and_no_more(family: str, shape: tuple[int, ...]) -> None:
    bound = sqrt(3 * VARIANCES[family, shape])
    weight = drawn(f"{family}_uniform", shape)
    assert 0.999 * bound < weight.max() <= bound * (1 + 1e-6)
    assert -bound * (1 + 1e-6) <= weight.min() < -0.999 * bound


@pytest.mark.parametrize("family", ["glorot", "he", "lecun"])
@pytest.mark.parametrize("limit", [0.5, 1.0, 2.0])
def test_normal_weights_are_normal(family: str, limit: float) -> None:
    weight, deviation = drawn(f"{family}_normal", DENSE), sqrt(VARIANCES[family, DENSE])
    check_share(weight, limit * deviation, erf(limit / sqrt(2)))


def check_share(weight: Tensor, limit: float, expected: float) -> None:
    """The share of the weights that is nearer to 0 than `limit`."""
    share = float((weight.abs() < limit).double().mean())
    assert abs(share - expected) < 5 * sqrt(expected * (1 - expected) / weight.numel())


# Keras's truncated normals


def test_the_constant_is_the_deviation_of_the_cut_off_normal() -> None:
    assert pytest.approx(sqrt(CUT_VARIANCE), rel=1e-15) == TRUNCATED_STD
    assert round(TRUNCATED_STD, 4) == 0.8796


def test_the_moments_of_the_cut_off_normal_are_those_of_its_density() -> None:
    """The formulas at the head of this file, against the integrals themselves."""
    x = torch.linspace(-2, 2, 200_001, dtype=torch.float64)
    density = torch.exp(-(x**2) / 2) / sqrt(2 * pi) / MASS
    for power, moment in ((0, 1.0), (2, CUT_VARIANCE), (4, CUT_FOURTH_MOMENT)):
        assert float(torch.trapezoid(density * x**power, x)) == pytest.approx(moment, rel=1e-9)


@pytest.mark.parametrize(("family", "shape"), VARIANCES)
def test_truncated_weights_end_at_two_deviations_of_the_wider_normal(family: str, shape: tuple[int, ...]) -> None:
    bound = 2 * sqrt(VARIANCES[family, shape] / CUT_VARIANCE)
    weight = drawn(f"{family}_truncated_normal", shape)
    assert 0.99 * bound < weight.max() <= bound * (1 + 1e-6)
    assert -bound * (1 + 1e-6) <= weight.min() < -0.99 * bound


@pytest.mark.parametrize("family", ["glorot", "he", "lecun"])
@pytest.mark.parametrize("limit", [0.5, 1.0, 1.5])
def test_truncated_weights_are_normal_within(family: str, limit: float) -> None:
    wider = sqrt(VARIANCES[family, DENSE] / CUT_VARIANCE)
    check_share(drawn(f"{family}_truncated_normal", DENSE), limit * wider, erf(limit / sqrt(2)) / MASS)


# The others


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (30, 30), (16, 8, 3, 3), (64, 2, 3, 3)])
def test_orthogonal_rows_or_columns_are_orthonormal(shape: tuple[int, ...]) -> None:
    matrix = drawn("orthogonal", shape).flatten(1)
    rows, columns = matrix.shape
    gram = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
    torch.testing.assert_close(gram, torch.eye(min(rows, columns), dtype=torch.float64), rtol=0, atol=1e-5)


def test_orthogonal_matrices_have_no_preferred_direction() -> None:
    """Over draws each entry has mean 0 and variance 1 / n, whatever its place; three entries of 2,000 matrices."""
    generator = torch.Generator().manual_seed(0)
    draws = torch.empty(2000, 4, 4)
    for matrix in draws:
        initialize(matrix, "orthogonal", generator)
    for row, column in ((0, 0), (1, 3), (3, 3)):
        entry = draws[:, row, column].double()
        assert abs(entry.mean()) < 5 * sqrt(1 / 4 / 2000)
        # On the sphere in four dimensions the fourth moment of a coordinate is 3 / (4 * 6), so twice the variance^2.
        assert abs(entry.square().mean() * 4 - 1) < 5 * sqrt((2 - 1) / 2000)


@pytest.mark.parametrize("shape", [DENSE, CONVOLUTION])
def test_small_normal_has_deviation_one_hundredth_whatever_the_fans(shape: tuple[int, ...]) -> None:
    weight = drawn("small_normal", shape)
    check_moments(weight, 0.01**2, KURTOSIS["normal"])
    check_share(weight, 0.01, erf(1 / sqrt(2)))


@pytest.mark.parametrize("shape", [DENSE, CONVOLUTION])
def test_zeros_are_zeros(shape: tuple[int, ...]) -> None:
    assert not drawn("zeros", shape).any()


@pytest.mark.parametrize(
    ("initializer", "activation", "kinds_of_units"),
    [("zeros", "sigmoid", 1), ("zeros", "tanh", 1), ("zeros", "relu", 1), ("auto", "sigmoid", 6), ("auto", "relu", 6)],
)
def test_units_that_start_alike_stay_alike(initializer: str, activation: str, kinds_of_units: int) -> None:
    """The lesson of symmetry: after training, units from zeros are still copies of one; drawn at random they differ."""
    config = NetworkConfig(width=[6], activation=activation, initializer=initializer, input_shape=[5], outputs=3)
    network = build_network(config, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    inputs, labels = torch.randn(40, 5, generator=generator), torch.randint(3, (40,), generator=generator)
    started = network.output.bias.detach().clone()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    for _ in range(20):
        optimizer.zero_grad()
        F.cross_entropy(network(inputs), labels).backward()
        optimizer.step()
    assert not torch.equal(network.output.bias, started)
    hidden = network.hidden_1.linear
    incoming = torch.cat([hidden.weight, hidden.bias[:, None]], 1)
    units = torch.cat([incoming, network.output.weight.T], 1).detach()  # a row: all weights into and out of a unit
    assert len(torch.unique(units.round(decimals=6), dim=0)) == kinds_of_units
    if activation == "sigmoid":
        assert units.abs().min() > 0  # they have learned, and all the same


@pytest.mark.parametrize("name", INITIALIZERS)
def test_weights_come_from_the_generator_alone(name: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = drawn(name, (4, 5))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(drawn(name, (4, 5)), first)
    assert torch.equal(drawn(name, (4, 5), seed=1), first) == (name == "zeros")


# The choice

BY_ACTIVATION = {
    "glorot_uniform": [None, "linear", "tanh", "sigmoid", "softmax", "hardmax"],
    "he_normal": ["relu", "leaky_relu", "prelu", "elu", "gelu", "silu", "swish", "softplus", "mish", "maxout"],
    "lecun_normal": ["selu"],
}


@pytest.mark.parametrize(
    ("initializer", "activation"), [(name, each) for name, several in BY_ACTIVATION.items() for each in several]
)
def test_auto_chooses_by_activation(activation: str | None, initializer: str) -> None:
    assert resolve_initializer("auto", activation) == initializer


def test_auto_is_tested_for_every_activation() -> None:
    missing = sorted(set(ACTIVATIONS) - {name for several in BY_ACTIVATION.values() for name in several})
    assert not missing, f"add {missing} to BY_ACTIVATION, under the initializer that suits it"


@pytest.mark.parametrize("activation", [None, "relu", "selu"])
def test_a_named_initializer_applies_in_front_of_any_activation(activation: str | None) -> None:
    assert resolve_initializer("he_uniform", activation) == "he_uniform"


def test_an_unknown_initializer_offers_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"^initializer: 'he_norml' is not one of auto, .*; did you mean 'he_normal'\?$"
    ):
        resolve_initializer("he_norml", "relu")
