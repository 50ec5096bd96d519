"""Figures of activations against outputs computed by hand."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lit_dl.callbacks.layer_activity import LayerActivity
from lit_dl.callbacks.layer_weights import layer_weights
from lit_dl.nn.activations import ACTIVATIONS, build_activation
from lit_dl.nn.network import Network
from lit_dl.nn.network_config import NetworkConfig
from lit_dl.nn.networks import build_network


def watched(layers: nn.Module, *batches: Tensor) -> dict[str, dict[str, float | None]]:
    """The figures of the hidden layers over some batches."""
    activity = LayerActivity(layers, layer_weights(layers))
    with torch.inference_mode():
        for batch in batches:
            layers(batch)
    activity.close()
    layers(batches[0])  # no longer watched
    return activity.rows(activity.tensors())


def identity(units: int) -> nn.Linear:
    layer = nn.Linear(units, units)
    nn.init.eye_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def around(name: str, units: int) -> nn.Sequential:
    """A layer whose units see the inputs as they are, behind it the activation, then an output layer."""
    inputs = identity(units)
    if name == "maxout":  # two pieces of each unit
        inputs = nn.Linear(units, 2 * units, bias=False)
        inputs.weight.data = torch.eye(units).repeat_interleave(2, 0)
    parts = {"dense": inputs, "activation": build_activation(name, units), "output": nn.Linear(units, 1)}
    return nn.Sequential(OrderedDict(parts))


def test_mean_and_deviation_over_batches_of_unequal_size() -> None:
    values = 3 + np.random.default_rng(0).normal(size=(70, 5)) * [0.01, 1, 2, 3, 4]
    batches = torch.from_numpy(values).float().split(32)
    figures = watched(around("sigmoid", 5), *batches)["dense"]
    outputs = 1 / (1 + np.exp(-values))
    assert figures["activation_mean"] == pytest.approx(outputs.mean(), rel=1e-5)
    assert figures["activation_std"] == pytest.approx(outputs.std(), rel=1e-5)
    assert figures["saturated"] == pytest.approx(((outputs < 0.05) | (outputs > 0.95)).mean(), rel=1e-6)


def test_a_small_deviation_around_a_large_mean_is_not_lost() -> None:
    outputs = 1000 + np.random.default_rng(0).normal(size=(64, 8))
    assert watched(around("relu", 8), torch.from_numpy(outputs).float())["dense"]["activation_std"] == pytest.approx(
        outputs.std(), rel=1e-4
    )


def test_dead_units_of_a_dense_layer() -> None:
    layers = around("relu", 8)
    layers[0].bias.data[:3] = -1000.0
    once = torch.full((4, 8), -1.0)
    once[2, 3:7] = 0.5  # four units are above zero on one sample of the second batch, the last on none
    assert watched(layers, torch.full((6, 8), -2.0), once)["dense"]["dead"] == pytest.approx(4 / 8)


def test_dead_channels_of_a_convolution_at_all_positions() -> None:
    layers = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2))
    nn.init.ones_(layers[0].weight)
    layers[0].bias.data = torch.tensor([-1000.0, 0.0, -0.5, -2.0])
    images = torch.zeros(2, 1, 3, 3)
    images[1, 0, 2, 2] = 1.0  # one pixel of one image keeps the second and third channel alive
    (figures,) = watched(layers, images).values()
    assert figures["dead"] == 0.5


@pytest.mark.parametrize(
    ("function", "inputs", "saturated"),
    [
        (nn.Sigmoid(), [-2.9, -3.0, 2.9, 3.0, 0.0], 2 / 5),  # 0.0522, 0.0474, 0.9478, 0.9526
        (nn.Tanh(), [-1.4, -1.5, 1.4, 1.5, 0.0], 2 / 5),  # 0.885, 0.905
        (nn.Hardsigmoid(), [-3.0, 3.0, 0.0, 2.0, -2.0], 2 / 5),
        (nn.Softsign(), [9.5, -9.5, 8.5, -8.5, 0.0], 2 / 5),  # 0.905, 0.895
        (nn.Hardtanh(0.0, 4.0), [-1.0, 0.1, 0.3, 3.7, 3.9], 3 / 5),
        (nn.Softmax(1), [9.0, 0.0, 0.0, 0.0, 0.0], 1.0),
        (nn.Softmax(1), [4.0, 0.0, 0.0, 0.0, 0.0], 0.0),  # 0.93
        (nn.ReLU6(), [9.0, 9.0, -9.0, 9.0, 9.0], None),
        (nn.Softplus(), [9.0, 9.0, -9.0, 9.0, 9.0], None),
    ],
)
def test_saturated_outputs(function: nn.Module, inputs: list[float], saturated: float | None) -> None:
    layers = nn.Sequential(identity(5), function, nn.Linear(5, 2))
    (figures,) = watched(layers, torch.tensor([inputs])).values()
    assert figures["saturated"] == (None if saturated is None else pytest.approx(saturated))


# Whether dead and saturated units are defined for our activations.
DEFINED = dict.fromkeys(("relu", "elu", "selu", "gelu", "silu", "swish", "mish", "hardmax"), (True, False))
DEFINED |= dict.fromkeys(("sigmoid", "tanh", "softmax"), (False, True))
DEFINED |= dict.fromkeys(("linear", "leaky_relu", "prelu", "softplus", "maxout"), (False, False))


def test_every_activation_is_in_the_table_here() -> None:
    missing = sorted(set(ACTIVATIONS) - set(DEFINED))
    assert not missing, (
        f"add {missing} to DEFINED. A function that is flat below zero or bounded needs its class in `layer_activity`, "
        "or, if the class is ours, the attribute `is_flat_below_zero`"
    )


@pytest.mark.parametrize("name", DEFINED)
def test_every_activation_has_figures_and_a_rule(name: str) -> None:
    (figures,) = watched(around(name, 4), torch.tensor([[1.0, -1.0, 2.0, 0.5]])).values()
    assert figures["activation_std"] is not None
    assert (figures["dead"] is not None, figures["saturated"] is not None) == DEFINED[name]


def test_an_activation_is_that_of_the_kernel_applied_before_it() -> None:
    class Reused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.ReLU()  # one for both layers, and registered before them
            self.one, self.two, self.out = identity(2), identity(2), nn.Linear(2, 1)

        def forward(self, inputs: Tensor) -> Tensor:
            hidden = self.act(self.one(inputs))
            return self.act(self.out(self.act(self.two(2 * hidden))))

    figures = watched(Reused(), torch.tensor([[1.0, 3.0]]))
    assert {name: row["activation_mean"] for name, row in figures.items()} == {"one": 2.0, "two": 4.0}


def test_a_compiled_network_is_watched_uncompiled() -> None:
    layers = around("relu", 2)
    layers.compile(backend="eager")
    layers(torch.ones(1, 2))
    assert watched(layers, torch.tensor([[1.0, 3.0]]))["dense"]["activation_mean"] == 2.0


class Steps(nn.Module):
    """An activation that is no class of torch."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.round()


def test_an_activation_of_a_class_of_its_own_is_known_by_the_network_or_by_its_name() -> None:
    network = build_network(NetworkConfig(width=[3], input_shape=[2]), torch.Generator().manual_seed(0))
    network.hidden_1.activation = Steps()
    named = around("relu", 2)
    named.activation = Steps()
    for layers in (network, named):
        (figures,) = watched(layers, torch.rand(4, 2)).values()
        assert figures["activation_std"] is not None
        assert figures["dead"] is None


def test_only_the_activations_that_a_network_names_have_figures() -> None:
    """A network may have other parts, such as a frozen backbone, that it does not name."""

    class WithoutHiddenLayers(Network):
        def activations(self) -> dict[str, nn.Module]:
            return {}

    parts = {"dense": identity(2), "relu": nn.ReLU(), "output": nn.Linear(2, 1)}
    assert watched(WithoutHiddenLayers(OrderedDict(parts)), torch.rand(4, 2)) == {}
    assert list(watched(nn.Sequential(OrderedDict(parts)), torch.rand(4, 2))) == ["dense"]
