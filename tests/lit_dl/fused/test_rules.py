"""Update rules of stacks against torch's optimizers, for every name with hyperparameters drawn for each member."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim._muon import _zeropower_via_newtonschulz

from lit_dl.fused.parameters import parameter_groups
from lit_dl.fused.rules import orthogonalized
from lit_dl.optim.optimizers import OPTIMIZERS, OptimizerConfig, build_optimizer

VALUES: dict[str, st.SearchStrategy[float]] = {
    "lr": st.floats(1e-4, 0.5),
    "momentum": st.floats(0.01, 0.99),
    "weight_decay": st.sampled_from([0.0, 0.01, 0.3]),
    "rho": st.floats(0.0, 0.99),
    "beta1": st.floats(0.0, 0.99),
    "beta2": st.floats(0.0, 0.9999),
    "eps": st.floats(1e-10, 1e-3),
    "initial_accumulator_value": st.floats(0.0, 1.0),
    "momentum_decay": st.floats(0.0, 1.0),
}
SHAPES = {"weight": (7, 5), "tall": (3, 11), "bias": (7,), "kernel": (2, 3, 3, 3)}
USED = frozenset({"weight_decay", "momentum"})


def test_every_hyperparameter_is_drawn() -> None:
    assert VALUES.keys() == {field.name for field in fields(OptimizerConfig)} - {"name", "init_args"}


def parameters(seed: int, dtype: torch.dtype) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return {name: nn.Parameter(torch.randn(s, generator=generator).to(dtype)) for name, s in SHAPES.items()}


@pytest.mark.parametrize("name", OPTIMIZERS)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_rule_is_that_of_torch_for_each_member(name: str, data: st.DataObject) -> None:
    options = {key: VALUES[key] for key in OPTIMIZERS[name].options}
    drawn = data.draw(st.lists(st.fixed_dictionaries(options), min_size=1, max_size=3))
    factors = data.draw(st.lists(st.sampled_from([1.0, 0.5, 0.1]), min_size=6, max_size=6))
    compare(name, drawn, factors, torch.float32, 2e-3)
    torch.set_default_dtype(torch.float64)  # as Lightning does: the numbers in torch's state are of this type
    try:
        compare(name, drawn, factors, torch.float64, 1e-9)
    finally:
        torch.set_default_dtype(torch.float32)


def compare(name: str, drawn: list[dict[str, Any]], factors: list[float], dtype: torch.dtype, rtol: float) -> None:
    """Six steps with the same gradients; muon's directions are bfloat16, equal but for the order of its sums."""
    alone = [parameters(seed, dtype) for seed in range(len(drawn))]
    optimizers = [
        build_optimizer(OptimizerConfig(name, **given), [{"params": list(own.values())}])
        for own, given in zip(alone, drawn, strict=True)
    ]
    names = {id(parameter): key for key, parameter in alone[0].items()}
    groups = parameter_groups(optimizers[0], names, len(drawn), torch.device("cpu"))
    for member, (own, optimizer) in enumerate(zip(alone, optimizers, strict=True)):
        for group, its_options in zip(groups, optimizer.param_groups, strict=True):
            group.write(member, its_options)
            for key, view in group.views(group.values).items():
                view[member] = own[key].detach()
    generator = torch.Generator().manual_seed(5)
    for factor in factors:
        step(alone, optimizers, groups, factor, generator)
    tolerance = {"rtol": 1e-2, "atol": 1e-2} if name == "muon" else {"rtol": rtol, "atol": rtol * 1e-2}
    for member, own in enumerate(alone):
        for group in groups:
            for key, view in group.views(group.values).items():
                torch.testing.assert_close(view[member], own[key].detach(), **tolerance)


def step(alone: Any, optimizers: Any, groups: Any, factor: float, generator: torch.Generator) -> None:
    for member, (own, optimizer) in enumerate(zip(alone, optimizers, strict=True)):
        for key, parameter in own.items():
            parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
            for group in groups:
                if key in group.shapes:
                    group.views(group.gradients)[key][member] = parameter.grad
        for its_options in optimizer.param_groups:
            its_options["lr"] = its_options.setdefault("initial_lr", its_options["lr"]) * factor
        optimizer.step()
    factor_of_all = torch.full((len(alone),), factor, dtype=torch.float64)
    for group in groups:
        group.update(factor_of_all, USED)


@pytest.mark.parametrize("shape", [(4, 4), (3, 9), (9, 3), (1, 6), (300, 784)])
def test_directions_of_muon_are_those_of_torch(shape: tuple[int, int]) -> None:
    matrices: Tensor = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    ours = orthogonalized(matrices)
    for matrix, direction in zip(matrices, ours, strict=True):
        theirs = _zeropower_via_newtonschulz(matrix, (3.4445, -4.7750, 2.0315), 5, 1e-7)
        difference = (direction.float() - theirs.float()).norm() / theirs.float().norm()
        assert float(difference) < 0.02  # a few units of bfloat16, whose last place is 0.4 %
