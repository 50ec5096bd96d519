from __future__ import annotations

from math import erf, sqrt

import torch
from torch import nn

from lit_dl.nn.layers import ResidualLayer
from lit_dl.nn.random_layers import GaussianNoise


def test_noise_has_its_deviation_and_no_mean_and_is_normal() -> None:
    """Within five standard deviations of each statistic, from a fixed seed."""
    n, deviation = 200_000, 0.3
    inputs = torch.full((n // 10, 10), 2.0)
    torch.manual_seed(0)
    noise = (GaussianNoise(deviation)(inputs) - inputs).double() / deviation
    assert abs(noise.mean()) < 5 / sqrt(n)
    assert abs(noise.square().mean() - 1) < 5 * sqrt(2 / n)
    share = erf(1 / sqrt(2))
    assert abs((noise.abs() < 1).double().mean() - share) < 5 * sqrt(share * (1 - share) / n)


def test_noise_is_drawn_anew_in_training_and_there_is_none_in_evaluation() -> None:
    layer, inputs = GaussianNoise(0.5), torch.rand(4, 3)
    assert not torch.equal(layer(inputs), layer(inputs))
    assert torch.equal(layer.eval()(inputs), inputs)


def test_noise_passes_the_gradient_as_it_is() -> None:
    inputs = torch.rand(4, 3, requires_grad=True)
    GaussianNoise(0.5)(inputs).backward(torch.full((4, 3), 0.7))
    assert inputs.grad is not None
    assert torch.equal(inputs.grad, torch.full((4, 3), 0.7))


def test_residual_adds_the_input_to_its_scaled_parts() -> None:
    linear = nn.Linear(3, 3)
    layer, inputs = ResidualLayer({"linear": linear, "activation": nn.Tanh()}, None, 0.5), torch.rand(4, 3)
    by_hand = inputs + 0.5 * torch.tanh(inputs @ linear.weight.T + linear.bias)
    torch.testing.assert_close(layer(inputs), by_hand)


def test_residual_projects_the_input_where_widths_differ() -> None:
    linear, skip = nn.Linear(3, 2), nn.Linear(3, 2, bias=False)
    layer, inputs = ResidualLayer({"linear": linear, "activation": nn.ReLU()}, skip, 2.0), torch.rand(4, 3)
    by_hand = inputs @ skip.weight.T + 2.0 * (inputs @ linear.weight.T + linear.bias).clamp(min=0)
    torch.testing.assert_close(layer(inputs), by_hand)


def test_the_gradient_goes_around_a_layer_that_passes_none() -> None:
    inputs = torch.rand(4, 3, requires_grad=True)
    linear = nn.Linear(3, 3)
    nn.init.zeros_(linear.weight)
    ResidualLayer({"linear": linear}, None, 1.0)(inputs).sum().backward()
    assert inputs.grad is not None
    assert torch.equal(inputs.grad, torch.ones(4, 3))
