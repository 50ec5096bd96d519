"""Networks against their formulas written out in float64 numpy: forward, backward, normalization, noise, residuals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_dl.cli.lit_cli import build_run
from lit_dl.errors import ConfigError
from lit_dl.nn.network import NetworkConfig, build_network, check_network

HIDDEN_300, HIDDEN_200_100, HIDDEN_300_100 = 235_500, 20_100, 30_100  # published: 784 to 300, 200 to 100, 300 to 100


def built(seed: int = 0, keras: bool = False, **values: Any) -> nn.Sequential:
    return build_network(NetworkConfig(**values), torch.Generator().manual_seed(seed), keras)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def layers(module: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in module.modules() if not list(layer.children())]


def weights(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def scattered(network: nn.Sequential) -> nn.Sequential:
    """The network in float64, with biases, scales and shifts that are not those it starts with."""
    generator = torch.Generator().manual_seed(9)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.5, 1.5, generator=generator)
    return network.double()


def arrays(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy().copy() for name, value in module.state_dict().items()}


def inputs(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=scale, size=shape)


def output_of(network: nn.Module, x: np.ndarray) -> np.ndarray:
    return network(torch.from_numpy(x)).detach().numpy()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


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


def convolved(images: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """3x3 correlations with zeros around the image, pixel by pixel."""
    n, _, height, width = images.shape
    around = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    result = np.empty((n, len(kernel), height, width))
    for row in range(height):
        for column in range(width):
            patch = around[:, :, row : row + 3, column : column + 3].reshape(n, -1)
            result[:, :, row, column] = patch @ kernel.reshape(len(kernel), -1).T + bias
    return result


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


# Dropout and noise


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


# Residual connections


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


def deep(**values: Any) -> nn.Sequential:
    return built(depth=DEPTH, width=WIDTH, input_shape=[WIDTH], **values)


def sizes_of(network: nn.Sequential) -> tuple[list[float], list[float]]:
    """Root mean squares of what each hidden layer gives, and of the gradient of the loss at it, first to last."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(128, WIDTH, generator=generator)
    seen: list[Tensor] = []
    for name, layer in network.named_children():
        if name.startswith("hidden_"):
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


# What cannot be built


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": -1}, "depth: must be 0 or more; got -1"),
        ({"width": 0}, "width: must be 1 or more for every layer; got 0"),
        ({"width": 0, "depth": 0}, "width: must be 1 or more for every layer; got 0"),
        ({"width": [3, 0]}, "width: must be 1 or more for every layer; got [3, 0]"),
        (
            {"depth": 3, "width": [3, 4]},
            "depth: must be the length of width=[3, 4]; got 3; leave one of the two out",
        ),
        ({"dropout": 1.0}, "dropout: must be in [0, 1); got 1.0"),
        ({"dropout": -0.1}, "dropout: must be in [0, 1); got -0.1"),
        ({"input_dropout": 1.0}, "input_dropout: must be in [0, 1); got 1.0"),
        ({"noise": -0.1}, "noise: must be 0 or more and finite; got -0.1"),
        ({"input_noise": math.inf}, "input_noise: must be 0 or more and finite; got inf"),
        ({"outputs": 0}, "outputs: must be 1 or more; got 0"),
        (
            {"kind": "cnn", "input_shape": [28, 28]},
            "input_shape: must be channels, height and width for kind='cnn'; got [28, 28]",
        ),
        ({"input_shape": [1, 0, 3]}, "input_shape: must be the sizes of a sample, each 1 or more; got [1, 0, 3]"),
        ({"input_shape": []}, "input_shape: must be the sizes of a sample, each 1 or more; got []"),
        ({"kind": "cn"}, "kind: 'cn' is not one of mlp, cnn; did you mean 'cnn'?"),
        ({"norm": "befor"}, "norm: 'befor' is not one of none, before, after; did you mean 'before'?"),
        ({"norm_type": "layers"}, "norm_type: 'layers' is not one of batch, layer; did you mean 'layer'?"),
        (
            {"output_activation": "sigmoi"},
            "output_activation: 'sigmoi' is not one of linear, sigmoid, softmax, log_softmax; did you mean 'sigmoid'?",
        ),
        (
            {"norm": "before", "norm_momentum": 0.0},
            "norm_momentum: must be in (0, 1]; got 0.0; Keras's 0.99 is 0.01 here",
        ),
        ({"norm": "after", "norm_eps": 0.0}, "norm_eps: must be above 0 and finite; got 0.0"),
        (
            {"norm_eps": 0.1},
            "norm_eps: 0.1 does not apply to norm='none'; set norm to before or after, or this to null",
        ),
        (
            {"norm": "before", "norm_type": "layer", "norm_momentum": 0.1},
            "norm_momentum: 0.1 does not apply to norm_type='layer'; set it to null",
        ),
        ({"activation": "prelu", "negative_slope": 1.0}, "negative_slope: must be in [0, 1); got 1.0"),
    ],
)
def test_what_cannot_be_built_is_refused_by_key(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_network(NetworkConfig(**values))
    assert str(caught.value) == message


@pytest.mark.parametrize(("key", "value"), [("activation", "rleu"), ("initializer", "he_norml")])
def test_unknown_names_are_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}: '{value}' is not one of .*; did you mean "):
        check_network(NetworkConfig(**{key: value}))
