"""The gradient ratio, and the criterion for vanishing and exploding."""

from __future__ import annotations

import math

import pytest

from lit_dl.callbacks.gradient_health import gradient_ratio, gradient_status, per_weight


def test_the_ratio_is_between_mean_weights_of_the_first_and_the_last_layer() -> None:
    assert per_weight(6.0, 4) == 3.0
    assert gradient_ratio([2.0, 9.0, 4.0]) == 0.5
    assert gradient_ratio([None, 2.0, 4.0]) == 0.5
    assert gradient_ratio([0.0, 4.0]) == 0.0
    assert gradient_ratio([4.0, 0.0]) == math.inf
    assert math.isnan(gradient_ratio([0.0, 0.0]) or 0.0)
    assert gradient_ratio([1.0]) is None
    assert gradient_ratio([]) is None


@pytest.mark.parametrize(
    ("ratio", "status"),
    [
        (0.0, "vanishing"),
        (0.99e-3, "vanishing"),
        (1e-3, None),
        (1.0, None),
        (1e3, None),
        (1.01e3, "exploding"),
        (math.inf, "exploding"),
        (math.nan, None),
        (None, None),
    ],
)
def test_the_criterion(ratio: float | None, status: str | None) -> None:
    assert gradient_status(ratio) == status
