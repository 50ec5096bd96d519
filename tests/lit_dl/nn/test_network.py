"""Networks: number of parameters, order of layers, forward and backward against numpy, initial weights."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import arrays, built, convolved, count, inputs, layers, output_of, scattered, sigmoid, weights
from torch import nn

from lit_dl.nn.network_config import NetworkConfig
from lit_dl.nn.networks import NETWORKS

HIDDEN_300, HIDDEN_200_100, HIDDEN_300_100 = 235_500, 20_100, 30_100  # published: 784 to 300, 200 to 100, 300 to 100


# Size


@pytest.mark.parametrize(
    ("values", "parameters"),
    [
        ({"width": [300, 200, 100]}, HIDDEN_300 + 60_200 + HIDDEN_200_100 + 1_010),
        ({"width": [300, 100]}, HIDDEN_300 + HIDDEN_300_100 + 1_010),
        ({"width": [300, 100, 50]}, 271_160),  # published, with the layer that a transfer adds
        ({"width": [300, 100, 50], "outputs": 2}, HIDDEN_300 + HIDDEN_300_100 + 5_050 + 102),
        ({"width": [300, 100], "bias": False}, 235_200 + 30_000 + 1_010),
        ({"width": [300, 100], "norm": "before"}, 235_200 + 30_000 + 1_010 + 2 * (300 + 100)),
        ({"width": [300, 100], "norm": "before", "bias": True}, 235_500 + 30_100 + 1_010 + 2 * (300 + 100)),
        ({"width": [300, 100], "norm": "after"}, 235_500 + 30_100 + 1_010 + 2 * (300 + 100)),
        ({"width": [300, 100], "norm": "before", "norm_type": "layer"}, 235_500 + 30_100 + 1_010 + 2 * (300 + 100)),
        ({"width": [300, 100], "activation": "prelu"}, 235_500 + 30_100 + 1_010 + 300 + 100),
        ({"width": [300, 100], "activation": "maxout"}, 2 * 235_500 + 2 * 30_100 + 1_010),
        (
            {"width": [300, 100], "activation": "maxout", "pieces": 3, "norm": "before"},
            3 * 235_200 + 3 * 30_000 + 1_010 + 2 * 3 * (300 + 100),
        ),
        ({"width": [300, 100], "residual": True}, 235_500 + 30_100 + 1_010 + 784 * 300 + 300 * 100),
        ({"depth": 3, "width": 50, "residual": True}, 785 * 50 + 2 * 51 * 50 + 51 * 10 + 784 * 50),
        ({"width": [300, 100], "dropout": 0.5, "noise": 0.1, "input_dropout": 0.2}, 235_500 + 30_100 + 1_010),
        ({"depth": 1, "width": 50, "outputs": 3}, 785 * 50 + 51 * 3),
        ({"depth": 0}, 785 * 10),
        ({"width": 128}, 785 * 128 + 129 * 128 + 129 * 10),
        ({"depth": 2, "width": 2, "input_shape": [2], "outputs": 1}, 3 * 2 + 3 * 2 + 3),
        ({"depth": 3, "width": 20, "input_shape": [3, 4, 5]}, 61 * 20 + 2 * 21 * 20 + 21 * 10),
        ({"kind": "cnn", "width": [8, 16]}, 10 * 8 + 73 * 16 + (16 * 7 * 7 + 1) * 10),
        ({"kind": "cnn", "width": [8], "input_shape": [3, 32, 32]}, 28 * 8 + (8 * 16 * 16 + 1) * 10),
        ({"kind": "cnn", "width": [8], "bias": False, "norm": "after"}, 9 * 8 + 2 * 8 + (8 * 14 * 14 + 1) * 10),
        ({"kind": "cnn", "width": [8], "norm": "before"}, 9 * 8 + 2 * 8 + (8 * 14 * 14 + 1) * 10),
        ({"kind": "cnn", "width": [8], "norm": "after", "norm_type": "layer"}, 10 * 8 + 2 * 8 + (8 * 14**2 + 1) * 10),
        ({"kind": "cnn", "width": [8], "activation": "maxout"}, 2 * 10 * 8 + (8 * 14 * 14 + 1) * 10),
        ({"kind": "cnn", "width": [8, 16], "residual": True}, 10 * 8 + 73 * 16 + (16 * 49 + 1) * 10 + 8 + 8 * 16),
    ],
)
def test_number_of_parameters(values: dict[str, Any], parameters: int) -> None:
    assert count(built(**values)) == parameters


def test_the_published_total() -> None:
    assert count(built(width=[300, 200, 100])) == 316_810


@pytest.mark.parametrize(
    ("depth", "width", "widths"),
    [
        (None, 128, [128, 128]),
        (3, 64, [64] * 3),
        (None, [300, 100], [300, 100]),
        (2, [300, 100], [300, 100]),
        (0, 128, []),
    ],
)
def test_depth_and_width(depth: int | None, width: int | list[int], widths: list[int]) -> None:
    assert NetworkConfig(depth=depth, width=width).widths() == widths


# Order


@pytest.mark.parametrize(
    ("values", "hidden"),
    [
        ({}, ["Linear", "ReLU"]),
        ({"norm": "before"}, ["Linear", "BatchNorm1d", "ReLU"]),
        ({"norm": "after"}, ["Linear", "ReLU", "BatchNorm1d"]),
        ({"norm": "before", "norm_type": "layer"}, ["Linear", "LayerNorm", "ReLU"]),
        ({"norm": "before", "dropout": 0.2}, ["Linear", "BatchNorm1d", "ReLU", "Dropout"]),
        ({"norm": "after", "dropout": 0.2, "activation": "selu"}, ["Linear", "SELU", "BatchNorm1d", "Dropout"]),
        ({"dropout": 0.2, "noise": 0.1, "activation": "tanh"}, ["Linear", "Tanh", "GaussianNoise", "Dropout"]),
    ],
)
def test_order_of_modules(values: dict[str, Any], hidden: list[str]) -> None:
    assert layers(built(width=[4, 3], **values)) == ["Flatten", *hidden, *hidden, "Linear"]


def test_order_of_modules_in_a_cnn() -> None:
    block = ["Conv2d", "BatchNorm2d", "ReLU", "Dropout", "MaxPool2d"]
    assert layers(built(kind="cnn", width=[4, 3], norm="before", dropout=0.1)) == [*block, *block, "Flatten", "Linear"]


@pytest.mark.parametrize(
    ("name", "last"), [(None, "Linear"), ("linear", "Linear"), ("sigmoid", "Sigmoid"), ("log_softmax", "LogSoftmax")]
)
def test_what_follows_the_output_layer(name: str | None, last: str) -> None:
    assert layers(built(width=[4], output_activation=name))[-1] == last


@pytest.mark.parametrize(("shape", "sides"), [([1, 28, 28], [28, 14, 7, 3, 3, 3]), ([3, 32, 32], [32, 16, 8, 4, 2, 2])])
def test_a_cnn_pools_while_the_image_has_four_pixels(shape: list[int], sides: list[int]) -> None:
    network = built(kind="cnn", width=[4] * 6, input_shape=shape)
    seen: list[int] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[-1]))
    assert network(torch.rand(2, *shape)).shape == (2, 10)
    assert seen == sides


@pytest.mark.parametrize("values", [{"width": [5]}, {"depth": 0}, {"kind": "cnn", "width": [5, 6], "residual": True}])
def test_outputs_of_every_sample(values: dict[str, Any]) -> None:
    outputs = built(outputs=7, input_shape=[2, 9, 6], **values)(torch.rand(3, 2, 9, 6))
    assert (outputs.shape, outputs.dtype) == ((3, 7), torch.float32)


# Forward and backward by hand


def test_a_linear_model_is_one_matrix_product() -> None:
    network = scattered(built(depth=0, input_shape=[1, 2, 3], outputs=4))
    x, own = inputs(5, 1, 2, 3), arrays(network)
    expected = x.reshape(5, 6) @ own["output.weight"].T + own["output.bias"]
    np.testing.assert_allclose(output_of(network, x), expected, rtol=1e-12)


def test_an_mlp_is_its_matrix_products() -> None:
    network = scattered(built(width=[5, 4], activation="tanh", input_shape=[1, 2, 3]))
    x, own = inputs(3, 1, 2, 3), arrays(network)
    value = x.reshape(3, 6)
    for name in ("hidden_1.linear", "hidden_2.linear"):
        value = np.tanh(value @ own[f"{name}.weight"].T + own[f"{name}.bias"])
    expected = value @ own["output.weight"].T + own["output.bias"]
    np.testing.assert_allclose(output_of(network, x), expected, rtol=1e-12)


def test_a_cnn_is_its_correlations_and_maxima() -> None:
    network = scattered(built(kind="cnn", width=[3, 2], input_shape=[2, 5, 6], outputs=4))
    x, own = inputs(2, 2, 5, 6), arrays(network)
    first = np.maximum(convolved(x, own["hidden_1.conv2d.weight"], own["hidden_1.conv2d.bias"]), 0)
    pooled = first[:, :, :4, :6].reshape(2, 3, 2, 2, 3, 2).max((3, 5))  # the fifth row fills no square
    second = np.maximum(convolved(pooled, own["hidden_2.conv2d.weight"], own["hidden_2.conv2d.bias"]), 0)
    expected = second.reshape(2, -1) @ own["output.weight"].T + own["output.bias"]
    np.testing.assert_allclose(output_of(network, x), expected, rtol=1e-12)


def test_gradients_are_those_of_backpropagation_by_hand() -> None:
    """Cross entropy of a network with two layers: d loss / d logits = (softmax - one-hot) / n, then the chain rule."""
    network = scattered(built(width=[5], activation="sigmoid", input_shape=[4], outputs=3))
    x, own = inputs(7, 4), arrays(network)
    labels = np.random.default_rng(1).integers(0, 3, 7)

    hidden = sigmoid(x @ own["hidden_1.linear.weight"].T + own["hidden_1.linear.bias"])
    logits = hidden @ own["output.weight"].T + own["output.bias"]
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    at_logits = (shares - np.eye(3)[labels]) / 7
    at_hidden = at_logits @ own["output.weight"] * hidden * (1 - hidden)
    by_hand = {
        "output.weight": at_logits.T @ hidden,
        "output.bias": at_logits.sum(0),
        "hidden_1.linear.weight": at_hidden.T @ x,
        "hidden_1.linear.bias": at_hidden.sum(0),
    }

    loss = F.cross_entropy(network(torch.from_numpy(x)), torch.from_numpy(labels))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(-np.log(shares[np.arange(7), labels]).mean(), rel=1e-12)
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert set(gradients) == set(by_hand)
    for name, gradient in gradients.items():
        assert gradient is not None
        np.testing.assert_allclose(gradient.numpy(), by_hand[name], rtol=1e-10, atol=1e-15)


# Initial weights


@pytest.mark.parametrize(
    "values", [{"width": [20, 10], "norm": "after"}, {"kind": "cnn", "width": [4, 8]}, {"width": [9], "residual": True}]
)
def test_weights_come_from_the_generator_alone(values: dict[str, Any]) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = weights(built(0, **values))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(weights(built(0, **values)), first)
    assert not torch.equal(weights(built(1, **values)), first)


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_biases_start_at_zero(kind: str) -> None:
    network = built(kind=kind, width=[6, 5])
    biases = [value for name, value in network.named_parameters() if name.endswith("bias")]
    assert len(biases) == 3
    assert not any(bias.any() for bias in biases)


@pytest.mark.parametrize(
    ("values", "hidden", "output"),
    [
        ({"activation": "relu"}, 2 / 784, 2 / (200 + 100)),
        ({"activation": "tanh"}, 2 / (784 + 200), 2 / (200 + 100)),
        ({"activation": "selu"}, 1 / 784, 2 / (200 + 100)),
        ({"activation": "relu", "initializer": "lecun_normal"}, 1 / 784, 1 / 200),
        ({"activation": "tanh", "initializer": "he_uniform"}, 2 / 784, 2 / 200),
    ],
)
def test_variance_of_hidden_and_output_weights(values: dict[str, Any], hidden: float, output: float) -> None:
    network = built(width=[200], outputs=100, **values)
    for weight, variance in ((network.hidden_1.linear.weight, hidden), (network.output.weight, output)):
        assert abs(float(weight.detach().double().square().mean()) / variance - 1) < 5 * sqrt(2 / weight.numel())


# What training and diagnostics ask of a network

KINDS = [
    {"width": [4, 3], "activation": "prelu", "norm": "before"},
    {"kind": "cnn", "width": [4, 3], "activation": "maxout", "norm": "after", "norm_type": "layer"},
    {"width": [4, 3], "residual": True, "output_activation": "sigmoid"},
    {"depth": 0},
]


@pytest.mark.parametrize("values", KINDS)
def test_hidden_layers_and_their_activations_by_name(values: dict[str, Any]) -> None:
    network = built(**values)
    names = [] if "depth" in values else ["hidden_1", "hidden_2"]
    assert network.hidden_layers() == {name: network.get_submodule(name) for name in names}
    assert network.activations() == {name: network.get_submodule(f"{name}.activation") for name in names}


@pytest.mark.parametrize("values", KINDS)
def test_weight_matrices_are_the_parameters_with_more_than_one_axis(values: dict[str, Any]) -> None:
    network = built(**values)
    expected = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    assert [id(weight) for weight in network.weight_matrices()] == [id(parameter) for parameter in expected]


@pytest.mark.parametrize("values", KINDS)
def test_parameter_groups_have_every_parameter_once_in_order(values: dict[str, Any]) -> None:
    network = built(**values)
    grouped = [id(parameter) for group in network.parameter_groups() for parameter in group["params"]]
    assert grouped == [id(parameter) for parameter in network.parameters()]


def test_the_names_of_parameters_are_those_in_checkpoints() -> None:
    """Checkpoints of earlier versions must load."""
    network = built(width=[4, 3], norm="after", activation="prelu", residual=True)
    hidden = ["linear.weight", "linear.bias", "activation.weight", "norm.weight", "norm.bias", "skip.weight"]
    names = [f"hidden_{number}.{name}" for number in (1, 2) for name in hidden]
    assert [name for name, _ in network.named_parameters()] == [*names, "output.weight", "output.bias"]
    convolutions = built(kind="cnn", width=[4])
    assert next(iter(convolutions.state_dict())) == "hidden_1.conv2d.weight"


def test_every_kind_is_built_by_its_row() -> None:
    for kind in NETWORKS:
        backbone = {"backbone": {"network": {"width": [4]}}} if kind == "backbone" else {}
        assert built(kind=kind, width=[3], **backbone)(torch.rand(2, 1, 28, 28)).shape == (2, 10)
