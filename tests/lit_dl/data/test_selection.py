"""Some of the classes, and few of the labels."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch

from lit_dl.data.images import ImageDataModule
from lit_dl.data.selection import class_numbers, fewer, relabel, stratified
from lit_dl.errors import ConfigError
from lit_dl.randomness import generator

LABELS = torch.tensor([0] * 400 + [1] * 50 + [2] * 3 + [4] * 247)


def chosen(samples: int, seed: int = 0, labels: torch.Tensor = LABELS) -> torch.Tensor:
    return fewer(labels, torch.arange(len(labels)), samples, generator(seed, "train_samples"))


# Few labels


@pytest.mark.parametrize("samples", [4, 5, 10, 70, 333, 700])
def test_a_sample_has_each_class_in_proportion_and_once_at_least(samples: int) -> None:
    rows = chosen(samples)
    assert len(rows.unique()) == len(rows) == samples
    for label in (0, 1, 2, 4):
        number = int((LABELS[rows] == label).sum())
        assert number >= 1
        assert abs(number - samples * LABELS.tolist().count(label) / len(LABELS)) < 2


def test_a_sample_is_part_of_every_larger_one() -> None:
    samples = [set(chosen(number).tolist()) for number in (4, 5, 6, 50, 51, 699, 700)]
    assert all(small < large for small, large in pairwise(samples))


def test_a_sample_depends_on_its_seed_alone() -> None:
    first = chosen(100)
    torch.manual_seed(9)
    assert torch.equal(chosen(100), first)
    assert not torch.equal(chosen(100, seed=1), first)


def test_which_samples_of_a_class_come_first_is_drawn() -> None:
    """Each of ten samples of a class is the first equally often: 40 of 400 times, with a deviation of 6."""
    labels = torch.tensor([0] * 10 + [1] * 10)
    firsts = [int(stratified(labels, generator(seed, "x"))[:2].sort().values[0]) for seed in range(400)]
    assert min(map(firsts.count, range(10))) > 18


def test_rows_stay_in_order_and_come_from_those_given() -> None:
    rows = torch.arange(300, 700)
    few = fewer(LABELS, rows, 20, generator(0, "train_samples"))
    assert few.tolist() == sorted(few.tolist())
    assert int(few.min()) >= 300


@pytest.mark.parametrize("samples", [3, 701])
def test_less_than_one_of_each_class_or_more_than_there_are(samples: int) -> None:
    with pytest.raises(ConfigError) as caught:
        chosen(samples)
    need = "from 4, one for each class, to the training split of 700"
    assert str(caught.value) == f"train_samples: must be {need}; got {samples}"


def mnist(**options: Any) -> ImageDataModule:
    data = ImageDataModule(**{"seed": 0, **options})
    data.setup("fit")
    return data


def test_validation_and_test_stay_as_they_are() -> None:
    few, all_of_them = mnist(train_samples=100), mnist()
    assert len(few.train_rows) == 100
    assert set(few.train_rows.tolist()) < set(all_of_them.train_rows.tolist())
    assert torch.equal(few.validation_rows, all_of_them.validation_rows)
    assert few.source.read("test") is all_of_them.source.read("test")
    assert len(list(few.train_dataloader())) == 2
    assert mnist(train_samples=100, seed=1).train_rows.tolist() != few.train_rows.tolist()


def test_a_batch_is_no_larger_than_the_sample() -> None:
    with pytest.raises(ConfigError, match=r"^batch_size: must be at most the training split of 40; got 50$"):
        mnist(train_samples=40)


# Some of the classes


def test_classes_are_labelled_in_the_order_given() -> None:
    rows, labels = relabel(torch.tensor([5, 1, 3, 5, 0, 3]), [5, 3])
    assert rows.tolist() == [0, 2, 3, 5]
    assert labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("classes", [[5, 6, 7, 8, 9], [9, 0]])
def test_all_parts_have_these_classes_alone(classes: list[int]) -> None:
    data, whole = mnist(classes=classes, validation=100), mnist()
    assert data.num_classes == len(classes)
    for part in ("train", "test"):
        images, labels = data.source.read(part)
        all_images, digits = whole.source.read(part)
        kept = torch.isin(digits, torch.tensor(classes))
        assert torch.equal(images, all_images[kept])
        assert torch.tensor(classes)[labels].tolist() == digits[kept].tolist()
    assert (len(data.train_rows), len(data.validation_rows)) == (len(data.source.read("train").labels) - 100, 100)


def test_even_is_a_question_about_the_digit() -> None:
    data, whole = mnist(classes=[7, 2, 4], target="even", validation=100), mnist()
    assert data.num_classes == 2
    digits = whole.source.read("test").labels
    kept = digits[torch.isin(digits, torch.tensor([7, 2, 4]))]
    assert data.source.read("test").labels.tolist() == (kept % 2 == 0).long().tolist()


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "must be two classes or more; got []"),
        ([3], "must be two classes or more; got [3]"),
        ([3, 4, 3], "must name each class once; got 3 twice"),
        ([3, 10], "must be numbers from 0 to 9; got 10"),
        ([-1, 3], "must be numbers from 0 to 9; got -1"),
        ([3, "four"], "must be numbers, as the classes of this data set have no names; got 'four'"),
    ],
)
def test_classes_that_are_not_there(classes: list[int | str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        mnist(classes=classes)
    assert str(caught.value) == f"classes: {message}"


def test_one_class_by_name_and_by_number() -> None:
    assert class_numbers(["b", 0], ["a", "b"], 2) == [1, 0]
    with pytest.raises(ConfigError, match=r"^classes: must name each class once; got 1 twice$"):
        class_numbers(["b", 1], ["a", "b"], 2)


def test_even_digits_alone_are_no_decision() -> None:
    with pytest.raises(ConfigError, match=r"^classes: must be even and odd digits where target is even; got \[2, 4\]$"):
        mnist(classes=[2, 4], target="even")


@pytest.mark.parametrize("samples", [0, -5])
def test_no_samples(samples: int) -> None:
    with pytest.raises(ConfigError, match=f"^train_samples: must be 1 or more; got {samples}$"):
        mnist(train_samples=samples)
