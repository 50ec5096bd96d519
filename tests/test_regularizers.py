from __future__ import annotations

import numpy as np
import pytest
import torch

from lit_dl.classifier import Classifier
from lit_dl.errors import ConfigError
from lit_dl.regularizers import RegularizationConfig, check_regularization, penalty, project

DENSE = np.random.default_rng(0).normal(size=(5, 7))
CONVOLUTION = np.random.default_rng(1).normal(size=(4, 3, 3, 3))
KERNELS = [torch.from_numpy(DENSE), torch.from_numpy(CONVOLUTION)]


@pytest.mark.parametrize(("l1", "l2"), [(0.3, 0.0), (0.0, 0.02), (0.3, 0.02)])
def test_penalty_is_keras_sum(l1: float, l2: float) -> None:
    expected = l1 * (np.abs(DENSE).sum() + np.abs(CONVOLUTION).sum()) + l2 * ((DENSE**2).sum() + (CONVOLUTION**2).sum())
    ours = penalty(RegularizationConfig(l1=l1, l2=l2), KERNELS)
    assert ours is not None
    assert float(ours) == pytest.approx(expected, rel=1e-12)


def test_no_penalty_costs_nothing() -> None:
    assert penalty(RegularizationConfig(), KERNELS) is None


def test_the_gradient_of_the_penalty_reaches_the_kernels() -> None:
    kernel = torch.from_numpy(DENSE.copy()).requires_grad_()
    ours = penalty(RegularizationConfig(l1=0.3, l2=0.02), [kernel])
    assert ours is not None
    ours.backward()
    assert kernel.grad is not None
    np.testing.assert_allclose(kernel.grad.numpy(), 0.3 * np.sign(DENSE) + 2 * 0.02 * DENSE, rtol=1e-12)


@pytest.mark.parametrize("weights", [DENSE, CONVOLUTION], ids=["dense", "convolution"])
def test_max_norm_scales_down_the_incoming_weights_of_units_that_are_too_long(weights: np.ndarray) -> None:
    norms = np.sqrt((weights.reshape(len(weights), -1) ** 2).sum(1))
    limit = float(np.median(norms))
    assert norms.min() < limit < norms.max()
    factor = np.minimum(1.0, limit / norms).reshape(-1, *[1] * (weights.ndim - 1))
    kernel = torch.from_numpy(weights.copy())
    project(RegularizationConfig(max_norm=limit), [kernel])
    np.testing.assert_allclose(kernel.numpy(), weights * factor, rtol=1e-6)


def test_units_within_max_norm_keep_their_weights_to_the_bit() -> None:
    kernel = torch.from_numpy(DENSE.copy())
    project(RegularizationConfig(max_norm=100.0), [kernel])
    assert np.array_equal(kernel.numpy(), DENSE)


def test_max_norm_off_leaves_the_weights_alone() -> None:
    kernel = torch.from_numpy(DENSE.copy())
    project(RegularizationConfig(max_norm=None), [kernel])
    assert np.array_equal(kernel.numpy(), DENSE)


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_the_kernels_of_a_module_are_its_weights_without_biases_and_norms(kind: str) -> None:
    module = Classifier(network={"kind": kind, "width": [4, 4], "norm": "before", "input_shape": [1, 8, 8]})
    wanted = {name for name, _ in module.named_parameters() if name.endswith(("linear.weight", "conv2d.weight"))}
    wanted.add("network.output.weight")
    ours = {name for name, value in module.named_parameters() if any(value is kernel for kernel in module.kernels)}
    assert ours == wanted
    assert len(ours) == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"l1": -0.1}, "l1: must be 0 or more; got -0.1"),
        ({"l2": -1.0}, "l2: must be 0 or more; got -1.0"),
        ({"l2": float("nan")}, "l2: must be 0 or more; got nan"),
        ({"max_norm": 0.0}, "max_norm: must be above 0, or null for none; got 0.0"),
    ],
)
def test_values_out_of_range(values: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_regularization(RegularizationConfig(**values))
    assert str(caught.value) == message


def test_the_boundaries_are_allowed() -> None:
    check_regularization(RegularizationConfig(l1=0.0, l2=0.0, max_norm=1e-3))
