"""`FinetuneConfig`: the `model.finetune.*` keys, and what they say of each block of a backbone at any time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from lit_dl.errors import ConfigError, unknown_name
from lit_dl.options import NON_NEGATIVE, Range, at_least

STRATEGIES = ("frozen", "full", "gradual", "lp_ft")
_NORMS = ("frozen", "running")
_DECAY = Range("in (0, 1]", lambda value: 0 < value <= 1)


@dataclass(frozen=True)
class FinetuneConfig:
    """Which parts of a backbone are trained, when, and how fast.

    The state of each part is a function of the epoch. So a run that resumes goes on as it was.

    Args:
        strategy: frozen: the new layers alone. full: everything from the first epoch. gradual: the new layers, then one
            more block of the backbone, the last first, every `unfreeze_epochs` (Howard & Ruder 2018, arXiv 1801.06146).
            lp_ft: the new layers for `unfreeze_epochs`, then everything (Kumar et al. 2022, arXiv 2202.10054).
        unfreeze_epochs: Epochs between two steps of gradual, or before the one of lp_ft; 1 or more.
        lr_decay: Factor on the learning rate for each block further from the output, in (0, 1]. Source: the
            discriminative rates of Howard & Ruder 2018, who divide by 2.6.
        warmup_epochs: Epochs over which the learning rate of a block rises from 0 after it was unfrozen, 0 or more.
        norm: Batch norm of parts that are not trained: frozen uses the statistics of the pretraining; running goes on
            updating them.
    """

    strategy: Literal["frozen", "full", "gradual", "lp_ft"] = "frozen"
    unfreeze_epochs: int = 1
    lr_decay: float = 1.0
    warmup_epochs: float = 0.0
    norm: Literal["frozen", "running"] = "frozen"


def check_finetune(config: FinetuneConfig) -> None:
    """Refuses values out of range.

    Raises:
        ConfigError: An unknown strategy or norm, or a number out of range.
    """
    if config.strategy not in STRATEGIES:
        raise unknown_name("strategy", config.strategy, STRATEGIES)
    if config.norm not in _NORMS:
        raise unknown_name("norm", config.norm, _NORMS)
    at_least(1).check("unfreeze_epochs", config.unfreeze_epochs)
    _DECAY.check("lr_decay", config.lr_decay)
    NON_NEGATIVE.check("warmup_epochs", config.warmup_epochs)


def check_finetune_length(config: FinetuneConfig, max_epochs: int | None, devices: int = 1) -> None:
    """Refuses a run that ends before anything is unfrozen, or that unfreezes on several devices.

    Args:
        config: How the backbone is trained.
        max_epochs: Epochs of the run. `None` or -1: no limit is known.
        devices: Number of devices that share every batch.

    Raises:
        ConfigError: The first block would be unfrozen after the last epoch, or on more than one device.
    """
    if config.strategy not in ("gradual", "lp_ft"):
        return
    if devices > 1:
        raise ConfigError(
            "strategy",
            f"must be frozen or full on {devices} devices, because DistributedDataParallel averages the gradients of "
            f"those parameters alone that are trained from the start; got {config.strategy!r}",
        )
    if max_epochs is None or max_epochs < 0:
        return
    if config.unfreeze_epochs >= max_epochs:
        raise ConfigError(
            "unfreeze_epochs",
            f"must be less than trainer.max_epochs={max_epochs}, or nothing is ever unfrozen; "
            f"got {config.unfreeze_epochs}; take strategy frozen for that",
        )


def unfrozen_from(config: FinetuneConfig, depth: int) -> float:
    """Returns after how many epochs a block is trained; infinity: never.

    Args:
        config: How the backbone is trained.
        depth: 0 for the new layers, 1 for the last block of the backbone, 2 for the one before it, and so on.
    """
    if depth == 0 or config.strategy == "full":
        return 0.0
    if config.strategy == "frozen":
        return math.inf
    return float(config.unfreeze_epochs * (depth if config.strategy == "gradual" else 1))


def lr_factor(config: FinetuneConfig, depth: int, elapsed: float) -> float:
    """Returns the factor on the learning rate of a block at a time.

    Args:
        config: How the backbone is trained.
        depth: See `unfrozen_from`.
        elapsed: Epochs since the start of the run, with their fraction.
    """
    since = elapsed - unfrozen_from(config, depth)
    if since < 0:
        return 0.0
    # The first step of a warm-up has a rate above 0, as that of `schedule.warmup_epochs`.
    warm = min(1.0, since / config.warmup_epochs) if depth and config.warmup_epochs else 1.0
    return warm * float(config.lr_decay**depth)
