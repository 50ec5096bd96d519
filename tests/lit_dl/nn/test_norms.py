"""Batch and layer normalization against their formulas in float64 numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from networks import arrays, built, convolved, inputs, output_of, scattered, sigmoid
from torch import nn

from lit_dl.cli.lit_cli import build_run
from lit_dl.errors import ConfigError

# Batch normalization


def batches(channels: tuple[int, ...], size: float) -> Iterator[np.ndarray]:
    """Batches with a mean and a deviation of their own each."""
    for number in range(4):
        yield inputs(8, *channels, seed=number, scale=size * (1 + number)) + size * number


def normalized(x: np.ndarray, mean: np.ndarray, variance: np.ndarray, eps: float, own: dict[str, np.ndarray]) -> Any:
    shape = (1, -1, *[1] * (x.ndim - 2))
    mean, variance, scale, shift = (a.reshape(shape) for a in (mean, variance, own["norm.weight"], own["norm.bias"]))
    return (x - mean) / np.sqrt(variance + eps) * scale + shift


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
@pytest.mark.parametrize(
    ("keras", "given", "momentum", "eps"),
    [
        (False, {}, 0.1, 1e-5),
        (True, {}, 0.01, 1e-3),  # 0.99 of the old, as Keras says it
        (True, {"norm_momentum": 0.3, "norm_eps": 0.5}, 0.3, 0.5),
        (False, {"norm_momentum": 1.0}, 1.0, 1e-5),
    ],
    ids=["torch", "keras", "given", "the last batch alone"],
)
def test_batch_norm_in_training_and_in_evaluation(
    kind: str, keras: bool, given: dict[str, float], momentum: float, eps: float
) -> None:
    """Training: the batch's own mean and biased variance, over samples and pixels; running averages of the mean and,
    with n - 1, the variance; evaluation: the running averages. The inputs are small, so that eps counts.
    """
    shape = (2, 5, 4) if kind == "cnn" else (6,)
    network = scattered(
        built(kind=kind, width=[3], norm="before", activation="linear", input_shape=list(shape), keras=keras, **given)
    )
    layer = network.hidden_1
    own = arrays(layer)
    running_mean, running_variance = np.zeros(3), np.ones(3)
    for x in batches(shape, 0.02):
        sums = convolved(x, own["conv2d.weight"], np.zeros(3)) if kind == "cnn" else x @ own["linear.weight"].T
        axes = (0, *range(2, sums.ndim))
        n = sums.size // 3
        mean, variance = sums.mean(axes), sums.var(axes)
        expected = normalized(sums, mean, variance, eps, own)
        np.testing.assert_allclose(output_of(layer, x), expected, rtol=1e-9, atol=1e-12)
        running_mean = (1 - momentum) * running_mean + momentum * mean
        running_variance = (1 - momentum) * running_variance + momentum * variance * n / (n - 1)
    now = arrays(layer)
    np.testing.assert_allclose(now["norm.running_mean"], running_mean, rtol=1e-10)
    np.testing.assert_allclose(now["norm.running_var"], running_variance, rtol=1e-10)
    expected = normalized(sums, running_mean, running_variance, eps, own)
    np.testing.assert_allclose(output_of(layer.eval(), x), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(arrays(layer)["norm.running_mean"], now["norm.running_mean"])


@pytest.mark.parametrize("batch_size", [1, 229])
def test_a_batch_of_one_sample_is_refused_before_training(config: Callable[..., Any], batch_size: int) -> None:
    """It has no variance to normalize by; 229 of 230 samples leave one for the last batch."""
    with pytest.raises(ConfigError, match=r"^data\.batch_size: "):
        build_run(config(model__network__norm="before", data__batch_size=batch_size)).check()
    build_run(config(model__network__norm="before", data__batch_size=229, data__drop_last=True)).check()


def test_norm_after_normalizes_what_the_activation_gives() -> None:
    network = scattered(built(width=[3], norm="after", activation="sigmoid", input_shape=[6]))
    layer, x = network.hidden_1, inputs(8, 6)
    own = arrays(layer)
    active = sigmoid(x @ own["linear.weight"].T + own["linear.bias"])
    expected = normalized(active, active.mean(0), active.var(0), 1e-5, own)
    np.testing.assert_allclose(output_of(layer, x), expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_a_bias_before_batch_norm_changes_nothing(kind: str) -> None:
    """The mean takes it out again, so its gradient is zero: why `bias: auto` has none there."""
    network = built(kind=kind, width=[3], norm="before", bias=True, input_shape=[2, 4, 4]).double()
    x = torch.from_numpy(inputs(8, 2, 4, 4))
    bias = next(
        value for name, value in network.hidden_1.named_parameters() if name.endswith(("linear.bias", "2d.bias"))
    )
    without = network(x)
    nn.init.uniform_(bias, -5, 5)
    torch.testing.assert_close(network(x), without, rtol=1e-9, atol=1e-12)
    network(x).square().sum().backward()
    assert bias.grad is not None
    assert bias.grad.abs().max() < 1e-9
    assert network.output.bias.grad.abs().max() > 1e-3


@pytest.mark.parametrize(
    ("values", "has_bias"),
    [
        ({}, True),
        ({"norm": "before"}, False),
        ({"norm": "after"}, True),
        ({"norm": "before", "norm_type": "layer"}, True),
        ({"norm": "before", "bias": True}, True),
        ({"bias": False}, False),
    ],
)
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_which_hidden_layers_have_a_bias(kind: str, values: dict[str, Any], has_bias: bool) -> None:
    network = built(kind=kind, width=[4, 3], **values)
    maps = [module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    assert [layer.bias is not None for layer in maps] == [has_bias, has_bias, True]


# Layer normalization


@pytest.mark.parametrize("training", [True, False])
def test_layer_norm_of_an_mlp_is_over_the_units_of_a_sample(training: bool) -> None:
    network = scattered(
        built(width=[5], norm="before", norm_type="layer", norm_eps=0.01, activation="linear", input_shape=[6])
    ).train(training)
    layer, x = network.hidden_1, inputs(4, 6)
    own = arrays(layer)
    sums = x @ own["linear.weight"].T + own["linear.bias"]
    mean, variance = sums.mean(1, keepdims=True), sums.var(1, keepdims=True)
    expected = (sums - mean) / np.sqrt(variance + 0.01) * own["norm.weight"] + own["norm.bias"]
    np.testing.assert_allclose(output_of(layer, x), expected, rtol=1e-9)


@pytest.mark.parametrize(("keras", "eps"), [(False, 1e-5), (True, 1e-3)])
def test_layer_norm_of_a_cnn_is_over_channels_and_pixels_of_a_sample(keras: bool, eps: float) -> None:
    network = built(kind="cnn", width=[3], norm="before", norm_type="layer", activation="linear",
                    input_shape=[2, 5, 4], keras=keras)  # fmt: skip
    layer, x = scattered(network).hidden_1, inputs(4, 2, 5, 4, scale=0.02)
    own = arrays(layer)
    sums = convolved(x, own["conv2d.weight"], 0.02 * own["conv2d.bias"])
    layer.conv2d.bias.data *= 0.02
    mean, variance = sums.mean((1, 2, 3), keepdims=True), sums.var((1, 2, 3), keepdims=True)
    scale, shift = (own[name].reshape(1, 3, 1, 1) for name in ("norm.weight", "norm.bias"))
    expected = (sums - mean) / np.sqrt(variance + eps) * scale + shift
    np.testing.assert_allclose(output_of(layer, x), expected, rtol=1e-9)
