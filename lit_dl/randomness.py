"""Where every random number of a run comes from: its seed, the epoch, and what the number is for.

At the start of each epoch all generators are set from (seed, epoch), and on several devices from the rank too, so that
dropout differs between them; data order and initialization have streams of their own, the same on all devices. So a run
that resumes after a completed epoch draws what the uninterrupted run would have drawn, with no generator saved.
"""

from __future__ import annotations

import os
import random

import numpy as np
import torch

from lit_dl.seeds import derive


def generator(seed: int, *stream: object) -> torch.Generator:
    """A CPU generator of its own for one stream."""
    return torch.Generator().manual_seed(derive(seed, *stream))


def seed_epoch(seed: int, epoch: int, rank: int = 0) -> None:
    """Sets the generators of Python, NumPy and torch (every device) for `epoch`, counted from 1.

    Rank 0 draws what a run on one device draws; each other rank has a stream of its own.
    """
    value = derive(seed, "epoch", epoch, *(("rank", rank) if rank else ()))
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


def run_seed() -> int:
    """The seed of the run in progress, as Lightning's `seed_everything` keeps it; 0 when it was never called."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))
