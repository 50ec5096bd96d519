"""Runs that the tests interrupt and resume, and what they leave; as a program, one rank of several that does so:
`python resumable.py FOLDER CONFIG_AS_JSON`.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lit_dl.cli.lit_cli import build_run
from lit_dl.run.epoch_rows import read_rows
from lit_dl.run.run_result import RunLocation

Config = dict[str, Any]

_DRAWING = {"model__network__dropout": 0.3, "model__network__norm": "before", "seed_everything": 3}
_BACKBONE = {"width": [12, 8], "norm": "before", "dropout": 0.2, "input_shape": [1, 8, 8]}  # with random weights
_FINETUNING: Config = {
    "model__network__kind": "backbone",
    "model__network__backbone": {"network": _BACKBONE},
    "model__network__width": [6],
    "trainer__max_epochs": 4,
}
SETTINGS: dict[str, Config] = {
    "a backbone unfrozen block by block": {
        **_FINETUNING,
        "model__optimizer__name": "momentum",
        "model__finetune": {"strategy": "gradual", "lr_decay": 0.5, "warmup_epochs": 0.5},
    },
    "a backbone unfrozen at once, one step at a time": {
        **_FINETUNING,
        "model__optimizer__name": "adam",
        "model__steps_per_execution": 1,
        "model__finetune": {"strategy": "lp_ft"},
    },
    "momentum, dropout, noise, batch norm": {
        **_DRAWING,
        "model__optimizer__name": "momentum",
        "model__optimizer__lr": 0.05,
        "trainer__max_epochs": 4,
    },
    "adam, one step at a time": {
        **_DRAWING,
        "model__optimizer__name": "adam",
        "model__optimizer__lr": 0.01,
        "model__steps_per_execution": 1,
        "trainer__max_epochs": 4,
    },
    "plateau": {
        "model__optimizer__lr": 2.0,
        "model__schedule__name": "plateau",
        "model__schedule__patience": 1,
        "trainer__max_epochs": 7,
        "early_stopping__patience": None,
    },
    "accumulation and clipping": {
        **_DRAWING,
        "trainer__accumulate_grad_batches": 3,
        "trainer__gradient_clip_val": 0.1,
        "trainer__max_epochs": 4,
    },
    "accumulation and clipping, one step at a time": {
        **_DRAWING,
        "model__steps_per_execution": 1,
        "trainer__accumulate_grad_batches": 3,
        "trainer__gradient_clip_val": 0.1,
        "trainer__max_epochs": 4,
    },
    "validation every second epoch": {**_DRAWING, "trainer__check_val_every_n_epoch": 2, "trainer__max_epochs": 5},
    "validation twice an epoch": {**_DRAWING, "trainer__val_check_interval": 0.5, "trainer__max_epochs": 4},
    "a share of the batches": {**_DRAWING, "trainer__limit_train_batches": 0.5, "trainer__max_epochs": 4},
    "some batches": {**_DRAWING, "trainer__limit_train_batches": 5, "trainer__max_epochs": 4},
    "a limit of steps": {**_DRAWING, "trainer__max_steps": 45, "trainer__max_epochs": 9},
    "warm-up and cosine": {
        "model__schedule__name": "cosine",
        "model__schedule__warmup_epochs": 1.5,
        "trainer__max_epochs": 4,
    },
    "augmentation": {
        **_DRAWING,
        "data__augment": [
            {"class_path": "torchvision.transforms.v2.RandomAffine", "init_args": {"degrees": 20, "shear": 5}},
            {"class_path": "torchvision.transforms.v2.GaussianNoise"},
            {"class_path": "torchvision.transforms.v2.ColorJitter", "init_args": {"brightness": 0.3}},
        ],
        "trainer__max_epochs": 4,
    },
    "long epochs": {"data__batch_size": 2, "model__steps_per_execution": 1, "trainer__max_epochs": 4},
}


class Interrupted(BaseException):
    """Stands for a kill."""


class At(Callback):
    """Ends a run when a hook is called in an epoch, at a batch where it has one."""

    def __init__(self, hook: str, epoch: int, batch: int = 0) -> None:
        def end(trainer: Trainer, pl_module: LightningModule, *given: Any) -> None:
            is_there = len(given) < 2 or given[1 if "start" in hook else 2] == batch
            if trainer.current_epoch + 1 == epoch and is_there:
                raise Interrupted

        setattr(self, hook, end)


class Stopper(Checkpoint):
    """Stops the run after an epoch, and knows so in its next attempt.

    Args:
        epoch: The epoch, from 1; 0 for none.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch, self.epochs, self.stops = epoch, 0, False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop |= self.stops

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epochs += 1
        self.stops |= trainer.current_epoch + 1 == self.epoch
        trainer.should_stop |= self.stops

    def state_dict(self) -> Config:
        return {"stops": self.stops}

    def load_state_dict(self, state_dict: Config) -> None:
        self.stops = state_dict["stops"]


class Interrupter(Callback):
    """Ends a run when an epoch is complete.

    Args:
        epoch: The epoch, from 1.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            raise Interrupted


class Forgetful(Callback):
    """Stops the run after an epoch, and has no state.

    Args:
        epoch: The epoch, from 1.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch + 1 == self.epoch:
            trainer.should_stop = True


class Shuffled(LightningModule):
    """A small network with dropout on random points, with a shuffling DataLoader of its own.

    Args:
        plateau: Whether its learning rate falls when the training loss does not.
        own: Whether its DataLoader has a generator of its own.
        workers: Processes of the DataLoader.
        draws: Whether the points are drawn when the DataLoader is made.
    """

    def __init__(self, plateau: bool = False, own: bool = False, workers: int = 0, draws: bool = False) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))
        self.plateau, self.own, self.workers, self.draws = plateau, own, workers, draws
        fixed = torch.Generator().manual_seed(0)
        self.points = torch.randn(40, 3, generator=fixed)

    def _loader(self, shuffle: bool) -> DataLoader[Any]:
        points = torch.randn(40, 3) if self.draws else self.points
        generator = torch.Generator().manual_seed(1) if self.own and shuffle else None
        options: Config = {"num_workers": self.workers, "generator": generator}
        return DataLoader(TensorDataset(points, points.sum(1)), 8, shuffle=shuffle, **options)

    def train_dataloader(self) -> DataLoader[Any]:
        return self._loader(True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(False)

    def _loss(self, batch: list[Tensor]) -> Tensor:
        return (self.net(batch[0]).squeeze(1) - batch[1]).square().mean()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self._loss(batch)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", self._loss(batch))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
        if not self.plateau:
            return optimizer
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.9)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "train_loss"}}


def foreign(name: str) -> Config:
    """A config of a module that is not ours."""
    arguments: dict[str, Config] = {
        "plateau": {"plateau": True},
        "own generator": {"own": True},
        "new loaders": {"draws": True},
        "workers": {"workers": 1},
    }
    trainer: Config = {"max_epochs": 5, "accelerator": "cpu"}
    model: Config = {"class_path": "resumable.Shuffled", "init_args": arguments.get(name, {})}
    config: Config = {"model": model, "trainer": trainer, "tracking": {"wandb": "disabled"}, "seed_everything": 5}
    if name == "two moons":
        config["model"] = {"class_path": "examples.two_moons.MoonsNet", "init_args": {"hidden": 8, "dropout": 0.2}}
        config["data"] = {"class_path": "examples.two_moons.MoonsData", "init_args": {"points": 300}}
        config["checkpoint"] = config["early_stopping"] = {"monitor": "valid_loss"}
    if name == "no validation":
        trainer["limit_val_batches"] = 0
    if name == "new loaders":
        trainer["reload_dataloaders_every_n_epochs"] = 1
    return config


def run_in(config: Config, folder: Path, callbacks: list[Callback] | None = None) -> dict[str, Any]:
    """Starts a run, or goes on with it, to its end; gives what it left."""
    run = build_run(config, RunLocation(folder, folder.name), callbacks)
    run.check()
    run.open()
    run.fit(resume=True)
    result = run.close()
    left = outcome(folder)
    rows = [{name: value for name, value in row.items() if name != "elapsed_s"} for row in run.rows]
    assert _plain(left["rows"]) == _plain(rows)
    seconds = result.seconds
    values = {name: value for name, value in asdict(result).items() if name not in ("seconds", "peak_memory_bytes")}
    weights = {name: value.clone() for name, value in run.module.state_dict().items()}
    return {**left, "result": values, "restored": weights, "resumed_from": run.resumed_from, "seconds": seconds}


def outcome(folder: Path) -> dict[str, Any]:
    """The files of a run as values: tables, weights and optimizer states of its checkpoints."""
    left: dict[str, Any] = {}
    rows = read_rows(folder / "metrics.csv")
    left["rows"] = [{name: value for name, value in row.items() if name != "elapsed_s"} for row in rows]
    if (folder / "diagnostics.csv").exists():
        left["diagnostics"] = (folder / "diagnostics.csv").read_text()
    for path in sorted((folder / "checkpoints").iterdir()):
        saved = torch.load(path, weights_only=True)
        left[path.stem] = saved["state_dict"]
        left[f"{path.stem} state"] = {name: saved[name] for name in ("epoch", "global_step", "optimizer_states")}
    return left


def compare(parts: dict[str, Any], whole: dict[str, Any]) -> None:
    """Both runs left the same, to the last digit."""
    beside = ("resumed_from", "seconds")
    for name in whole:
        if name not in beside:
            assert _plain(parts[name]) == _plain(whole[name]), name


def _plain(value: Any) -> Any:
    """Tensors as lists, folders left out, and not a number as a text, which equals itself."""
    if isinstance(value, Tensor):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Path):
        return value.name
    return "nan" if value != value else value


def on_ranks(folder: Path, config: Config) -> None:
    """A whole run, and one that is interrupted and resumed, by this rank of several; writes down what both came to."""
    whole = run_in(config, folder / "whole")
    with suppress(Interrupted):
        run_in(config, folder / "parts", [Interrupter(2)])
    parts = run_in(config, folder / "parts")
    assert parts["resumed_from"] == 2
    compare(parts, whole)
    left = [whole["rows"], whole["result"]["best_epoch"], whole["result"]["stopped"]]
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(left))


if __name__ == "__main__":
    torch.set_num_threads(1)
    on_ranks(Path(sys.argv[1]), json.loads(sys.argv[2]))
