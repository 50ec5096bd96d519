"""Penalties and max norm against sums written out in numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from lit_dl.errors import ConfigError
from lit_dl.modules.classifier import Classifier
from lit_dl.nn.regularizers import (
    RegularizationConfig,
    activity_penalty,
    apply_max_norm,
    check_regularization,
    weight_penalty,
)

DENSE = np.random.default_rng(0).normal(size=(5, 7))
CONVOLUTION = np.random.default_rng(1).normal(size=(4, 3, 3, 3))
KERNELS = [torch.from_numpy(DENSE), torch.from_numpy(CONVOLUTION)]
ABSOLUTE = float(np.abs(DENSE).sum() + np.abs(CONVOLUTION).sum())
SQUARES = float((DENSE**2).sum() + (CONVOLUTION**2).sum())
STRENGTHS = [(0.3, 0.0), (0.0, 0.02), (0.3, 0.02)]
SAMPLES = 50


# Penalties on the weights


@pytest.mark.parametrize(("l1", "l2"), STRENGTHS, ids=["l1", "l2", "elastic"])
def test_penalty_is_keras_sum(l1: float, l2: float) -> None:
    ours = weight_penalty(RegularizationConfig(l1=l1, l2=l2), KERNELS, SAMPLES)
    assert ours is not None
    assert float(ours) == pytest.approx(l1 * ABSOLUTE + l2 * SQUARES, rel=1e-12)


@pytest.mark.parametrize(("l1", "l2"), STRENGTHS, ids=["l1", "l2", "elastic"])
def test_textbook_penalty_is_divided_by_the_samples_and_the_squares_by_two(l1: float, l2: float) -> None:
    ours = weight_penalty(RegularizationConfig(l1=l1, l2=l2, form="textbook"), KERNELS, SAMPLES)
    assert ours is not None
    assert float(ours) == pytest.approx(l1 / SAMPLES * ABSOLUTE + l2 / (2 * SAMPLES) * SQUARES, rel=1e-12)


def test_no_penalty_costs_nothing() -> None:
    assert weight_penalty(RegularizationConfig(), KERNELS, SAMPLES) is None
    assert weight_penalty(RegularizationConfig(form="textbook"), KERNELS, SAMPLES) is None


@pytest.mark.parametrize(("form", "share"), [("sum", (1.0, 2.0)), ("textbook", (1 / SAMPLES, 1 / SAMPLES))])
def test_the_gradient_of_the_penalty_reaches_the_kernels(form: Any, share: tuple[float, float]) -> None:
    """d |w| = sign w and d w^2 = 2 w: the half of the textbook form is there to make it w."""
    kernel = torch.from_numpy(DENSE.copy()).requires_grad_()
    ours = weight_penalty(RegularizationConfig(l1=0.3, l2=0.02, form=form), [kernel], SAMPLES)
    assert ours is not None
    ours.backward()
    assert kernel.grad is not None
    expected = 0.3 * share[0] * np.sign(DENSE) + 0.02 * share[1] * DENSE
    np.testing.assert_allclose(kernel.grad.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("network", "count"),
    [
        ({"norm": "before"}, 3),
        ({"kind": "cnn", "norm": "before"}, 3),
        ({"norm": "after", "norm_type": "layer", "activation": "prelu"}, 3),
        ({"kind": "cnn", "norm": "after", "norm_type": "layer", "activation": "prelu"}, 3),
        ({"residual": True}, 4),  # with the projection of the first layer
    ],
)
def test_the_kernels_of_a_module_are_its_weights_without_biases_norms_and_slopes(
    network: dict[str, Any], count: int
) -> None:
    module = Classifier(network={"width": [4, 4], "input_shape": [1, 8, 8], **network})
    kernels = ("linear.weight", "conv2d.weight", "skip.weight", "network.output.weight")
    wanted = {name for name, _ in module.named_parameters() if name.endswith(kernels)}
    ours = {
        name for name, value in module.named_parameters() if any(value is kernel for kernel in module.weight_matrices)
    }
    assert ours == wanted
    assert len(ours) == count


# Penalties on the activations


@pytest.mark.parametrize(
    ("l1", "l2", "expected"), [(0.5, 0.0, 0.5 * 12 / 2), (0.0, 0.1, 0.1 * 40 / 2), (0.5, 0.1, 3.0 + 2.0)]
)
def test_activity_penalty_is_a_sum_over_units_and_layers_and_a_mean_over_samples(
    l1: float, l2: float, expected: float
) -> None:
    """Two samples, two layers; the absolute outputs sum up to 12, their squares to 40."""
    first, second = torch.tensor([[1.0, -2.0, 0.0], [1.0, 0.0, -3.0]]), torch.tensor([[4.0, 0.0], [0.0, -1.0]])
    squares = 1 + 4 + 1 + 9 + 16 + 1
    ours = activity_penalty(RegularizationConfig(activity_l1=l1, activity_l2=l2), [first, second])
    assert ours is not None
    assert float(ours) == pytest.approx(expected + l2 * (squares - 40) / 2)


def test_no_activity_penalty_costs_nothing() -> None:
    assert activity_penalty(RegularizationConfig(), [torch.ones(2, 3)]) is None


ACTIVITY = {"activity_l1": 0.3, "activity_l2": 0.05}
INPUTS = np.random.default_rng(2).normal(size=(6, 3))
BATCH = torch.from_numpy(INPUTS), torch.arange(6) % 2


def activity_module(regularization: dict[str, Any], **network: Any) -> Classifier:
    """3-4-5-2 with sigmoid, in float64 and ready for a training step."""
    network = {"width": [4, 5], "activation": "sigmoid", "input_shape": [3], "outputs": 2, **network}
    module = Classifier(network=network, regularization=regularization, steps_per_execution=1, seed=0).double()
    module.on_train_epoch_start()
    return module


def training_loss(module: Classifier) -> torch.Tensor:
    loss = module.training_step(BATCH, 0)
    assert loss is not None
    return loss


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("norm", ["none", "after"])
def test_activity_penalty_of_a_network_is_that_of_the_outputs_of_its_activations(norm: str) -> None:
    module, plain = activity_module(ACTIVITY, norm=norm), activity_module({}, norm=norm)
    first, second, _ = (kernel.detach().numpy() for kernel in module.weight_matrices)
    hidden = sigmoid(INPUTS @ first.T)
    normalized = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5)
    deeper = sigmoid((normalized if norm == "after" else hidden) @ second.T)
    absolute = (np.abs(hidden).sum() + np.abs(deeper).sum()) / 6
    squares = ((hidden**2).sum() + (deeper**2).sum()) / 6
    extra = float((training_loss(module) - training_loss(plain)).detach())
    assert extra == pytest.approx(0.3 * absolute + 0.05 * squares, rel=1e-9)


def test_activity_of_one_step_and_of_evaluation_is_not_counted_in_the_next() -> None:
    module = activity_module(ACTIVITY)
    first = float(training_loss(module).detach())
    module.eval()
    module(BATCH[0])
    module.train()
    assert [float(training_loss(module).detach()) for _ in range(2)] == [first, first]


def test_the_activity_penalty_is_differentiated_and_not_logged() -> None:
    gradients, logged = [], []
    for regularization in (ACTIVITY, {}):
        module = activity_module(regularization)
        training_loss(module).backward()
        gradients.append(module.weight_matrices[0].grad)
        logged.append(float(module._metrics["train"].sums()[0]))
    assert logged[0] == logged[1]
    assert not torch.allclose(*gradients)


# Max norm


@pytest.mark.parametrize("weights", [DENSE, CONVOLUTION], ids=["dense", "convolution"])
def test_max_norm_scales_down_the_incoming_weights_of_units_that_are_too_long(weights: np.ndarray) -> None:
    norms = np.sqrt((weights.reshape(len(weights), -1) ** 2).sum(1))
    limit = float(np.median(norms))
    assert norms.min() < limit < norms.max()
    factor = np.minimum(1.0, limit / norms).reshape(-1, *[1] * (weights.ndim - 1))
    kernel = torch.from_numpy(weights.copy())
    apply_max_norm(RegularizationConfig(max_norm=limit), [kernel])
    np.testing.assert_allclose(kernel.numpy(), weights * factor, rtol=1e-6)


def test_units_within_max_norm_keep_their_weights_to_the_bit() -> None:
    kernel = torch.from_numpy(DENSE.copy())
    apply_max_norm(RegularizationConfig(max_norm=100.0), [kernel])
    assert np.array_equal(kernel.numpy(), DENSE)


def test_projecting_twice_is_projecting_once() -> None:
    once = torch.from_numpy(DENSE.copy())
    apply_max_norm(RegularizationConfig(max_norm=1.0), [once])
    twice = once.clone()
    apply_max_norm(RegularizationConfig(max_norm=1.0), [twice])
    torch.testing.assert_close(twice, once, rtol=1e-6, atol=0)
    assert not np.array_equal(once.numpy(), DENSE)


def test_max_norm_off_leaves_the_weights_alone() -> None:
    kernel = torch.from_numpy(DENSE.copy())
    apply_max_norm(RegularizationConfig(max_norm=None), [kernel])
    assert np.array_equal(kernel.numpy(), DENSE)


# What cannot be used


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"l1": -0.1}, "l1: must be 0 or more and finite; got -0.1"),
        ({"l2": -1.0}, "l2: must be 0 or more and finite; got -1.0"),
        ({"l2": math.nan}, "l2: must be 0 or more and finite; got nan"),
        ({"activity_l1": -0.1}, "activity_l1: must be 0 or more and finite; got -0.1"),
        ({"activity_l2": math.inf}, "activity_l2: must be 0 or more and finite; got inf"),
        ({"max_norm": 0.0}, "max_norm: must be above 0, or null for none; got 0.0"),
        ({"form": "sums"}, "form: 'sums' is not one of sum, textbook; did you mean 'sum'?"),
    ],
)
def test_values_out_of_range(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_regularization(RegularizationConfig(**values))
    assert str(caught.value) == message


def test_the_boundaries_are_allowed() -> None:
    check_regularization(RegularizationConfig(l1=0.0, l2=0.0, activity_l1=0.0, activity_l2=0.0, max_norm=1e-3))
