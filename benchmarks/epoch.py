"""Measures the CPU time of epochs with this project, with a hand-written loop, and in the usual way.

The network is 784-300-100-10, the batch size 50, on one thread. A run of this project has metrics, checkpoints of the
best and the last epoch, early stopping and W&B offline. The loop has what a careful person writes: forward, backward,
step, running loss and accuracy, validation. The usual way is torchvision's MNIST through transforms and a DataLoader,
with torchmetrics and `self.log` at every step.

    python benchmarks/epoch.py [--pairs 5] [--optimizer sgd] [--usual]
"""

from __future__ import annotations

import argparse
import gzip
import logging
import tempfile
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from pairs import circumstances, paired, ratio, spread
from torch import Tensor

from lit_dl import Classifier
from lit_dl.cli.lit_cli import build_run
from lit_dl.data.idx import ASSETS, read_idx_pair
from lit_dl.optim.optimizers import OptimizerConfig, build_optimizer
from lit_dl.run.run_result import RunLocation

EPOCHS = 2
WIDTH = [300, 100]


def project_run(optimizer: str, steps_per_execution: int) -> None:
    """Trains EPOCHS epochs as a worker of a sweep does."""
    config = {
        "model": {
            "network": {"width": WIDTH},
            "optimizer": {"name": optimizer},
            "steps_per_execution": steps_per_execution,
        },
        "data": {"batch_size": 50},
        "trainer": {"max_epochs": EPOCHS, "accelerator": "cpu"},
        "threads": 1,
    }
    with tempfile.TemporaryDirectory() as folder:
        run = build_run(config, RunLocation(Path(folder), "benchmark", wandb="offline"))
        run.open()
        run.fit()
        run.close()


def loop(optimizer: str) -> None:
    """Trains the same epochs by a hand-written loop."""
    network = Classifier(network={"width": WIDTH}).network
    step = build_optimizer(OptimizerConfig(name=optimizer), [{"params": list(network.parameters())}])
    images, labels = _train_tensors()
    train, held_out = (images[5000:], labels[5000:]), (images[:5000], labels[:5000])
    for _ in range(EPOCHS):
        order = torch.randperm(len(train[1]))
        total, correct = 0.0, 0
        for start in range(0, len(order), 50):
            rows = order[start : start + 50]
            batch, target = train[0][rows], train[1][rows]
            logits = network(batch)
            loss = F.cross_entropy(logits, target)
            step.zero_grad()
            loss.backward()
            step.step()
            total += loss.item() * len(rows)
            correct += int((logits.argmax(1) == target).sum())
        with torch.no_grad():
            for start in range(0, 5000, 1000):
                logits = network(held_out[0][start : start + 1000])
                total += float(F.cross_entropy(logits, held_out[1][start : start + 1000]))


def _train_tensors(cache: list[tuple[Tensor, Tensor]] = []) -> tuple[Tensor, Tensor]:  # noqa: B006 - a cache
    if not cache:
        images, labels = read_idx_pair(None, "train", True)
        cache.append((images.float() / 255, labels))
    return cache[0]


def usual(optimizer: str) -> None:
    """Trains the same epochs as tutorials write them."""
    from lightning.pytorch import LightningModule, Trainer
    from torch import nn
    from torch.utils.data import DataLoader, Subset
    from torchmetrics.classification import MulticlassAccuracy
    from torchvision import transforms
    from torchvision.datasets import MNIST

    class Usual(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(
                nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)
            )
            self.accuracy = nn.ModuleDict({name: MulticlassAccuracy(10, average="micro") for name in ("trn", "val")})

        def _shared(self, batch: list[Tensor], name: str) -> Tensor:
            logits = self.net(batch[0])
            loss = F.cross_entropy(logits, batch[1])
            self.accuracy[name](logits, batch[1])
            self.log(f"{name}_loss", loss, on_step=name == "trn", on_epoch=True)
            self.log(f"{name}_acc", self.accuracy[name], on_step=False, on_epoch=True)
            return loss

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return self._shared(batch, "trn")

        def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
            self._shared(batch, "val")

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return build_optimizer(OptimizerConfig(name=optimizer), [{"params": list(self.parameters())}])

    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for path in ASSETS.glob("*.gz"):
            (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        normalize = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
        digits = MNIST(folder, transform=normalize)
        trainer = Trainer(max_epochs=EPOCHS, accelerator="cpu", logger=False, default_root_dir=folder)
        trainer.fit(
            Usual(),
            DataLoader(Subset(digits, range(5000, 60000)), 50, shuffle=True),
            DataLoader(Subset(digits, range(5000)), 1000),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--optimizer", default="sgd")
    parser.add_argument("--usual", action="store_true", help="also time the usual way; minutes")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    print(circumstances())
    print(f"CPU seconds of {EPOCHS} epochs, {args.optimizer}: median (least to greatest) of {args.pairs} pairs")
    for steps in (10, 1):
        ours, by_hand = paired(lambda s=steps: project_run(args.optimizer, s), lambda: loop(args.optimizer), args.pairs)
        print(f"steps_per_execution {steps:2d}: {spread(ours)}, loop {spread(by_hand)}, ratio {ratio(ours, by_hand)}")
    if args.usual:
        theirs, ours = paired(lambda: usual(args.optimizer), lambda: project_run(args.optimizer, 10), 2)
        print(f"usual: {spread(theirs)}, ours {spread(ours)}, ratio {ratio(theirs, ours)}")


if __name__ == "__main__":
    main()
