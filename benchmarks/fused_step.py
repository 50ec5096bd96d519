"""Measures an epoch of a stack of 784-300-100-10, batch 50, against a hand-written loop over one network.

On a CPU with one thread: CPU seconds of some steps, scaled to an epoch of 1,100; the least of several turns, because
the machine's speed drifts, and a loop in each turn. On a GPU: captured steps, elapsed seconds of an epoch.

    python benchmarks/fused_step.py [--members 1 4 16 64] [--optimizers sgd adam] [--kind mlp] [--device cpu]
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Callable
from time import perf_counter, process_time
from typing import Any

import torch
import torch.nn.functional as F
from pairs import circumstances

from lit_dl import Classifier, MNISTDataModule
from lit_dl.fused.capture import CapturedSteps, train_epoch
from lit_dl.fused.member import Member
from lit_dl.fused.stack import Stack

EPOCH = 1100
NETWORKS: dict[str, dict[str, Any]] = {"mlp": {"width": [300, 100]}, "cnn": {"kind": "cnn", "width": [16, 32]}}


def module(kind: str, optimizer: str, seed: int = 0) -> Classifier:
    return Classifier(network=NETWORKS[kind], optimizer={"name": optimizer}, seed=seed)  # type: ignore[arg-type]


def data() -> MNISTDataModule:
    made = MNISTDataModule(batch_size=50, seed=0)
    made.prepare_data()
    made.setup("fit")
    return made


def loop(kind: str, optimizer: str, device: str) -> Callable[[], None]:
    """A step as a careful person writes it: data in memory, torch's fused optimizer, running loss and accuracy."""
    alone = module(kind, optimizer).to(device)
    network, step = alone.network, alone.configure_optimizers()
    images, labels = data().samples("train", torch.device(device))
    order, at = torch.randperm(len(labels), device=device), 0
    total, correct = torch.zeros((), device=device), torch.zeros((), dtype=torch.int64, device=device)

    def one() -> None:
        nonlocal at, total, correct
        rows = order[at : at + 50]
        at = (at + 50) % (len(order) - 50)
        outputs = network(images[rows].to(torch.float32).div_(255))
        loss = F.cross_entropy(outputs, labels[rows])
        step.zero_grad()
        loss.backward()
        step.step()
        total += loss.detach() * 50
        correct += (outputs.argmax(1) == labels[rows]).sum()

    return one


def stack_of(members: int, kind: str, optimizer: str, device: str) -> Stack:
    shared = data()
    runs = [Member(module(kind, optimizer, seed), shared, seed, 20) for seed in range(members)]
    stack = Stack([Member(run.module.to(device), shared, run.seed, 20) for run in runs], device=device)
    stack.start_epoch()
    return stack


def stacked(stack: Stack) -> Callable[[], None]:
    def one() -> None:
        if int(stack.tables.at) == stack.tables.full:
            stack.tables.at.zero_()
        stack.step()

    return one


def cpu_s(step: Callable[[], None], steps: int) -> float:
    started = process_time()
    for _ in range(steps):
        step()
    return (process_time() - started) / steps * EPOCH


def on_cpu(kind: str, optimizer: str, sizes: list[int], turns: int) -> None:
    by_hand = loop(kind, optimizer, "cpu")
    cpu_s(by_hand, 5)
    for members in sizes:
        step = stacked(stack_of(members, kind, optimizer, "cpu"))
        steps = max(2, (100 if kind == "mlp" else 10) // members)
        cpu_s(step, 2)
        pairs = [(cpu_s(step, steps), cpu_s(by_hand, 40 if kind == "mlp" else 6)) for _ in range(turns)]
        all_s, loop_s = (min(values) for values in zip(*pairs, strict=True))
        print_row(kind, optimizer, members, all_s, loop_s)


def on_gpu(kind: str, optimizer: str, sizes: list[int], device: str) -> None:
    by_hand = loop(kind, optimizer, device)
    loop_s = elapsed_s(lambda: [by_hand() for _ in range(EPOCH)])
    for members in sizes:
        stack = stack_of(members, kind, optimizer, device)
        captured = CapturedSteps(stack, 10)
        all_s = elapsed_s(lambda stack=stack, captured=captured: train_epoch(stack, captured))  # type: ignore[misc]
        print_row(kind, optimizer, members, all_s, loop_s)


def elapsed_s(run: Callable[[], object]) -> float:
    run()
    torch.cuda.synchronize()
    started = perf_counter()
    run()
    torch.cuda.synchronize()
    return perf_counter() - started


def print_row(kind: str, optimizer: str, members: int, all_s: float, loop_s: float) -> None:
    each = all_s / members
    print(
        f"{kind} {optimizer:9s} {members:4d} members: {all_s:8.3f} s an epoch, {each:7.4f} a member; "
        f"loop {loop_s:.3f}, that is {loop_s / each:.2f} times",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--members", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    parser.add_argument("--optimizers", nargs="+", default=["sgd", "adam"])
    parser.add_argument("--kind", default="mlp", choices=NETWORKS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    print(circumstances())
    for optimizer in args.optimizers:
        if args.device == "cpu":
            on_cpu(args.kind, optimizer, args.members, args.turns)
        else:
            on_gpu(args.kind, optimizer, args.members, args.device)


if __name__ == "__main__":
    main()
