"""Random generators: each random number of a run is a function of its seed, the epoch and a named stream.

All global generators are set from (seed, epoch) at the start of each epoch. On several devices the rank is added, so
that dropout differs between them. Data order and initialization have streams of their own, the same on all devices. So
a run that resumes after a completed epoch draws the same numbers as an uninterrupted run, without saved generators.
"""

from __future__ import annotations

import os
import random

import numpy as np
import torch

from lit_dl.seeds import derive


def generator(seed: int, *stream: object) -> torch.Generator:
    """Returns a new CPU generator for one stream, such as `generator(seed, "initialization")`."""
    return torch.Generator().manual_seed(derive(seed, *stream))


def seed_epoch(seed: int, epoch: int, rank: int = 0) -> None:
    """Seeds the generators of Python, NumPy and torch (all devices) for an epoch, counted from 1.

    Rank 0 draws the same numbers as a run on one device. Each other rank has a stream of its own.
    """
    value = derive(seed, "epoch", epoch, *(("rank", rank) if rank else ()))
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


def run_seed() -> int:
    """Returns the seed of the current run, which Lightning's `seed_everything` keeps; 0 when it was never called."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))
