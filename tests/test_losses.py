from __future__ import annotations

import numpy as np
import pytest
import torch

from lit_dl.errors import ConfigError
from lit_dl.losses import LOSSES, loss_function

LOGITS = np.random.default_rng(0).normal(scale=3.0, size=(17, 10))
LABELS = np.random.default_rng(1).integers(0, 10, 17)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return float(-np.log(shares[np.arange(len(labels)), labels]).mean())


def hinge(logits: np.ndarray, labels: np.ndarray) -> float:
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        total += sum(max(0.0, 1 - row[label] + other) for c, other in enumerate(row) if c != label) / len(row)
    return total / len(labels)


FORMULAS = {"cross_entropy": cross_entropy, "hinge": hinge}


def test_every_row_has_a_formula_here() -> None:
    assert set(LOSSES) == set(FORMULAS)


@pytest.mark.parametrize("name", FORMULAS)
def test_loss_follows_its_formula(name: str) -> None:
    ours = loss_function(name)(torch.from_numpy(LOGITS), torch.from_numpy(LABELS))
    assert ours.ndim == 0
    assert float(ours) == pytest.approx(FORMULAS[name](LOGITS, LABELS), rel=1e-12)


def test_an_unknown_loss_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"^loss: 'hing' is not one of cross_entropy, hinge; did you mean 'hinge'\?$"):
        loss_function("hing")
