"""Names and weights of the layers of any module."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lit_dl.callbacks.layer_weights import layer_names, layer_weights


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        (["network.hidden_1.linear.weight", "network.output.weight"], ["hidden_1", "output"]),
        (
            ["network.hidden_1.linear.weight", "network.hidden_1.skip.weight", "network.output.weight"],
            ["hidden_1.linear", "hidden_1.skip", "output"],
        ),
        (["net.0.weight", "net.3.weight"], ["net.0", "net.3"]),
        (["net._orig_mod.a.weight", "net._orig_mod.b.weight"], ["a", "b"]),
        (["rnn.weight_ih_l0", "rnn.weight_hh_l0", "head.weight"], ["rnn.weight_ih_l0", "rnn.weight_hh_l0", "head"]),
        (["network.output.weight"], ["output"]),
        (["weight"], ["weight"]),
        ([], []),
    ],
)
def test_layers_have_the_shortest_names_that_differ(parameters: list[str], names: list[str]) -> None:
    assert layer_names(parameters) == names


def test_the_weights_of_layers_have_two_axes_or_more() -> None:
    layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.PReLU(2), nn.Flatten(), nn.LazyLinear(3))
    assert list(layer_weights(layers)) == ["0"]
    layers(torch.ones(2, 1, 4, 4))
    assert list(layer_weights(layers)) == ["0", "4"]
