"""Which steps are sampled, and the figures of a sample."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from lit_dl.callbacks.step_sampler import MAX_SAMPLES, StepSampler


@pytest.mark.parametrize("steps", [1, 5, 32, 33, 100, 1100])
def test_steps_are_spread_evenly_over_an_epoch_of_any_length(steps: int) -> None:
    """The gradient of a step is its number, so that the mean tells which steps were taken."""
    stride = next(2**power for power in range(20) if math.ceil(steps / 2**power) <= MAX_SAMPLES)
    taken = range(0, steps, stride)
    assert len(taken) >= min(steps, MAX_SAMPLES // 2)
    weight = nn.Parameter(torch.full((1, 1), 1.0))
    before = 1
    for _ in range(2):  # the second epoch begins with the stride that the first one found
        watched = StepSampler({"layer": weight}, before)
        for number in range(steps):
            weight.grad = torch.full((1, 1), float(number))
            watched.before_step()
            with torch.no_grad():
                weight *= 1.5 if number % stride == 0 else 1.5 ** (-1 / (stride - 1))
        figures = watched.rows(watched.tensors())["layer"]
        assert figures["gradient_norm"] == pytest.approx(np.mean(taken), rel=1e-5)
        assert figures["update_ratio"] == pytest.approx(0.5, rel=1e-3)
        before = watched.stride


def test_weights_that_were_zero_have_no_update_ratio_in_that_step() -> None:
    weight = nn.Parameter(torch.zeros(2, 1))
    steps = StepSampler({"layer": weight})
    for value in (0.0, 2.0, 3.0):
        weight.grad = torch.ones(2, 1)
        with torch.no_grad():
            weight.fill_(value)
        steps.before_step()
    figures = steps.rows(steps.tensors())["layer"]
    assert figures["update_ratio"] == pytest.approx((0.5 + 0.0) / 2)  # from 2 to 3, and 3 at the end as well


def test_norms_of_half_precision_are_taken_in_full() -> None:
    weight = nn.Parameter(torch.ones(100, 100, dtype=torch.bfloat16))
    weight.grad = torch.full((100, 100), 2.5625, dtype=torch.bfloat16)
    steps = StepSampler({"layer": weight})
    steps.before_step()
    assert steps.rows(steps.tensors())["layer"]["gradient_norm"] == 256.25  # no number of bfloat16
