"""Where every random number of a run comes from: its seed, the epoch, and what the number is for.

At the start of each epoch all generators are set from (seed, epoch); data order and initialization have streams of
their own. So a run that resumes after a completed epoch draws what the uninterrupted run would have drawn, with no
generator saved.
"""

from __future__ import annotations

import os
import random
from hashlib import blake2b

import numpy as np
import torch


def derive(seed: int, *stream: object) -> int:
    """A seed for one stream, in [0, 2**63): the same for the same arguments on every machine, unrelated for others.

    >>> derive(0, "order", 1) == derive(0, "order", 1) != derive(0, "order", 2)
    True
    """
    text = "/".join(map(str, (seed, *stream)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *stream: object) -> torch.Generator:
    """A CPU generator of its own for one stream."""
    return torch.Generator().manual_seed(derive(seed, *stream))


def seed_epoch(seed: int, epoch: int) -> None:
    """Sets the generators of Python, NumPy and torch (every device) for `epoch`, counted from 1."""
    value = derive(seed, "epoch", epoch)
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


def run_seed() -> int:
    """The seed of the run in progress, as Lightning's `seed_everything` keeps it; 0 when it was never called."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))
