from __future__ import annotations

from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lit_dl.errors import ConfigError
from lit_dl.network import NetworkConfig, build_network, check_network


def built(seed: int = 0, **values: Any) -> nn.Sequential:
    return build_network(NetworkConfig(**values), torch.Generator().manual_seed(seed))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def layers(module: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in module.modules() if not isinstance(layer, nn.Sequential)]


def weights(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


@pytest.mark.parametrize(
    ("values", "parameters"),
    [
        ({"width": [300, 100]}, 235_500 + 30_100 + 1_010),
        ({"width": [300, 200, 100]}, 316_810),
        ({"width": [300, 100], "bias": False}, 235_200 + 30_000 + 1_010),
        ({"width": [300, 100], "norm": "before"}, 235_500 + 30_100 + 1_010 + 2 * (300 + 100)),
        ({"width": [300, 100], "norm": "after"}, 235_500 + 30_100 + 1_010 + 2 * (300 + 100)),
        ({"depth": 1, "width": 50, "classes": 3}, 785 * 50 + 51 * 3),
        ({"width": 128}, 785 * 128 + 129 * 128 + 129 * 10),
        ({"depth": 3, "width": 20, "input_shape": [3, 4, 5]}, 61 * 20 + 2 * 21 * 20 + 21 * 10),
        ({"kind": "cnn", "width": [8, 16]}, 10 * 8 + 73 * 16 + (16 * 7 * 7 + 1) * 10),
        ({"kind": "cnn", "width": [8], "input_shape": [3, 32, 32]}, 28 * 8 + (8 * 16 * 16 + 1) * 10),
        ({"kind": "cnn", "width": [8], "bias": False, "norm": "after"}, 9 * 8 + 2 * 8 + (8 * 14 * 14 + 1) * 10),
    ],
)
def test_number_of_parameters(values: dict[str, Any], parameters: int) -> None:
    assert count(built(**values)) == parameters


@pytest.mark.parametrize(
    ("depth", "width", "widths"),
    [(None, 128, [128, 128]), (3, 64, [64] * 3), (None, [300, 100], [300, 100]), (2, [300, 100], [300, 100])],
)
def test_depth_and_width(depth: int | None, width: int | list[int], widths: list[int]) -> None:
    assert NetworkConfig(depth=depth, width=width).widths() == widths


@pytest.mark.parametrize(
    ("values", "hidden"),
    [
        ({}, ["Linear", "ReLU"]),
        ({"norm": "before"}, ["Linear", "BatchNorm1d", "ReLU"]),
        ({"norm": "after"}, ["Linear", "ReLU", "BatchNorm1d"]),
        ({"norm": "before", "dropout": 0.2}, ["Linear", "BatchNorm1d", "ReLU", "Dropout"]),
        ({"norm": "after", "dropout": 0.2, "activation": "selu"}, ["Linear", "SELU", "BatchNorm1d", "Dropout"]),
        ({"dropout": 0.2, "activation": "tanh"}, ["Linear", "Tanh", "Dropout"]),
    ],
)
def test_order_of_modules(values: dict[str, Any], hidden: list[str]) -> None:
    assert layers(built(width=[4, 3], **values)) == ["Flatten", *hidden, *hidden, "Linear"]


def test_order_of_modules_in_a_cnn() -> None:
    block = ["Conv2d", "BatchNorm2d", "ReLU", "Dropout", "MaxPool2d"]
    assert layers(built(kind="cnn", width=[4, 3], norm="before", dropout=0.1)) == [*block, *block, "Flatten", "Linear"]


@pytest.mark.parametrize(("shape", "sides"), [([1, 28, 28], [28, 14, 7, 3, 3, 3]), ([3, 32, 32], [32, 16, 8, 4, 2, 2])])
def test_a_cnn_pools_while_the_image_has_four_pixels(shape: list[int], sides: list[int]) -> None:
    network = built(kind="cnn", width=[4] * 6, input_shape=shape)
    seen: list[int] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[-1]))
    assert network(torch.rand(2, *shape)).shape == (2, 10)
    assert seen == sides


@pytest.mark.parametrize("values", [{"width": [5]}, {"kind": "cnn", "width": [5, 6]}])
def test_logits_for_every_class(values: dict[str, Any]) -> None:
    logits = built(classes=7, input_shape=[2, 9, 6], **values)(torch.rand(3, 2, 9, 6))
    assert (logits.shape, logits.dtype) == ((3, 7), torch.float32)


def test_an_mlp_is_its_matrix_products() -> None:
    network = built(width=[5, 4], activation="tanh", input_shape=[1, 2, 3])
    x = torch.rand(3, 1, 2, 3)
    value = x.flatten(1).double().numpy()
    maps = [module for module in network.modules() if isinstance(module, nn.Linear)]
    for number, linear in enumerate(maps):
        nn.init.uniform_(linear.bias)
        value = value @ linear.weight.detach().double().numpy().T + linear.bias.detach().double().numpy()
        value = value if number == 2 else torch.from_numpy(value).tanh().numpy()
    torch.testing.assert_close(network(x).double(), torch.from_numpy(value), rtol=1e-5, atol=1e-6)


def test_dropout_drops_its_share_in_training_and_nothing_in_evaluation() -> None:
    layer = built(width=[4], dropout=0.3).hidden_1.dropout
    ones = torch.ones(100_000)
    torch.manual_seed(0)
    dropped = layer(ones)
    share = float((dropped == 0).float().mean())
    assert abs(share - 0.3) < 5 * sqrt(0.3 * 0.7 / 100_000)
    torch.testing.assert_close(dropped[dropped != 0].unique(), torch.tensor([1 / 0.7]))
    assert torch.equal(layer.eval()(ones), ones)


@pytest.mark.parametrize("values", [{"width": [20, 10], "norm": "after"}, {"kind": "cnn", "width": [4, 8]}])
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
    network = built(width=[200], classes=100, **values)
    for weight, variance in ((network.hidden_1.linear.weight, hidden), (network.output.weight, output)):
        assert abs(float(weight.detach().double().square().mean()) / variance - 1) < 5 * sqrt(2 / weight.numel())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": 0}, "depth: must be 1 or more; got 0"),
        ({"width": 0}, "width: must be 1 or more for every layer; got 0"),
        ({"width": []}, "width: must be 1 or more for every layer; got []"),
        ({"width": [3, 0]}, "width: must be 1 or more for every layer; got [3, 0]"),
        (
            {"depth": 3, "width": [3, 4]},
            "depth: must be the length of width=[3, 4]; got 3; leave one of the two out",
        ),
        ({"dropout": 1.0}, "dropout: must be in [0, 1); got 1.0"),
        ({"dropout": -0.1}, "dropout: must be in [0, 1); got -0.1"),
        ({"classes": 0}, "classes: must be 1 or more; got 0"),
        ({"input_shape": [28, 28]}, "input_shape: must be channels, height and width, each 1 or more; got [28, 28]"),
        ({"input_shape": [1, 0, 3]}, "input_shape: must be channels, height and width, each 1 or more; got [1, 0, 3]"),
        ({"kind": "cn"}, "kind: 'cn' is not one of mlp, cnn; did you mean 'cnn'?"),
        ({"norm": "befor"}, "norm: 'befor' is not one of none, before, after; did you mean 'before'?"),
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
