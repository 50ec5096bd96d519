from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from lit_dl.data.batches import Batches, Minibatches, Scale

ROWS = 230
IMAGES = torch.arange(ROWS * 4).remainder(251).to(torch.uint8).reshape(ROWS, 1, 2, 2)
LABELS = torch.arange(ROWS)


def batches(order: Callable[[], Tensor] | None = None, **options: object) -> Batches:
    values = {"scale": Scale(), "rows": ROWS, "batch_size": 4, **options}
    return Batches(IMAGES, LABELS, order=order or (lambda: torch.arange(ROWS).flip(0)), **values)  # type: ignore[arg-type]


def flat(items: Batches) -> list[tuple[Tensor, Tensor]]:
    return [batch for item in items for batch in (item.batches if isinstance(item, Minibatches) else [item])]


@pytest.mark.parametrize("batch_size", [1, 4, 7, 115, 229, 230])
def test_batches_are_the_rows_in_order(batch_size: int) -> None:
    served = list(batches(batch_size=batch_size))
    assert [len(labels) for _, labels in served[:-1]] == [batch_size] * (len(served) - 1)
    assert len(served[-1][1]) == (ROWS % batch_size or batch_size)
    assert torch.equal(torch.cat([labels for _, labels in served]), LABELS.flip(0))
    assert torch.equal(torch.cat([images for images, _ in served]), IMAGES.flip(0).float())


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch_size", [4, 7, 23])
@pytest.mark.parametrize("steps", [2, 3, 10, 25, 1000])
def test_several_steps_an_item_are_the_same_minibatches(steps: int, batch_size: int, drop_last: bool) -> None:
    one = batches(batch_size=batch_size, drop_last=drop_last)
    many = batches(batch_size=batch_size, drop_last=drop_last, steps=steps)
    items = list(many)
    assert all(isinstance(item, Minibatches) for item in items)
    assert [len(item.batches) for item in items[:-1]] == [steps] * (len(items) - 1)
    for (images, labels), (same_images, same_labels) in zip(flat(one), flat(many), strict=True):
        assert torch.equal(labels, same_labels)
        assert torch.equal(images, same_images)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("steps", [1, 3, 10])
@pytest.mark.parametrize("batch_size", [1, 4, 23, 100, 230])
def test_the_length_is_the_number_of_items(batch_size: int, steps: int, drop_last: bool) -> None:
    items = batches(batch_size=batch_size, steps=steps, drop_last=drop_last)
    assert len(items) == len(list(items))


def test_drop_last_leaves_out_what_does_not_fill_a_batch() -> None:
    kept = list(batches(batch_size=7, drop_last=True))
    assert [len(labels) for _, labels in kept] == [7] * (ROWS // 7)
    assert torch.equal(torch.cat([labels for _, labels in kept]), LABELS.flip(0)[: ROWS // 7 * 7])
    whole = batches(batch_size=23, drop_last=True)
    assert len(whole) == 10


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("steps", [1, 3, 10])
@pytest.mark.parametrize("batch_size", [8, 20, 23, 51, 230])
@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_the_shares_of_all_ranks_are_the_batches_of_one(
    ranks: int, batch_size: int, steps: int, drop_last: bool
) -> None:
    options: dict[str, object] = {"batch_size": batch_size, "steps": steps, "drop_last": drop_last}
    whole, several = batches(**options), [batches(**options, rank=rank, world_size=ranks) for rank in range(ranks)]
    assert [len(shares) for shares in several] == [len(whole)] * ranks
    assert [len(list(shares)) for shares in several] == [len(whole)] * ranks
    for number, (batch, *shares) in enumerate(zip(flat(whole), *map(flat, several), strict=True)):
        for rank, (images, labels) in enumerate(shares):
            assert torch.equal(labels, batch[1][rank::ranks])
            assert torch.equal(images, batch[0][rank::ranks])
        assert {shares.samples_of(number) for shares in several} == {whole.samples_of(number)} == {len(batch[1])}


def test_an_order_may_give_fewer_rows() -> None:
    served = list(batches(order=lambda: torch.tensor([5, 3, 8]), rows=3, batch_size=2))
    assert [labels.tolist() for _, labels in served] == [[5, 3], [8]]


def test_the_order_is_asked_for_when_an_epoch_begins() -> None:
    calls: list[int] = []

    def order() -> Tensor:
        calls.append(1)
        return torch.arange(ROWS).roll(len(calls))

    served = batches(order=order)
    iterator = iter(served)
    assert not calls  # Lightning makes the iterator before the epoch is counted
    next(iterator)
    assert len(calls) == 1
    first, second = (torch.cat([labels for _, labels in served]) for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("scale", [Scale(), Scale(255.0), Scale(255.0, 0.1307, 0.3081), Scale(1.0, 3.0, 1.0)], ids=repr)
def test_scale_follows_its_formula(scale: Scale) -> None:
    expected = (IMAGES.numpy().astype(np.float64) / scale.divisor - scale.mean) / scale.std
    scaled = scale(IMAGES)
    assert (scaled.dtype, scaled.shape) == (torch.float32, IMAGES.shape)
    np.testing.assert_allclose(scaled.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_scaling_leaves_the_pixels_alone() -> None:
    before = IMAGES.clone()
    next(iter(batches(scale=Scale(255.0, 0.5, 0.5))))
    assert torch.equal(IMAGES, before)
