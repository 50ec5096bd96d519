from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.aggregation import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from lit_dl.metrics import EpochMetrics


def batches(sizes: list[int], seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    draw = np.random.default_rng(seed)
    return [
        (torch.from_numpy(draw.normal(size=(n, 4)).astype(np.float32)), torch.from_numpy(draw.integers(0, 4, n)))
        for n in sizes
    ]


def add(metrics: EpochMetrics, logits: Tensor, labels: Tensor) -> None:
    metrics.add(F.cross_entropy(logits, labels), logits, labels)


@pytest.mark.parametrize("count", [1, 15, 16, 17, 32, 50])
def test_means_over_samples_are_those_of_torchmetrics_with_an_uneven_last_batch(count: int) -> None:
    metrics, loss, accuracy = EpochMetrics(), MeanMetric(), MulticlassAccuracy(4, average="micro")
    for logits, labels in batches([8] * (count - 1) + [3]):
        add(metrics, logits, labels)
        loss.update(F.cross_entropy(logits, labels), weight=len(labels))
        accuracy.update(logits, labels)
    sums = metrics.sums()
    assert float(sums[2]) == 8 * (count - 1) + 3
    assert float(sums[0] / sums[2]) == pytest.approx(float(loss.compute()), rel=1e-6)
    assert float(sums[1] / sums[2]) == pytest.approx(float(accuracy.compute()), rel=1e-6)


def test_reading_takes_nothing_away_and_clearing_everything() -> None:
    metrics = EpochMetrics()
    first, second = batches([5, 5])
    add(metrics, *first)
    assert torch.equal(metrics.sums(), metrics.sums())
    add(metrics, *second)
    assert float(metrics.sums()[2]) == 10
    metrics.clear()
    add(metrics, *second)
    fresh = EpochMetrics()
    add(fresh, *second)
    assert torch.equal(metrics.sums(), fresh.sums())


def test_no_graph_is_kept() -> None:
    metrics = EpochMetrics()
    logits = torch.rand(5, 4, requires_grad=True)
    add(metrics, logits, torch.zeros(5, dtype=torch.int64))
    assert not metrics.sums().requires_grad
