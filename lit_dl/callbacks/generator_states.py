"""The states of random generators, kept in checkpoints."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import CombinedLoader
from torch import Generator, Tensor

_KEY = "generator_states"


class GeneratorStates(Callback):
    """Saves the states of the generators of Python, NumPy and torch (CPU and every CUDA device), and of those that the
    training DataLoaders or their samplers were given; a run that is resumed from the end of an epoch goes on with them.

    Within an epoch our generators are set from (seed, epoch) anyway. This is for what is drawn before that: by
    DataLoaders that are made anew for an epoch (`reload_dataloaders_every_n_epochs=1`), by callbacks that come before
    ours, by a `DataLoader(generator=...)`, whose state goes on from epoch to epoch.

    Together they make a resumed run equal the uninterrupted one to the last digit, for a module and data of any kind,
    but for what nobody can restore:

    - generators and counters of the user's own objects (a dataset, a transform, a sampler that keeps a state not in
      `generator`, the generator of a validation DataLoader), unless the module or data module saves them by itself;
    - the worker processes of a DataLoader with `persistent_workers`: they start anew, with other generators;
    - DataLoaders that are made anew every two or more epochs and draw while they are made;
    - a place within an epoch: what was done since the last completed epoch is done again;
    - kernels on a GPU whose results differ from run to run;
    - with several devices, the states of ranks other than 0.
    """

    def __init__(self) -> None:
        self._saved: dict[str, Any] | None = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        checkpoint[_KEY] = {
            **global_states(),
            "loaders": [generator.get_state() for generator in _generators_of_loaders(trainer)],
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        self._saved = checkpoint.get(_KEY)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        saved, self._saved = self._saved, None
        if saved is None or trainer.world_size > 1:
            return
        set_global_states(saved)
        for generator, state in zip(_generators_of_loaders(trainer), saved["loaders"], strict=False):
            generator.set_state(state)


def global_states() -> dict[str, Any]:
    """The states of the generators that a process has, as plain values and tensors, which load without unpickling."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_global_states(states: dict[str, Any]) -> None:
    """Sets the generators to `global_states` of before; those of CUDA where there are as many devices."""
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"].cpu())
    cuda: list[Tensor] = [state.cpu() for state in states["cuda"]]
    if cuda and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(cuda)


def _generators_of_loaders(trainer: Trainer) -> list[Generator]:
    """The generators that the training DataLoaders and their samplers were given, each once, always in one order."""
    loaders = CombinedLoader(trainer.train_dataloader).flattened if trainer.train_dataloader is not None else []
    found: dict[int, Generator] = {}
    for loader in loaders:
        batches = getattr(loader, "batch_sampler", None)
        for owner in (loader, getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None)):
            generator = getattr(owner, "generator", None)
            if isinstance(generator, Generator):
                found[id(generator)] = generator
    return list(found.values())
