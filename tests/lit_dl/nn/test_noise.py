"""Dropout and Gaussian noise in networks: their statistics, and that evaluation has none."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
import torch
from networks import arrays, built, inputs, output_of


def test_dropout_drops_its_share_in_training_and_nothing_in_evaluation() -> None:
    layer = built(width=[4], dropout=0.3).hidden_1.dropout
    ones = torch.ones(100_000)
    torch.manual_seed(0)
    dropped = layer(ones)
    share = float((dropped == 0).float().mean())
    assert abs(share - 0.3) < 5 * sqrt(0.3 * 0.7 / 100_000)
    torch.testing.assert_close(dropped[dropped != 0].unique(), torch.tensor([1 / 0.7]))
    assert torch.equal(layer.eval()(ones), ones)


@pytest.mark.parametrize("key", ["dropout", "input_dropout"])
def test_the_expectation_of_dropout_is_the_output_without_it(key: str) -> None:
    """Inverted: what stays is divided by 1 - p, so a linear network gives on average what it gives in evaluation.

    The mean of 20,000 draws, within five of its standard deviations: x dropped has the variance x^2 p / (1 - p).
    """
    network = built(width=[6], activation="linear", input_shape=[5], outputs=3, **{key: 0.4}).double()
    x, own = inputs(1, 5), arrays(network)
    torch.manual_seed(0)
    mean = output_of(network, np.repeat(x, 20_000, 0)).mean(0)
    hidden = x @ own["hidden_1.linear.weight"].T
    both = own["output.weight"] @ own["hidden_1.linear.weight"]
    terms = own["output.weight"] * hidden if key == "dropout" else both * x
    deviation = np.sqrt((terms**2).sum(1) * 0.4 / 0.6 / 20_000)
    expected = (hidden @ own["output.weight"].T)[0]
    np.testing.assert_allclose(output_of(network.eval(), x)[0], expected, rtol=1e-12)
    assert (np.abs(mean - expected) < 5 * deviation).all()
    assert (deviation > 1e-4).all()


def test_dropout_drops_other_units_for_every_sample_and_step() -> None:
    layer = built(width=[50], dropout=0.5, activation="linear", bias=False).hidden_1
    x = torch.rand(1, 784).repeat(8, 1)
    first, second = layer(x), layer(x)
    assert len(torch.unique(first == 0, dim=0)) == 8
    assert not torch.equal(first, second)


@pytest.mark.parametrize("key", ["noise", "input_noise", "dropout", "input_dropout"])
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_noise_and_dropout_are_for_training_alone(kind: str, key: str) -> None:
    values = {"kind": kind, "width": [4], "input_shape": [1, 8, 8]}
    plain, noisy = built(**values), built(**values, **{key: 0.4})
    x = torch.rand(5, 1, 8, 8)
    assert not torch.equal(noisy(x), plain(x))
    assert torch.equal(noisy.eval()(x), plain(x))


def test_noise_of_the_inputs_comes_first() -> None:
    names = [name for name, _ in built(width=[4], input_noise=0.1, input_dropout=0.2, noise=0.3).named_children()]
    assert names == ["input_noise", "input_dropout", "flatten", "hidden_1", "output"]


@pytest.mark.parametrize("key", ["noise", "input_noise"])
def test_noise_has_its_deviation(key: str) -> None:
    """Seen through a linear network, whose output varies by the deviation times the norm of the weights behind it."""
    network = built(width=[6], activation="linear", input_shape=[5], outputs=3, **{key: 0.2}).double()
    x, own = inputs(1, 5), arrays(network)
    torch.manual_seed(0)
    outputs = output_of(network, np.repeat(x, 20_000, 0))
    behind = own["output.weight"] @ own["hidden_1.linear.weight"] if key == "input_noise" else own["output.weight"]
    variance = 0.2**2 * (behind**2).sum(1)
    plain = output_of(network.eval(), x)[0]
    assert (np.abs(outputs.mean(0) - plain) < 5 * np.sqrt(variance / 20_000)).all()
    assert (np.abs(outputs.var(0) / variance - 1) < 5 * sqrt(2 / 20_000)).all()
