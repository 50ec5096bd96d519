from __future__ import annotations

import hashlib
import os
import random

import numpy as np
import torch
from lightning.pytorch import seed_everything

from lit_dl.randomness import generator, run_seed, seed_epoch
from lit_dl.seeds import derive


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), float(torch.rand(()))


def test_derived_seeds_never_change() -> None:
    """A published figure is repeated from its seed alone: 63 bits of BLAKE2b over `seed/stream/...`."""
    digest = hashlib.blake2b(b"0/order/1", digest_size=8).hexdigest()
    assert derive(0, "order", 1) == int(digest, 16) // 2


def test_streams_epochs_and_seeds_do_not_meet() -> None:
    seeds = {derive(seed, stream, epoch) for seed in range(10) for stream in ("order", "epoch") for epoch in range(50)}
    seeds |= {derive(seed, "split") for seed in range(10)}
    assert len(seeds) == 10 * 2 * 50 + 10
    assert derive(1, 11) != derive(11, 1)


def test_a_generator_repeats_its_stream_and_leaves_the_global_one() -> None:
    before = torch.get_rng_state()
    first = torch.rand(5, generator=generator(3, "a"))
    assert torch.equal(torch.rand(5, generator=generator(3, "a")), first)
    assert not torch.equal(torch.rand(5, generator=generator(3, "b")), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_seed_epoch_sets_python_numpy_and_torch() -> None:
    seed_epoch(0, 1)
    first = drawn()
    seed_epoch(0, 2)
    second = drawn()
    seed_epoch(1, 1)
    other = drawn()
    seed_epoch(0, 1)
    assert drawn() == first
    for number in range(3):
        assert len({first[number], second[number], other[number]}) == 3


def test_seeds_of_an_epoch_never_change_and_ranks_have_their_own() -> None:
    for rank, stream in ((0, b"3/epoch/2"), (1, b"3/epoch/2/rank/1"), (7, b"3/epoch/2/rank/7")):
        seed_epoch(3, 2, rank)
        assert torch.initial_seed() == int(hashlib.blake2b(stream, digest_size=8).hexdigest(), 16) // 2


def test_run_seed_is_lightnings() -> None:
    os.environ.pop("PL_GLOBAL_SEED", None)
    assert run_seed() == 0
    seed_everything(17, verbose=False)
    assert run_seed() == 17
