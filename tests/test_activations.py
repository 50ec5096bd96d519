from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from lit_dl.activations import ACTIVATIONS, activation
from lit_dl.errors import ConfigError

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017, equation 14

FORMULAS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)),
    "relu": lambda x: np.where(x > 0, x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.1 * x),
    "elu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    "selu": lambda x: _SELU_SCALE * np.where(x > 0, x, _SELU_ALPHA * (np.exp(x) - 1)),
    "silu": lambda x: x / (1 + np.exp(-x)),
}
FAMILIES = {
    "sigmoid": "glorot",
    "tanh": "glorot",
    "relu": "he",
    "leaky_relu": "he",
    "elu": "he",
    "silu": "he",
    "selu": "lecun",
}


def test_every_row_has_a_formula_here() -> None:
    assert set(ACTIVATIONS) == set(FORMULAS) == set(FAMILIES)


@pytest.mark.parametrize("name", FORMULAS)
def test_activation_follows_its_formula(name: str) -> None:
    x = np.linspace(-6, 6, 241)
    ours = activation(name)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours, FORMULAS[name](x), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", FAMILIES)
def test_initializer_family_of_each_activation(name: str) -> None:
    assert ACTIVATIONS[name].family == FAMILIES[name]


def test_every_row_names_its_source() -> None:
    assert all(row.source for row in ACTIVATIONS.values())


def test_each_call_makes_a_module_of_its_own() -> None:
    assert activation("relu") is not activation("relu")


def test_an_unknown_activation_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"^activation: 'rleu' is not one of .*; did you mean 'relu'\?$"):
        activation("rleu")
