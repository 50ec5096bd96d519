"""Muon and AdamW as one optimizer: the matrices by the rule of the paper, the rest, state, groups."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lit_dl.optim.muon import MuonAdamW

Matrix = np.ndarray

STEPS = 20
# Torch iterates in bfloat16, which has 8 bits, and the reference in float64: how far one step may be from the other, as
# a share of its length. Measured: 0.057 at most.
ROUNDING = 0.08


def newton_schulz(matrix: Matrix) -> Matrix:
    """Jordan et al. 2024: five times a X + b (X X') X + c (X X')^2 X, from X of norm 1."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / np.linalg.norm(matrix)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + b * gram @ x + c * gram @ gram @ x
    return x


def muon(g: Callable[[Matrix], Matrix], x: Matrix, lr: float, momentum: float, weight_decay: float) -> list[Matrix]:
    """Nesterov momentum, orthogonalized, times 0.2 sqrt(larger side) (Liu et al. 2025, equation 4), decoupled decay."""
    velocity, path = np.zeros_like(x), []
    for _ in range(STEPS):
        slope = g(x)
        velocity = momentum * velocity + slope
        direction = newton_schulz(slope + momentum * velocity)
        x = x - lr * weight_decay * x - lr * 0.2 * np.sqrt(max(x.shape)) * direction
        path.append(x)
    return path


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
@pytest.mark.parametrize("values", [(0.001, 0.95, 0.1), (0.4, 0.7, 0.3)], ids=["defaults", "chosen"])
def test_a_matrix_follows_the_rule(shape: tuple[int, int], values: tuple[float, float, float]) -> None:
    draw = np.random.default_rng(3)
    start, goal = draw.normal(size=shape), draw.normal(size=shape)

    def gradient(x: Matrix) -> Matrix:
        return x - goal + np.sin(3 * x)

    parameter = nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = MuonAdamW([{"params": [parameter]}], *values)
    before = start
    for expected in muon(gradient, start, *values):
        parameter.grad = torch.from_numpy(gradient(before))
        optimizer.step()
        off = np.linalg.norm(parameter.detach().numpy() - expected)
        assert off < ROUNDING * np.linalg.norm(expected - before)
        parameter.data.copy_(torch.from_numpy(expected))  # the next step from the same place, with its own momentum
        before = expected


def test_the_iteration_makes_a_matrix_nearly_orthogonal() -> None:
    """So that the reference above is the orthogonalization it is meant to be."""
    values = np.linalg.svd(newton_schulz(np.random.default_rng(1).normal(size=(4, 6))), compute_uv=False)
    assert np.all((values > 0.6) & (values < 1.3))


# A network with matrices, biases and a convolution, trained on fixed samples

INPUTS, TARGETS = torch.randn(16, 1, 4, 4, generator=torch.Generator().manual_seed(5)), torch.arange(16) % 3


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(32, 5), nn.Tanh(), nn.Linear(5, 3))


def optimizer_of(net: nn.Module, **values: float) -> MuonAdamW:
    return MuonAdamW([{"params": net.parameters()}], **{"lr": 0.01, **values})


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(INPUTS), TARGETS).backward()
        optimizer.step()


def weights(net: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in net.parameters()]


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def test_what_is_no_matrix_follows_adamw_and_the_matrices_do_not() -> None:
    ours, theirs = network(), network()
    train(ours, optimizer_of(ours, weight_decay=0.2), 1)
    train(theirs, torch.optim.AdamW(theirs.parameters(), 0.01, weight_decay=0.2), 1)
    for a, b in zip(weights(ours), weights(theirs), strict=True):
        assert torch.equal(a, b) == (a.ndim != 2)


def test_a_state_dict_continues_to_the_last_digit() -> None:
    net = network()
    optimizer = optimizer_of(net)
    train(net, optimizer, 3)
    other = deepcopy(net)
    again = optimizer_of(other, lr=0.5)
    again.load_state_dict(deepcopy(optimizer.state_dict()))
    train(net, optimizer, 3)
    train(other, again, 3)
    assert same(net, other)
    fresh = network()
    train(fresh, optimizer_of(fresh), 3)
    train(fresh, optimizer_of(fresh), 3)  # without the state of the first three steps
    assert not same(net, fresh)


@pytest.mark.parametrize("copied", [deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["copy", "pickle"])
def test_a_copy_continues_alike_and_on_its_own(copied: Callable[..., tuple[nn.Module, MuonAdamW]]) -> None:
    net = network()
    optimizer = optimizer_of(net)
    train(net, optimizer, 3)
    other, again = copied((net, optimizer))
    before = weights(net)
    train(other, again, 3)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(net), strict=True))
    train(net, optimizer, 3)
    assert same(net, other)


@pytest.mark.parametrize("loaded", [False, True])
def test_a_learning_rate_set_in_the_groups_reaches_both_parts(loaded: bool) -> None:
    """What a schedule does, also after a resume."""
    net, other = network(), network()
    optimizer, slow = optimizer_of(net), optimizer_of(other, lr=0.001)
    if loaded:
        optimizer.load_state_dict(deepcopy(optimizer.state_dict()))
    for group in optimizer.param_groups:
        group["lr"] = 0.001
    train(net, optimizer, 3)
    train(other, slow, 3)
    assert same(net, other)


@pytest.mark.parametrize("ndim", [(2,), (1, 4)], ids=["matrices alone", "no matrix"])
def test_a_network_without_one_of_the_kinds(ndim: tuple[int, ...]) -> None:
    net = network()
    parameters = [parameter for parameter in net.parameters() if parameter.ndim in ndim]
    before = [parameter.detach().clone() for parameter in parameters]
    optimizer = MuonAdamW([{"params": parameters}], lr=0.01)
    train(net, optimizer, 2)
    assert not any(torch.equal(a, b) for a, b in zip(before, parameters, strict=True))
    assert len(optimizer.param_groups) == 1


def test_groups_keep_what_they_have_of_their_own() -> None:
    net, other = network(), network()
    optimizer = optimizer_of(net)
    mixed = MuonAdamW([{"params": other[0].parameters()}, {"params": other[2].parameters(), "lr": 0.5}], lr=0.01)
    mixed.add_param_group({"params": other[4].parameters(), "lr": 0.0})  # as for a part that is unfrozen later
    train(net, optimizer, 1)
    train(other, mixed, 1)
    start = weights(network())
    moved, expected = ([after - before for after, before in zip(weights(n), start, strict=True)] for n in (other, net))
    for number, factor in enumerate((1, 1, 50, 50, 0, 0)):
        torch.testing.assert_close(moved[number], factor * expected[number], rtol=1e-3, atol=1e-6)
    assert [len(group["params"]) for group in mixed.param_groups] == [2, 1, 1, 1, 1]


def test_a_closure_is_called_once_with_gradients() -> None:
    net, other = network(), network()
    calls = []

    def closure() -> float:
        calls.append(1)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(INPUTS), TARGETS)
        loss.backward()
        return float(loss.detach())

    optimizer = optimizer_of(net)
    loss = optimizer.step(closure)
    with torch.no_grad():
        assert loss == pytest.approx(float(nn.functional.cross_entropy(network()(INPUTS), TARGETS)))
    assert len(calls) == 1
    train(other, optimizer_of(other), 1)
    assert same(net, other)
