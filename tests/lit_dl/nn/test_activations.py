"""Activations and output activations against closed formulas and hand-derived derivatives, in float64 numpy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lit_dl.errors import ConfigError
from lit_dl.nn.activations import ACTIVATIONS, OUTPUT_ACTIVATIONS, activation_options, build_activation

Map = Callable[[np.ndarray], np.ndarray]
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017, equation 14


class Reference(NamedTuple):
    """What an activation makes of inputs (batch, n), and the gradient it passes back.

    Args:
        value: Inputs -> outputs.
        gradient: (inputs, gradient of the outputs) -> gradient of the inputs.
        atol: How far torch's own approximation may be off.
    """

    value: Map
    gradient: Callable[[np.ndarray, np.ndarray], np.ndarray]
    atol: float = 1e-14


def each(value: Map, derivative: Map, atol: float = 1e-14) -> Reference:
    """The reference of a function of each input alone."""
    return Reference(value, lambda x, upstream: upstream * derivative(x), atol)


def sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def gaussian_share(x: np.ndarray) -> np.ndarray:
    return np.vectorize(lambda value: math.erfc(-value / math.sqrt(2)) / 2)(x)


def gaussian_density(x: np.ndarray) -> np.ndarray:
    return np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def mish_derivative(x: np.ndarray) -> np.ndarray:
    t = np.tanh(softplus(x))
    return t + x * (1 - t**2) * sigmoid(x)


def below_zero_exp(x: np.ndarray) -> np.ndarray:
    return np.exp(np.minimum(x, 0))


def leaky(slope: float) -> Reference:
    return each(lambda x: np.where(x > 0, x, slope * x), lambda x: np.where(x > 0, 1, slope))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def softmax_gradient(x: np.ndarray, upstream: np.ndarray) -> np.ndarray:
    """By the Jacobian, row by row: d s_i / d x_j = s_i (1[i = j] - s_j)."""
    return np.stack([(np.diag(s) - np.outer(s, s)).T @ g for s, g in zip(softmax(x), upstream, strict=True)])


def log_softmax(x: np.ndarray) -> np.ndarray:
    largest = x.max(1, keepdims=True)
    return x - largest - np.log(np.exp(x - largest).sum(1, keepdims=True))


def hardmax(x: np.ndarray) -> np.ndarray:
    return np.stack([[float(unit == row.argmax()) for unit in range(len(row))] for row in x])


def maxout(x: np.ndarray) -> np.ndarray:
    """Of two pieces: units 0 and 1 of the layer before give unit 0, 2 and 3 give unit 1, ..."""
    return np.maximum(x[:, ::2], x[:, 1::2])


def maxout_gradient(x: np.ndarray, upstream: np.ndarray) -> np.ndarray:
    gradient = np.zeros_like(x)
    first = x[:, ::2] > x[:, 1::2]
    gradient[:, ::2], gradient[:, 1::2] = upstream * first, upstream * ~first
    return gradient


IDENTITY = each(lambda x: x, np.ones_like)
SIGMOID = each(sigmoid, lambda x: sigmoid(x) * sigmoid(-x))
SOFTMAX = Reference(softmax, softmax_gradient)

REFERENCES: dict[str, Reference] = {
    "linear": IDENTITY,
    "sigmoid": SIGMOID,
    "tanh": each(lambda x: 2 * sigmoid(2 * x) - 1, lambda x: 4 * sigmoid(2 * x) * sigmoid(-2 * x)),
    "relu": each(lambda x: np.where(x > 0, x, 0), lambda x: np.where(x > 0, 1, 0)),
    "leaky_relu": leaky(0.1),  # the slope of the documents this project grew from
    "prelu": leaky(0.25),  # He et al. 2015, section 2.1
    "elu": each(lambda x: np.where(x > 0, x, below_zero_exp(x) - 1), below_zero_exp),
    "selu": each(
        lambda x: _SELU_SCALE * np.where(x > 0, x, _SELU_ALPHA * (below_zero_exp(x) - 1)),
        lambda x: _SELU_SCALE * np.where(x > 0, 1, _SELU_ALPHA * below_zero_exp(x)),
    ),
    "gelu": each(lambda x: x * gaussian_share(x), lambda x: gaussian_share(x) + x * gaussian_density(x)),
    "silu": each(lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * sigmoid(-x))),
    "swish": each(lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * sigmoid(-x))),
    # torch takes it for the identity above 20, where exp(-20) = 2.1e-9 is left out.
    "softplus": each(softplus, sigmoid, atol=2.1e-9),
    "mish": each(lambda x: x * np.tanh(softplus(x)), mish_derivative),
    "softmax": SOFTMAX,
    "hardmax": Reference(hardmax, lambda x, upstream: upstream),
    "maxout": Reference(maxout, maxout_gradient),
}
OUTPUT_REFERENCES: dict[str, Reference] = {
    "linear": IDENTITY,
    "sigmoid": SIGMOID,
    "softmax": SOFTMAX,
    "log_softmax": Reference(log_softmax, lambda x, g: g - softmax(x) * g.sum(1, keepdims=True)),
}


def points() -> np.ndarray:
    """Inputs (62, 6): densely in [-8, 8] and out to 1,000; 0, where some have a kink, is not among them."""
    far = [side * size for size in (12.0, 19.5, 20.5, 40.0, 100.0, 1000.0) for side in (1, -1)]
    x = np.concatenate([np.linspace(-8, 8, 360), far])
    assert 0 not in x
    return np.random.default_rng(0).permutation(x).reshape(-1, 6)


def compare(module: nn.Module, reference: Reference) -> None:
    x = points()
    inputs = torch.from_numpy(x).requires_grad_()
    outputs = module.double()(inputs)
    upstream = np.random.default_rng(1).normal(size=outputs.shape)
    outputs.backward(torch.from_numpy(upstream))
    assert inputs.grad is not None
    np.testing.assert_allclose(outputs.detach().numpy(), reference.value(x), rtol=1e-12, atol=reference.atol)
    expected = reference.gradient(x, upstream)
    np.testing.assert_allclose(inputs.grad.numpy(), expected, rtol=1e-12, atol=10 * reference.atol)


def units_of(name: str) -> int:
    return 3 if name == "maxout" else 6


# The tables


def test_every_row_has_a_reference_here() -> None:
    missing = sorted(set(ACTIVATIONS) - set(REFERENCES))
    assert not missing, f"add the closed formula and the derivative of {missing} to REFERENCES"
    missing = sorted(set(OUTPUT_ACTIVATIONS) - set(OUTPUT_REFERENCES))
    assert not missing, f"add the closed formula and the derivative of {missing} to OUTPUT_REFERENCES"


@pytest.mark.parametrize("name", REFERENCES)
def test_values_and_derivatives_follow_the_formulas(name: str) -> None:
    compare(build_activation(name, units_of(name)), REFERENCES[name])


@pytest.mark.parametrize("name", OUTPUT_REFERENCES)
def test_values_and_derivatives_of_output_activations_follow_the_formulas(name: str) -> None:
    compare(OUTPUT_ACTIVATIONS[name](), OUTPUT_REFERENCES[name])


@pytest.mark.parametrize("name", REFERENCES)
def test_nothing_overflows_in_single_precision(name: str) -> None:
    inputs = torch.tensor([[-1e4, 1e4, -300.0, 300.0, -30.0, 30.0]], requires_grad=True)
    outputs = build_activation(name, units_of(name))(inputs)
    outputs.sum().backward()
    assert outputs.isfinite().all()
    assert inputs.grad is not None
    assert inputs.grad.isfinite().all()


@pytest.mark.parametrize("name", REFERENCES)
def test_the_channels_of_an_image_are_its_units(name: str) -> None:
    """Each pixel of (batch, channels, height, width) is treated as a row of (batch, units)."""
    images = torch.from_numpy(np.random.default_rng(2).normal(size=(3, 6, 4, 5)))
    module = build_activation(name, units_of(name)).double()
    rows = module(images.permute(0, 2, 3, 1).reshape(-1, 6))
    torch.testing.assert_close(module(images), rows.reshape(3, 4, 5, -1).permute(0, 3, 1, 2))


def test_every_row_names_its_source() -> None:
    assert all(row.source for row in ACTIVATIONS.values())


def test_each_call_makes_a_module_of_its_own() -> None:
    assert build_activation("prelu", 2) is not build_activation("prelu", 2)


# Parameters


def test_the_slope_of_leaky_relu_is_a_parameter() -> None:
    compare(build_activation("leaky_relu", 6, {"negative_slope": 0.3}), leaky(0.3))
    compare(build_activation("leaky_relu", 6, {"negative_slope": 0.0}), leaky(0.0))


def test_the_slope_of_prelu_starts_at_its_parameter_and_learns_for_each_unit() -> None:
    """d y / d slope = min(0, x): the gradient of a unit's slope is that times the upstream, summed over the batch."""
    x = points()
    module = build_activation("prelu", 6, {"negative_slope": 0.375}).double()
    compare(module, leaky(0.375))
    (slopes,) = module.parameters()
    assert slopes.tolist() == [0.375] * 6
    module.zero_grad()
    upstream = np.random.default_rng(1).normal(size=x.shape)
    module(torch.from_numpy(x)).backward(torch.from_numpy(upstream))
    assert slopes.grad is not None
    np.testing.assert_allclose(slopes.grad.numpy(), (np.minimum(x, 0) * upstream).sum(0), rtol=1e-12)


def test_a_maxout_unit_takes_the_largest_of_its_neighbouring_pieces() -> None:
    x = points()
    ours = build_activation("maxout", 2, {"pieces": 3}).double()(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(ours, np.stack([x[:, :3].max(1), x[:, 3:].max(1)], 1))


def test_hardmax_of_equal_units_is_still_one_hot() -> None:
    outputs: Tensor = build_activation("hardmax", 3)(torch.tensor([[2.0, 2.0, 1.0], [0.0, 0.0, 0.0]]))
    assert outputs.sum(1).tolist() == [1.0, 1.0]
    assert outputs.max(1).values.tolist() == [1.0, 1.0]
    assert outputs[0, 2] == 0


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("relu", {}, {}),
        ("relu", {"negative_slope": None, "pieces": None}, {}),
        ("leaky_relu", {}, {"negative_slope": 0.1}),
        ("prelu", {"negative_slope": 0.0}, {"negative_slope": 0.0}),
        ("maxout", {"pieces": 5}, {"pieces": 5}),
    ],
)
def test_parameters_are_given_or_by_default(
    name: str, given: dict[str, float | None], expected: dict[str, float]
) -> None:
    assert activation_options(name, given) == expected


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("leaky_relu", {"negative_slope": 1.0}, "negative_slope: must be in [0, 1); got 1.0"),
        ("prelu", {"negative_slope": -0.1}, "negative_slope: must be in [0, 1); got -0.1"),
        ("prelu", {"negative_slope": math.nan}, "negative_slope: must be in [0, 1); got nan"),
        ("maxout", {"pieces": 1}, "pieces: must be 2 or more; got 1"),
        (
            "relu",
            {"negative_slope": 0.2},
            "negative_slope: 0.2 does not apply to activation='relu', but to leaky_relu, prelu; set it to null",
        ),
        ("elu", {"pieces": 2}, "pieces: 2 does not apply to activation='elu', but to maxout; set it to null"),
    ],
)
def test_parameters_that_cannot_be_used(name: str, given: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_activation(name, 4, given)
    assert str(caught.value) == message


def test_an_unknown_activation_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"^activation: 'rleu' is not one of .*; did you mean 'relu'\?$"):
        build_activation("rleu", 4)
