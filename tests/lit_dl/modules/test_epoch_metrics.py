from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.aggregation import MeanMetric
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.regression import MeanSquaredError

from lit_dl.modules.epoch_metrics import EpochMetrics


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Correct predictions of a batch."""
    return (logits.argmax(1) == labels).sum()


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
    metrics, loss, accuracy = EpochMetrics(correct), MeanMetric(), MulticlassAccuracy(4, average="micro")
    for logits, labels in batches([8] * (count - 1) + [3]):
        add(metrics, logits, labels)
        loss.update(F.cross_entropy(logits, labels), weight=len(labels))
        accuracy.update(logits, labels)
    sums = metrics.sums()
    assert float(sums[2]) == 8 * (count - 1) + 3
    assert float(sums[0] / sums[2]) == pytest.approx(float(loss.compute()), rel=1e-6)
    assert float(sums[1] / sums[2]) == pytest.approx(float(accuracy.compute()), rel=1e-6)


@pytest.mark.parametrize("count", [1, 17, 40])
def test_a_score_of_values_is_summed_like_any_other(count: int) -> None:
    """As a regression does it: the mean square of several values, over the samples of the epoch."""
    metrics = EpochMetrics(lambda outputs, targets: (outputs - targets).square().mean(1).sum())
    expected = MeanSquaredError()
    for outputs, _ in batches([8] * (count - 1) + [3]):
        targets = outputs.flip(0) * 0.3
        metrics.add(F.mse_loss(outputs, targets), outputs, targets)
        expected.update(outputs, targets)
    sums = metrics.sums()
    assert float(sums[1] / sums[2]) == pytest.approx(float(expected.compute()), rel=1e-6)
    assert float(sums[0] / sums[2]) == pytest.approx(float(expected.compute()), rel=1e-6)


def test_figures_of_many_samples_are_summed_in_double_precision() -> None:
    """In single precision a sum of 2^28 would not notice 16 more, however often."""
    metrics = EpochMetrics(lambda outputs, targets: outputs.sum())
    for value in (2.0**28, *[1.0] * 335):
        metrics.add(torch.tensor(value), torch.full((1, 1), value), torch.zeros(1))
    for total in metrics.sums()[:2].tolist():
        assert 2**28 + 320 <= total <= 2**28 + 335


def test_reading_takes_nothing_away_and_clearing_everything() -> None:
    metrics = EpochMetrics(correct)
    first, second = batches([5, 5])
    add(metrics, *first)
    assert torch.equal(metrics.sums(), metrics.sums())
    add(metrics, *second)
    assert float(metrics.sums()[2]) == 10
    metrics.clear()
    add(metrics, *second)
    fresh = EpochMetrics(correct)
    add(fresh, *second)
    assert torch.equal(metrics.sums(), fresh.sums())


def test_no_graph_is_kept() -> None:
    metrics = EpochMetrics(correct)
    logits = torch.rand(5, 4, requires_grad=True)
    add(metrics, logits, torch.zeros(5, dtype=torch.int64))
    assert not metrics.sums().requires_grad


def test_a_rank_without_a_sample_adds_nothing() -> None:
    none = EpochMetrics(correct).sums(torch.device("cpu"))
    assert none.tolist() == [0, 0, 0]
    some = EpochMetrics(correct)
    add(some, *batches([5])[0])
    assert some.sums().dtype == none.dtype  # or they could not be added up
