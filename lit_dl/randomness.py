"""Random generators: each random number of a run is a function of its seed, the epoch and a named stream.

All global generators are set from (seed, epoch) at the start of each epoch. On several devices the rank is added, so
that dropout differs between them. Data order and initialization have streams of their own, the same on all devices. So
a run that resumes after a completed epoch draws the same numbers as an uninterrupted run, without saved generators.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_dl.seeds import derive


def generator(seed: int, *stream: object) -> torch.Generator:
    """Returns a new CPU generator for one stream, such as `generator(seed, "initialization")`."""
    return torch.Generator().manual_seed(derive(seed, *stream))


def seed_epoch(seed: int, epoch: int, rank: int = 0) -> None:
    """Seeds the generators of Python, NumPy and torch (all devices) for an epoch, counted from 1.

    Rank 0 draws the same numbers as a run on one device. Each other rank has a stream of its own.
    """
    seed_generators(derive(seed, "epoch", epoch, *(("rank", rank) if rank else ())))


def seed_generators(seed: int, device: torch.device | None = None) -> None:
    """Seeds the generators of Python, NumPy and torch.

    Args:
        seed: The seed.
        device: A device to seed beside the CPU. `None`: all devices, which takes a hundred times as long.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if device is None:
        torch.manual_seed(seed)
        return
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


@contextmanager
def kept_generators() -> Iterator[None]:
    """Context manager: gives the global generators the state back that they had before."""
    states = global_states()
    try:
        yield
    finally:
        set_global_states(states)


def global_states() -> dict[str, Any]:
    """Returns the states of the global generators, as plain values and tensors that load without unpickling."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_global_states(states: dict[str, Any]) -> None:
    """Restores what `global_states` returned. CUDA's are restored only when the number of devices is the same."""
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"].cpu())
    cuda: list[Tensor] = [state.cpu() for state in states["cuda"]]
    if cuda and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(cuda)


def run_seed() -> int:
    """Returns the seed of the current run, which Lightning's `seed_everything` keeps; 0 when it was never called."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))
