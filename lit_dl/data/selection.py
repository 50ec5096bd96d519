"""Which samples of a data set are used: some of its classes, and few of its labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lit_dl.errors import ConfigError, unknown_name

Class = int | str


def check_classes(classes: Sequence[Class]) -> None:
    """Refuses classes that cannot be told apart, whatever the data.

    Raises:
        ConfigError: There are less than two, or one stands twice.
    """
    if len(classes) < 2:
        raise ConfigError("classes", f"must be two classes or more; got {list(classes)}")
    twice = next((name for name in classes if list(classes).count(name) > 1), None)
    if twice is not None:
        raise ConfigError("classes", f"must name each class once; got {twice!r} twice")


def class_numbers(classes: Sequence[Class], names: Sequence[str] | None, known: int) -> list[int]:
    """Returns the numbers of classes that are given by number or by name.

    Args:
        classes: Numbers, counted from 0, or names.
        names: The names of all classes, in order; `None`: they have none.
        known: Number of classes.

    Raises:
        ConfigError: There is no such class, or one is named twice.
    """
    numbers = []
    for given in classes:
        if isinstance(given, str):
            if names is None:
                raise ConfigError(
                    "classes", f"must be numbers, as the classes of this data set have no names; got {given!r}"
                )
            if given not in names:
                raise unknown_name("classes", given, names)
            given = names.index(given)
        if not 0 <= given < known:
            raise ConfigError("classes", f"must be numbers from 0 to {known - 1}; got {given}")
        numbers.append(given)
    check_classes(numbers)
    return numbers


def relabel(labels: Tensor, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Returns the rows of some classes, in order, and their labels: 0 for the first class that is given, and so on.

    Args:
        labels: (n,) int64.
        numbers: The classes.
    """
    places = torch.full((max(int(labels.max()), *numbers) + 1,), -1)
    places[list(numbers)] = torch.arange(len(numbers))
    rows = (places[labels] >= 0).nonzero()[:, 0]
    return rows, places[labels[rows]]


def stratified(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Returns all rows (n,) int64 in an order whose every beginning has the classes in proportion.

    So the first N rows are a stratified sample of N, and a part of the first N + 1. Each class is in it once the sample
    is as large as the number of classes.

    Source: the divisor method of Adams: the j-th sample of a class of n, from 0, comes at j / n.

    Args:
        labels: (n,) int64.
        generator: Draws which samples of a class come first.
    """
    order = torch.randperm(len(labels), generator=generator)
    _, classes = labels[order].unique(return_inverse=True)
    sizes = classes.bincount()
    by_class = classes.argsort(stable=True)
    within = torch.empty_like(order)
    within[by_class] = torch.arange(len(order)) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    return order[(within / sizes[classes].double()).argsort(stable=True)]


def fewer(labels: Tensor, rows: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    """Returns a stratified sample of rows, in the order in which they are given.

    Args:
        labels: The labels of all samples, (n,) int64.
        rows: The rows to choose from, (m,) int64.
        samples: How many to choose.
        generator: Draws them. The rows for a smaller number are among those for a larger one.

    Raises:
        ConfigError: There are not as many, or not one for each class.
    """
    classes = len(labels[rows].unique())
    if not classes <= samples <= len(rows):
        need = f"from {classes:,}, one for each class, to the training split of {len(rows):,}"
        raise ConfigError("train_samples", f"must be {need}; got {samples:,}")
    chosen = stratified(labels[rows], generator)[:samples]
    return rows[chosen.sort().values]
