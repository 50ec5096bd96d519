"""Which blocks of a backbone are trained at a time, and how fast."""

from __future__ import annotations

from math import inf

import pytest

from lit_dl.errors import ConfigError
from lit_dl.nn.finetuning import FinetuneConfig, check_finetune, check_finetune_length, lr_factor, unfrozen_from


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"strategy": "frozen"}, [0, inf, inf, inf]),
        ({"strategy": "full"}, [0, 0, 0, 0]),
        ({"strategy": "gradual"}, [0, 1, 2, 3]),
        ({"strategy": "gradual", "unfreeze_epochs": 2}, [0, 2, 4, 6]),
        ({"strategy": "lp_ft", "unfreeze_epochs": 3}, [0, 3, 3, 3]),
    ],
)
def test_a_block_is_unfrozen_by_its_depth(values: dict[str, str], expected: list[float]) -> None:
    assert [unfrozen_from(FinetuneConfig(**values), depth) for depth in range(4)] == expected  # type: ignore[arg-type]


def test_rates_decay_with_depth_and_rise_after_unfreezing() -> None:
    config = FinetuneConfig(strategy="lp_ft", unfreeze_epochs=2, lr_decay=0.5, warmup_epochs=1)
    assert [lr_factor(config, 0, elapsed) for elapsed in (0.0, 1.5, 9.0)] == [1.0, 1.0, 1.0]
    assert [lr_factor(config, 2, elapsed) for elapsed in (0.0, 1.99, 2.0, 2.5, 3.0, 9.0)] == [
        0.0,
        0.0,
        0.0,
        0.125,
        0.25,
        0.25,
    ]


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"strategy": "gradul"}, "strategy: 'gradul' is not one of .*did you mean 'gradual'"),
        ({"norm": "fixed"}, "norm: 'fixed' is not one of frozen, running"),
        ({"unfreeze_epochs": 0}, "unfreeze_epochs: must be 1 or more"),
        ({"lr_decay": 0}, r"lr_decay: must be in \(0, 1\]; got 0"),
        ({"lr_decay": 1.1}, r"lr_decay: must be in \(0, 1\]; got 1.1"),
        ({"lr_decay": float("nan")}, r"lr_decay: must be in \(0, 1\]; got nan"),
        ({"warmup_epochs": -1}, "warmup_epochs: must be 0 or more"),
    ],
)
def test_values_out_of_range(values: dict[str, float], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        check_finetune(FinetuneConfig(**values))  # type: ignore[arg-type]


def test_nothing_to_unfreeze_before_the_end() -> None:
    gradual = FinetuneConfig(strategy="gradual", unfreeze_epochs=3)
    with pytest.raises(ConfigError, match=r"unfreeze_epochs: must be less than trainer.max_epochs=3.*got 3"):
        check_finetune_length(gradual, 3)
    for length in (4, -1, None):
        check_finetune_length(gradual, length)
    check_finetune_length(FinetuneConfig(strategy="frozen", unfreeze_epochs=3), 3)


def test_unfreezing_needs_one_device() -> None:
    with pytest.raises(ConfigError, match="strategy: must be frozen or full on 2 devices"):
        check_finetune_length(FinetuneConfig(strategy="lp_ft"), 9, devices=2)
    check_finetune_length(FinetuneConfig(strategy="full"), 9, devices=2)
