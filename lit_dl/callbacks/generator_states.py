"""A callback that keeps the states of random generators in checkpoints."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import CombinedLoader
from torch import Generator

from lit_dl.randomness import global_states, set_global_states

_KEY = "generator_states"


class GeneratorStates(Callback):
    """Saves the states of the generators of Python, NumPy and torch (CPU and all CUDA devices), and of the generators
    that the training DataLoaders and their samplers were given. A run that resumes from the end of an epoch restores
    them.

    `EpochSeeds` seeds the global generators at the start of each epoch. This callback covers all else that draws:
    DataLoaders that are made anew for an epoch (`reload_dataloaders_every_n_epochs=1`), callbacks that come before
    `EpochSeeds`, and a `DataLoader(generator=...)`, because its state continues from epoch to epoch.

    Together they make a resumed run equal an uninterrupted one to the last digit, for any module and data, except:

    - generators and counters of the user's own objects (a dataset, a transform, a sampler with a state outside of
      `generator`, the generator of a validation DataLoader), unless the module or data module saves them itself;
    - the worker processes of a DataLoader with `persistent_workers`, which start anew with other generators;
    - DataLoaders that are made anew every two or more epochs and draw while they are made;
    - a position within an epoch: what was done since the last completed epoch is done again;
    - GPU kernels with results that differ from run to run;
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


def _generators_of_loaders(trainer: Trainer) -> list[Generator]:
    """Returns the generators of the training DataLoaders and their samplers, without duplicates, in a fixed order."""
    loaders = CombinedLoader(trainer.train_dataloader).flattened if trainer.train_dataloader is not None else []
    found: dict[int, Generator] = {}
    for loader in loaders:
        batches = getattr(loader, "batch_sampler", None)
        for owner in (loader, getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None)):
            generator = getattr(owner, "generator", None)
            if isinstance(generator, Generator):
                found[id(generator)] = generator
    return list(found.values())
