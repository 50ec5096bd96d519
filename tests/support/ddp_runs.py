"""A program for test_ddp.py: makes runs from configs, as one of several processes or as the only one.

`python tests/ddp_runs.py CONFIGS.json OUT` reads {name: config} and writes {name: what came out}, by torch, into OUT.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, Subset, TensorDataset

from lit_dl.cli.lit_cli import build_run

Result = dict[str, Any]


class Noted(Checkpoint):
    """What shows whether processes train together; a `Checkpoint`, to be called when the module has ended its epoch."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []  # weights and buffers after every epoch
        self.gradients: list[Tensor] = []  # of every step
        self.numbers: list[float] = []  # what every epoch draws first

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            state = torch.get_rng_state()
            self.numbers.append(float(torch.rand(())))
            torch.set_rng_state(state)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        gradients = [weight.grad for weight in pl_module.parameters() if weight.grad is not None]
        self.gradients.append(torch.cat([gradient.flatten() for gradient in gradients]))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.states.append({name: value.clone() for name, value in pl_module.state_dict().items()})


class Loaded(LightningDataModule):
    """Someone else's data: 60 samples to train on and 20 to validate, by DataLoaders; `batch_size` on each device."""

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(80, 1, 8, 8, generator=generator, dtype=torch.float64)
        self.data = TensorDataset(inputs, inputs.flatten(1)[:, :10].argmax(1))

    def _loader(self, rows: range) -> DataLoader[Any]:
        assert self.trainer is not None
        data = Subset(self.data, rows)
        share = DistributedSampler(data, self.trainer.world_size, self.trainer.global_rank, shuffle=False)
        return DataLoader(data, self.batch_size, sampler=share)  # without one Lightning adds one that shuffles

    def train_dataloader(self) -> DataLoader[Any]:
        return self._loader(range(60))

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(range(60, 80))


def result(config: dict[str, Any]) -> Result:
    """What a run of a config gives, epoch by epoch, and on the test set."""
    noted = Noted()
    run = build_run(config, callbacks=[noted])
    run.check()
    run.open()
    run.fit()
    rows = [{name: value for name, value in row.items() if name != "elapsed_s"} for row in run.rows]
    test = run.test() if "class_path" not in config["data"] else {}
    run.close()
    seen = {name: getattr(noted, name) for name in ("states", "gradients", "numbers")}
    return {"rows": rows, "test": test, **seen}


def main(configs: Path, out: Path) -> None:
    """Makes the runs, with warnings as errors."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", ".*treespec, LeafSpec.*")  # as in pyproject.toml
    warnings.filterwarnings("ignore", ".*does not have many workers.*")  # of a DataLoader
    torch.set_num_threads(1)
    torch.save({name: result(config) for name, config in json.loads(configs.read_text()).items()}, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
