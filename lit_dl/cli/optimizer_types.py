"""Reads the annotation of an optimizer or a scheduler as that of a function which makes one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from types import UnionType
from typing import Any, Union, get_args, get_origin

from torch import optim
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

_MODULES = {optim: Optimizer, lr_scheduler: LRScheduler | None}
_UNIONS = (Union, UnionType)


def as_callable(annotation: Any) -> Any:
    """Returns an annotation in which each optimizer or scheduler has become a function that makes it.

    A config cannot hold an optimizer, which needs parameters, or a scheduler, which needs an optimizer. A module with
    such an annotation is given the class and its other arguments as a `functools.partial`, and calls it: with Hydra by
    `_partial_: true`, here as `OptimizerCallable` and `LRSchedulerCallable` of LightningCLI.

    Args:
        annotation: Any, also the modules `torch.optim` and `torch.optim.lr_scheduler`, which people write for a class.
            The latter includes null: it is no type that could say so itself.
    """
    if inspect.ismodule(annotation):
        annotation = _MODULES.get(annotation, annotation)
    if inspect.isclass(annotation) and issubclass(annotation, Optimizer):
        return Callable[[Iterable[Any]], annotation]
    if inspect.isclass(annotation) and issubclass(annotation, LRScheduler):
        return Callable[[Optimizer], annotation]
    origin, arguments = get_origin(annotation), tuple(map(as_callable, get_args(annotation)))
    if origin not in (*_UNIONS, list, tuple, dict) or arguments == get_args(annotation):
        return annotation
    return Union[arguments] if origin in _UNIONS else origin[arguments]  # noqa: UP007 - of a tuple
