"""Parameters of a stack, their gradients and their optimizer state, as matrices with a row for each member."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lit_dl.errors import LitError
from lit_dl.fused.rules import RULES, Rule

_ALIGNMENT = 16  # numbers: 64 bytes of float32, so that every member has the same alignment, and rounding
_BLOCK = 2**16  # numbers of a block on a CPU: what an update reads and writes stays in the cache
_LEAST_COLUMNS = 2**10

STEP_DTYPE = torch.float64


def rule_name(optimizer: Optimizer, group: Mapping[str, Any]) -> str:
    """Returns the name in `RULES` of what an optimizer does with a group; another name where there is none."""
    name = type(optimizer).__name__
    if name == "MuonAdamW":
        return "Muon" if "ns_steps" in group else "AdamW"
    return "SGD nesterov" if name == "SGD" and group["nesterov"] else name


def numbers_of(group: Mapping[str, Any]) -> dict[str, float]:
    """Returns the hyperparameters of a parameter group that may differ between members."""
    numbers = {
        name: float(value)
        for name, value in group.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "ns_steps"
    }
    if "betas" in group:
        numbers["beta1"], numbers["beta2"] = map(float, group["betas"])
    numbers["lr"] = float(group.get("initial_lr", group["lr"]))
    numbers.pop("initial_lr", None)
    return numbers


class ParameterGroup:
    """A parameter group of all members, with its update rule.

    Args:
        rule: The update rule.
        shapes: Shape of each parameter of one member, by name, in the order of torch's optimizer.
        members: Number of members.
        dtype, device: Of the parameters.
    """

    def __init__(
        self, rule: Rule, shapes: Mapping[str, torch.Size], members: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.rule, self.shapes = rule, dict(shapes)
        self._places: dict[str, int] = {}
        columns = 0
        for name, shape in shapes.items():
            self._places[name] = columns
            columns += -(-prod(shape) // _ALIGNMENT) * _ALIGNMENT
        size = (members, columns)
        self.values = torch.zeros(size, dtype=dtype, device=device)
        self.gradients = torch.zeros_like(self.values)
        self.state = {name: torch.zeros_like(self.values) for name in rule.state}
        row = {"dtype": STEP_DTYPE, "device": device}
        self.step = torch.zeros(members, **row)  # type: ignore[call-overload]
        self.scalars = {name: torch.zeros(members, **row) for name in rule.scalars}  # type: ignore[call-overload]
        self.numbers: dict[str, Tensor] = {}
        self._blocks = self._split()

    def views(self, matrix: Tensor) -> dict[str, Tensor]:
        """Returns the parts (members, *shape) of a matrix of this group, by parameter. They share its memory."""
        parts = {}
        for name, shape in self.shapes.items():
            place = self._places[name]
            parts[name] = matrix[:, place : place + prod(shape)].view(len(matrix), *shape)
        return parts

    def tensors(self) -> dict[str, Tensor]:
        """Returns all that belongs to members, by name: tensors with a row for each of them."""
        return {
            "values": self.values,
            "step": self.step,
            **{f"state.{name}": tensor for name, tensor in self.state.items()},
            **{f"scalars.{name}": tensor for name, tensor in self.scalars.items()},
            **{f"numbers.{name}": tensor for name, tensor in self.numbers.items()},
        }

    def update(self, factor: Tensor, used: frozenset[str]) -> None:
        """Takes a step with the gradients, which are overwritten.

        Args:
            factor: Factor on the learning rate of each member, (members,) float64.
            used: Which of `weight_decay` and `momentum` are not 0 for all members. Others are not computed with.
        """
        left_out = {"weight_decay", *["momentum"] * bool(self.rule.with_momentum)} - used
        self.step += 1
        numbers = {name: number for name, number in self.numbers.items() if name not in left_out}
        numbers["lr"] = numbers["lr"] * factor
        coefficients = self.rule.coefficients(numbers, self.step, self.scalars)
        rows = torch.stack(list(coefficients.values())).to(self.values.dtype)
        shape = (-1, 1, 1) if self.rule.by_matrix else (-1, 1)
        named = {name: row.view(shape) for name, row in zip(coefficients, rows.unbind(), strict=True)}
        for values, gradients, state in self._blocks:
            self.rule.update(values, gradients, state, named)

    def _split(self) -> list[tuple[Tensor, Tensor, dict[str, Tensor]]]:
        if self.rule.by_matrix:
            values, gradients = self.views(self.values), self.views(self.gradients)
            states = {name: self.views(state) for name, state in self.state.items()}
            return [(values[n], gradients[n], {key: part[n] for key, part in states.items()}) for n in self.shapes]
        members, columns = self.values.shape
        width = columns if self.values.is_cuda else max(_LEAST_COLUMNS, _BLOCK // members)
        parts = [tensor.split(width, 1) for tensor in (self.values, self.gradients, *self.state.values())]
        return [(v, g, dict(zip(self.state, state, strict=True))) for v, g, *state in zip(*parts, strict=True)]

    # Members

    def write(self, member: int, options: Mapping[str, Any]) -> None:
        """Gives a member the hyperparameters of a parameter group of torch, and an optimizer state without a step."""
        for name, number in numbers_of(options).items():
            if name not in self.numbers:
                self.numbers[name] = torch.zeros_like(self.step)
            self.numbers[name][member] = number
        self.step[member] = 0
        initial = self.rule.initial(options)
        for state in self.state.values():
            state[member] = initial
        for name, value in self.rule.scalars.items():
            self.scalars[name][member] = value

    def read_state(self, member: int, options: Mapping[str, Any]) -> list[dict[str, Tensor]]:
        """Returns torch's optimizer state of each parameter of a member, in order."""
        dropped = () if options.get("momentum", 1.0) else self.rule.with_momentum
        kept = {name: self.views(state) for name, state in self.state.items() if name not in dropped}
        single = {name: scalar[member] for name, scalar in self.scalars.items()}
        single |= {"step": self.step[member]} if self.rule.counts_steps else {}
        # As torch makes them: of the default type, which Lightning sets to that of the parameters.
        dtype = torch.float64 if self.values.dtype == torch.float64 and not options.get("fused") else torch.float32
        numbers = {name: value.to("cpu", dtype) for name, value in single.items()}
        return [
            {
                **{n: v.clone() for n, v in numbers.items()},
                **{n: part[name][member].clone() for n, part in kept.items()},
            }
            for name in self.shapes
        ]

    def write_state(self, member: int, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Takes over torch's optimizer state of each parameter of a member. An empty one is that before the first step.

        Raises:
            LitError: The parameters differ in their number of steps.
        """
        steps = {float(state["step"]) for state in states if "step" in state}
        if len(steps) > 1:
            raise LitError(f"optimizer state: all parameters must have as many steps; got {sorted(steps)}")
        self.step[member] = steps.pop() if steps else 0
        for scalar in self.scalars:
            if states and scalar in states[0]:
                self.scalars[scalar][member] = states[0][scalar]
        for key, matrix in self.state.items():
            for (_, view), state in zip(self.views(matrix).items(), states, strict=True):
                if key in state:
                    view[member] = state[key]


def parameter_groups(
    optimizer: Optimizer, names: Mapping[int, str], members: int, device: torch.device
) -> list[ParameterGroup]:
    """Returns the parameter groups of a stack, for the optimizer of one of its members.

    Args:
        optimizer: The optimizer of a member.
        names: Name of each parameter of that member by its `id`.
        members: Number of members.
        device: The device that trains.

    Raises:
        LitError: There is no rule for the optimizer.
    """
    groups = []
    for group in optimizer.param_groups:
        name = rule_name(optimizer, group)
        if name not in RULES:
            raise LitError(f"model.optimizer.name: {type(optimizer).__name__} has no update rule for stacks")
        shapes = {names[id(parameter)]: parameter.shape for parameter in group["params"]}
        groups.append(ParameterGroup(RULES[name], shapes, members, group["params"][0].dtype, device))
    return groups
