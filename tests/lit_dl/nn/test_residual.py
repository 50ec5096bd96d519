"""Residual connections by hand, and what they do to networks of depth 50."""

from __future__ import annotations

import math
from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import arrays, built, convolved, inputs, output_of, scattered
from torch import Tensor

from lit_dl.nn.network import Network


def test_residual_layers_by_hand() -> None:
    """Three layers, each input plus 1 / sqrt(3) of what the layer gives; the third projects, without bias."""
    network = scattered(built(width=[4, 4, 6], activation="tanh", residual=True, input_shape=[4], outputs=2))
    x, own = inputs(5, 4), arrays(network)
    assert [name for name in own if "skip" in name] == ["hidden_3.skip.weight"]
    value = x
    for number in (1, 2, 3):
        layer = np.tanh(value @ own[f"hidden_{number}.linear.weight"].T + own[f"hidden_{number}.linear.bias"])
        around = value @ own["hidden_3.skip.weight"].T if number == 3 else value
        value = around + layer / sqrt(3)
    expected = value @ own["output.weight"].T + own["output.bias"]
    np.testing.assert_allclose(output_of(network, x), expected, rtol=1e-12)


def test_residual_convolutions_by_hand() -> None:
    """The projection of the channels is a convolution of one pixel."""
    network = scattered(
        built(kind="cnn", width=[3], residual=True, activation="tanh", input_shape=[2, 3, 3], outputs=2)
    )
    x, own = inputs(4, 2, 3, 3), arrays(network)
    layer = np.tanh(convolved(x, own["hidden_1.conv2d.weight"], own["hidden_1.conv2d.bias"]))
    around = np.einsum("oc,nchw->nohw", own["hidden_1.skip.weight"][:, :, 0, 0], x)
    np.testing.assert_allclose(output_of(network.hidden_1, x), around + layer, rtol=1e-12)


DEPTH, WIDTH = 50, 64


def deep(**values: Any) -> Network:
    return built(depth=DEPTH, width=WIDTH, input_shape=[WIDTH], **values)


def sizes_of(network: Network) -> tuple[list[float], list[float]]:
    """Root mean squares of what each hidden layer gives, and of the gradient of the loss at it, first to last."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(128, WIDTH, generator=generator)
    seen: list[Tensor] = []
    for layer in network.hidden_layers().values():
        layer.register_forward_hook(lambda _, __, output: (output.retain_grad(), seen.append(output))[0])
    F.cross_entropy(network(x), torch.randint(10, (128,), generator=generator), reduction="sum").backward()
    gradients = [output.grad for output in seen]
    return [rms(output) for output in seen], [rms(gradient) for gradient in gradients if gradient is not None]


def rms(values: Tensor) -> float:
    return float(values.detach().square().mean().sqrt())


def expected_sizes() -> list[float]:
    """Root mean squares of a wide residual ReLU stack on normal inputs, layer by layer, in the limit of many units.

    With q the mean square of the inputs of a layer, its sums are normal with variance 2 q (He), so its ReLU has the
    mean sqrt(q / pi) and the mean square q. It is added times 1 / sqrt(depth): means add up, variances too.
    """
    mean, variance, sizes = 0.0, 1.0, []
    for _ in range(DEPTH):
        square = mean**2 + variance
        mean, variance = mean + sqrt(square / math.pi / DEPTH), variance + (1 - 1 / math.pi) * square / DEPTH
        sizes.append(sqrt(mean**2 + variance))
    return sizes


def test_depth_50_keeps_activations_and_gradients_in_range_by_residual_connections() -> None:
    """The means of ReLU all have one sign: the size grows to 29 and not, as without the scale, beyond 2^25."""
    activations, gradients = sizes_of(deep(residual=True))
    assert len(gradients) == DEPTH
    np.testing.assert_allclose(activations, expected_sizes(), rtol=0.2)
    assert expected_sizes()[-1] < 30
    assert max(gradients) / min(gradients) < 20


@pytest.mark.parametrize("norm", ["before", "after"])
def test_normalization_holds_the_activations_of_depth_50(norm: str) -> None:
    activations, gradients = sizes_of(deep(residual=True, norm=norm))
    assert 0.5 < min(activations) < max(activations) < 5
    assert max(gradients) / min(gradients) < 5


def test_without_residual_connections_the_gradient_of_depth_50_vanishes() -> None:
    """With sigmoid, whose derivative is at most 1/4: what the connections are there against."""
    _, gradients = sizes_of(deep(activation="sigmoid"))
    assert gradients[0] / gradients[-1] < 1e-12
    _, around = sizes_of(deep(activation="sigmoid", residual=True))
    assert 0.1 < around[0] / around[-1] < 10


def test_he_keeps_the_gradient_of_a_deep_relu_network() -> None:
    """The second moment is kept on average; the product of 50 random factors wanders by about e, not by 4^50."""
    activations, gradients = sizes_of(deep())
    assert 0.05 < activations[-1] / activations[0] < 20
    assert 0.05 < gradients[0] / gradients[-1] < 20


def test_depth_50_trains() -> None:
    """64 samples with labels at random, which only a network that learns in its hidden layers can tell apart."""
    network = deep(residual=True)
    generator = torch.Generator().manual_seed(5)
    x, labels = torch.randn(64, WIDTH, generator=generator), torch.randint(10, (64,), generator=generator)
    before = network.hidden_1.linear.weight.detach().clone()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]
    assert not torch.equal(network.hidden_1.linear.weight, before)
