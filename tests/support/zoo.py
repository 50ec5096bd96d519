# ruff: noqa: B006, B008, RUF009, UP042 - as people write it
"""A module of someone else's with an argument of every kind of type, which logs what it was given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from inspect import isfunction
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self
from zlib import crc32

import torch
from foreign import Ones, Scripted
from lightning.pytorch import LightningModule
from torch import nn


class Mode(str, Enum):
    """A choice whose values are texts that are not its names."""

    ADAPTIVE = "adaptive"
    FIXED = "fixed"


class Size(Enum):
    """A choice whose values are numbers."""

    SMALL = 4
    LARGE = 8


@dataclass
class Options:
    """A group of arguments."""

    name: str = "adam"
    lr: float = 1e-3
    sizes: list[int] = field(default_factory=lambda: [1])


@dataclass
class Parts:
    """A group of arguments that are objects."""

    loss: nn.Module = field(default_factory=nn.CrossEntropyLoss)
    device: torch.device = torch.device("cpu")
    size: Size = Size.SMALL


class Point(NamedTuple):
    """A tuple with names."""

    x: int = 1
    y: float = 2.0


class Gain(nn.Module):
    """A part with an object for a default."""

    def __init__(self, gain: float = 1.0, device: torch.device = torch.device("cpu"), mode: Mode = Mode.FIXED) -> None:
        super().__init__()
        self.given = described([gain, device, mode])

    def extra_repr(self) -> str:
        return self.given


def described(value: Any) -> str:
    """A text that is equal for equal values of equal types, in every process."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {described(part)}' for key, part in value.items())}}}"
    if isinstance(value, set | frozenset):
        return f"set{sorted(map(described, value))}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(map(described, value))})"
    return value.__qualname__ if isfunction(value) else repr(value)


class Described(Scripted):
    """Logs a number that differs when its arguments do, and saves no hyperparameters."""

    def __init__(self, given: dict[str, Any]) -> None:
        LightningModule.__init__(self)
        self.given = described({name: value for name, value in given.items() if name not in ("self", "__class__")})
        self.weight, self.lr = nn.Parameter(torch.zeros(())), 1.0
        self.figures = [float(crc32(self.given.encode()) % 2**20)] * 9


class Defaults(Described):
    """The defaults of its arguments are objects."""

    def __init__(
        self,
        loss=nn.CrossEntropyLoss(),
        device=torch.device("cpu"),
        steps=range(3),
        shape=(3, 4),
        log=print,
        identity=lambda x: x,
        data_type=torch.float32,
        kind=nn.ReLU,
        mode=Mode.FIXED,
        size=Size.LARGE,
        by_number={1: "a"},
        version="1.0",
        layers: list[int] = (32, 32),  # type: ignore[assignment]
        mode_as_text: str = Mode.ADAPTIVE,
        typed_loss: nn.Module = nn.CrossEntropyLoss(label_smoothing=0.1),
        typed_mode: Mode = Mode.ADAPTIVE,
        typed_size: Size = Size.SMALL,
        typed_identity: Callable[[Any], Any] = lambda x: x,
        groups: list[Options] = [Options("sgd")],
        parts: Parts = Parts(nn.MSELoss(), size=Size.LARGE),
        maybe_parts: Parts | None = Parts(nn.MSELoss()),
        mode_or_text: Mode | str = Mode.FIXED,
        limit: float = float("inf"),
        weights=torch.ones(2),
        bound={"a": torch.Size([1, 2])},
    ) -> None:
        super().__init__(locals())


class Zoo(Described):
    """Its arguments have types of all kinds."""

    def __init__(
        self,
        needed: int,
        text: str = "a",
        optional: int | None = None,
        union: int | list[int] | str = 3,
        literal: Literal["a", "b", 3] = "a",
        mode: Mode = Mode.ADAPTIVE,
        maybe_size: Size | None = None,
        sizes: list[Size] | None = None,
        folder: Path = Path("a/b"),
        wait: timedelta = timedelta(seconds=90),
        pair: tuple[int, float] = (1, 2.0),
        numbers: tuple[int, ...] = (),
        names: set[str] | None = None,
        table: dict[str, float] | None = None,
        by_number: dict[int, str] | None = None,
        anything: dict | None = None,  # type: ignore[type-arg]
        group: Options = Options(),
        maybe_group: Options | None = None,
        groups: list[Options] | None = None,
        part: nn.Module | None = None,
        parts: list[nn.Module] | None = None,
        parts_by_name: dict[str, nn.Module] | None = None,
        function: Callable[..., Any] = torch.nn.functional.relu,
        kind: type[nn.Module] = nn.ReLU,
        make: Callable[[Iterable[Any]], torch.optim.Optimizer] | None = None,
        point: Point | None = None,
        limit: float = 1.0,
        items: int = 0,
        cls: str = "cls",
    ) -> None:
        super().__init__(locals() | {"make": make and make([nn.Parameter(torch.zeros(1))])})


def build_zoo(needed: int = 1, size: Size | None = None) -> Zoo:
    """A function that makes a module.

    Args:
        needed: Any number.
        size: Any size.
    """
    return Zoo(needed, maybe_size=size)


def build_any(needed: int = 1) -> LightningModule:
    """A function that does not say which module it makes."""
    return Zoo(needed)


def build_nothing() -> Zoo:
    """A function that does not do what it says."""
    return None  # type: ignore[return-value]


def build_ones(count: int = 2) -> Ones:
    """A function that makes a data module."""
    return Ones(3, count)


def build_refusing(needed: int) -> Zoo:
    """A function that refuses its argument."""
    raise ValueError(f"not {needed}")


class Made(Zoo):
    """Has ways to be made."""

    class Inner(Zoo):
        """Is inside of another class."""

    @classmethod
    def typed(cls, needed: int) -> Made:
        return cls(needed)

    @classmethod
    def annotated_self(cls, needed: int) -> Self:
        return cls(needed)

    @classmethod
    def untyped(cls, needed: int):  # type: ignore[no-untyped-def]
        return cls(needed)


class MadeAgain(Made):
    """Inherits them."""
