"""Members of a stack: they do not touch each other, leave, join, and go on alone; a step reads nothing on the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from stacks import Alone, Config, Together, built_run, difference, member
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lit_dl.config.overlay import overlay
from lit_dl.fused.capture import CapturedSteps, train_epoch
from lit_dl.fused.layers import StackedConv2d, unfolded_convolution
from lit_dl.fused.stack import Stack
from lit_dl.optim.optimizers import OPTIMIZERS

MakeConfig = Callable[..., Config]

EVERYTHING = {
    "model.network.norm": "before",
    "model.network.dropout": 0.3,
    "model.network.input_noise": 0.2,
    "model.regularization.l1": 0.001,
    "model.regularization.l2": 0.001,
    "model.regularization.activity_l1": 0.001,
    "model.regularization.activity_l2": 0.001,
    "model.regularization.max_norm": 1.0,
    "model.schedule.name": "one_cycle",
    "model.label_smoothing": 0.1,
    "trainer.gradient_clip_val": 0.5,
}
KINDS: dict[str, Config] = {
    "sgd": {},
    "everything, adam": {**EVERYTHING, "model.optimizer.name": "adam"},
    "everything, muon": {**EVERYTHING, "model.optimizer.name": "muon"},
    "cnn": {"model.network.kind": "cnn", "model.network.width": [3], "model.network.norm": "after"},
}


@pytest.fixture
def make(config: MakeConfig) -> Callable[..., Config]:
    def one(case: Config, seed: int, **values: Any) -> Config:
        lr = {"model.optimizer.lr": 0.002 * (1 + seed)}
        return overlay(config(trainer__max_epochs=4, **values), {**case, **lr, "seed_everything": seed})

    return one


def rows(stack: Stack, places: list[int]) -> dict[str, Tensor]:
    return {name: tensor[places].clone() for name, tensor in stack.tensors().items()}


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_that_is_replaced_changes_no_bit_of_the_others(make: Callable[..., Config], kind: str) -> None:
    configs = [make(KINDS[kind], seed) for seed in range(4)]
    one, other = Together(configs, 1), Together(configs, 1)
    other.stack.write(2, member(make(KINDS[kind], 9)))
    one.epoch(), other.epoch()
    same(rows(one.stack, [0, 1, 3]), rows(other.stack, [0, 1, 3]))
    fresh = Together([make(KINDS[kind], seed) for seed in (0, 1, 9, 3)], 1)
    same(rows(other.stack, [2]), rows(fresh.stack, [2]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_member_that_diverges_changes_no_bit_of_the_others(make: Callable[..., Config], value: float) -> None:
    configs = [make(KINDS["everything, adam"], seed) for seed in range(3)]
    one, other = Together(configs, 1), Together(configs, 1)
    with torch.no_grad():
        other.stack.parameters[0][1] = value
    one.epoch(), other.epoch()
    same(rows(one.stack, [0, 2]), rows(other.stack, [0, 2]))
    assert not torch.isfinite(other.stack.losses[1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_smaller_stack_changes_no_bit(make: Callable[..., Config], kind: str) -> None:
    configs = [make(KINDS[kind], seed) for seed in range(4)]
    together = Together(configs, 1)
    smaller = together.stack.select([1, 3])
    together.epoch()
    smaller.train_epoch()
    smaller.evaluate()
    same(rows(together.stack, [1, 3]), rows(smaller, [0, 1]))


def test_a_member_joins_with_features_that_none_had_before(make: Callable[..., Config]) -> None:
    joining = make(KINDS["everything, adam"], 5)
    plain = {"model.optimizer.name": "adam", "model.network.norm": "before"}
    together = Together([make(plain, 1), make(plain, 2)], 1, features=member(joining).features)
    unchanged = Together([make(plain, 1), make(plain, 2)], 1)
    assert together.losses == unchanged.losses
    together.stack.write(1, member(joining))
    together.epoch()
    alone = Alone(overlay(joining, {"trainer.max_epochs": 4}))
    assert difference(together.losses[1][12:], alone.losses[:12]) < 1e-5


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_member_goes_on_alone_and_a_run_in_a_stack(make: Callable[..., Config], name: str) -> None:
    """Two epochs in a stack, out and into another one: as four in one. Torch's optimizer takes the state."""
    case = {"model.optimizer.name": name, "model.network.norm": "before", "model.schedule.name": "cosine"}
    configs = [make(case, seed) for seed in range(2)]
    whole, half = Together(configs, 4), Together(configs, 2)
    state = half.stack.state_of(1)
    run = built_run(configs[1])
    run.module.network.load_state_dict(state["network"])  # type: ignore[union-attr, arg-type]
    optimizer: Any = run.module.configure_optimizers()
    optimizer.load_state_dict(state["optimizer"])
    taken = {"network": run.module.network.state_dict(), "optimizer": optimizer.state_dict()}  # type: ignore[union-attr]
    other = Together([configs[0], configs[1]], 0)
    other.stack.load(1, taken, epochs=2)  # type: ignore[arg-type]
    other.epoch(), other.epoch()
    assert other.losses[1] == whole.losses[1][24:]


# What a step may do


class Calls(TorchDispatchMode):
    """Notes every call of an operator with its shapes and Python numbers; refuses reads of a value on the host."""

    READS = ("_local_scalar_dense", "is_nonzero", "nonzero", "equal", "masked_select", "_unique2", "unique_dim")

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[object] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func._schema.name.partition("::")[2] not in self.READS, f"{func} reads on the host"
        self.calls.append((str(func), described([args, kwargs])))
        return func(*args, **(kwargs or {}))


def described(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape), tuple(value.stride()), value.dtype
    if isinstance(value, list | tuple):
        return [described(part) for part in value]
    if isinstance(value, dict):
        return {key: described(part) for key, part in value.items()}
    return value if isinstance(value, int | float | bool) else str(value)


@contextmanager
def calls() -> Iterator[list[object]]:
    with Calls() as noted:
        yield noted.calls


TRACED: dict[str, Config] = {
    **{name: {**EVERYTHING, "model.optimizer.name": name} for name in OPTIMIZERS},
    "cnn": {**EVERYTHING, **KINDS["cnn"]},
    "layer norm, maxout": {"model.network.norm": "after", "model.network.norm_type": "layer"},
    "prelu": {"model.network.activation": "prelu"},
    "clip by value": {"trainer.gradient_clip_val": 0.5, "trainer.gradient_clip_algorithm": "value"},
}


@pytest.mark.parametrize("name", TRACED)
def test_a_step_reads_nothing_and_depends_on_no_number_that_changes(make: Callable[..., Config], name: str) -> None:
    """Steps of two epochs, of two stacks with other hyperparameters and seeds, make the same calls: what a captured
    graph replays."""
    noted = []
    for seed in (0, 5):
        stack = Stack([member(make(TRACED[name], seed + at)) for at in range(2)])
        for _ in range(2):
            stack.start_epoch()
            stack.step()
            for _ in range(2):
                with calls() as one:
                    stack.step()
                noted.append(one)
    assert all(one == noted[0] for one in noted)
    assert len(noted[0]) > 20


# Convolutions on a GPU


@pytest.mark.parametrize("bias", [True, False])
def test_the_convolution_of_a_gpu_is_that_of_a_cpu(bias: bool) -> None:
    layer = StackedConv2d(3, 4, 3, padding=1, bias=bias)
    layer.weight = nn.Parameter(torch.randn(2, 4, 3, 3, 3))
    layer.bias = nn.Parameter(torch.randn(2, 4)) if bias else None
    images = torch.randn(2, 5, 3, 6, 7)
    torch.testing.assert_close(unfolded_convolution(layer, images), layer(images))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_captured_steps_are_those_taken_one_by_one(make: Callable[..., Config]) -> None:
    """Not yet run on a GPU."""
    configs = [make({**KINDS["everything, adam"]}, seed) for seed in range(3)]
    members = [member(one) for one in configs]
    for one in members:
        one.module.cuda()
    eager, graphed = Stack(members, device="cuda"), Stack(members, device="cuda")
    graphed.start_epoch()
    captured = CapturedSteps(graphed, 4)
    graphed.epochs = [0] * len(members)
    for _ in range(2):
        eager.train_epoch()
        train_epoch(graphed, captured)
    for name, tensor in eager.tensors().items():
        torch.testing.assert_close(graphed.tensors()[name], tensor, rtol=1e-4, atol=1e-5)
