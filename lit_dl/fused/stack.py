"""`Stack`: runs of one shape that train together, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap

from lit_dl.fused.epoch_tables import EpochTables
from lit_dl.fused.layers import stacked_network
from lit_dl.fused.member import Member
from lit_dl.fused.parameters import parameter_groups
from lit_dl.fused.regularization import activity_penalty, add_weight_penalties, apply_max_norm, clip
from lit_dl.nn.random_layers import RandomLayer, key_and_counter, random_layers

_EVAL_BATCH_SIZE = 1000


class Stack:
    """Trains members of one shape at once, each as `SupervisedModule` trains it alone.

    `step` is a function over tensors that changes other tensors in place. It reads nothing from the device, and no
    number in it changes from step to step, so on a GPU it can be captured as a CUDA graph.

    Args:
        members: The runs. What may differ between them says `lit_dl.fused.structure`.
        features: What runs that join later will need beside the features of these; see `Member.features`.
        device: The device that trains.
    """

    def __init__(
        self,
        members: Sequence[Member],
        features: frozenset[str] = frozenset(),
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.members = list(members)
        self.epochs = [0] * len(members)
        """Completed or running epochs of each member, from 1."""
        self.features = features.union(*(member.features for member in members))
        first = members[0]
        self.module = first.module
        self._build_network(first)
        self._build_optimizer(first)
        self.tables = EpochTables(first, len(members), self.device)
        self.inputs, self.targets = first.data.samples("train", self.device)
        self._scales = torch.zeros(len(members), 3, device=self.device)
        self.numbers = {name: torch.zeros(len(members), dtype=self.dtype, device=self.device) for name in first.numbers}
        self.sums = torch.zeros(len(members), 3, dtype=torch.float64, device=self.device)
        """Sums of loss and score, and number of samples, of each member in the current epoch or evaluation."""
        self.losses = torch.zeros(len(members), dtype=self.dtype, device=self.device)
        """Loss of each member at the last step, without penalties."""
        self._last_factors = [1.0] * len(members)
        for place, member in enumerate(members):
            self.write(place, member)

    def _build_network(self, first: Member) -> None:
        network = first.network_with(self.features)
        self.dtype = next(network.parameters()).dtype
        self.network = stacked_network(network, len(self.members)).to(self.device)
        self.random_layers = random_layers(self.network)
        for layer in self.random_layers.values():
            for name in layer.numbers:
                dtype = torch.int32 if isinstance(getattr(layer, name), int) else self.dtype
                delattr(layer, name)
                value = torch.zeros(len(self.members), dtype=dtype, device=self.device)
                layer.register_buffer(name, value, persistent=False)
        self._activities: list[Tensor] = []
        if {"activity_l1", "activity_l2"} & self.features:
            for activation in self.network.activations().values():
                activation.register_forward_hook(self._keep_activity)

    def _keep_activity(self, module: nn.Module, _: object, outputs: Tensor) -> None:
        if module.training:
            self._activities.append(outputs)

    def _build_optimizer(self, first: Member) -> None:
        """Moves the parameters into the matrices of the parameter groups."""
        names = {id(parameter): name for name, parameter in self.module.network.named_parameters()}
        self.groups = parameter_groups(first.optimizer, names, len(self.members), self.device)
        is_weight = {id(weight) for weight in self.module.network.weight_matrices()}
        weights = {names[key] for key in is_weight}
        self.parameters: list[nn.Parameter] = []
        self._gradients: list[Tensor] = []
        self._weights: list[tuple[Tensor, Tensor]] = []
        for group in self.groups:
            gradients = group.views(group.gradients)
            for name, view in group.views(group.values).items():
                parent, _, last = name.rpartition(".")
                parameter = nn.Parameter(view)
                setattr(self.network.get_submodule(parent), last, parameter)
                self.parameters.append(parameter)
                self._gradients.append(gradients[name])
                if name in weights:
                    self._weights.append((view, gradients[name]))

    def __len__(self) -> int:
        return len(self.members)

    # Members

    def write(self, place: int, member: Member) -> None:
        """Puts a run that has not begun into a place. The other members do not change."""
        self.members[place], self.epochs[place] = member, 0
        state = member.module.network.state_dict()
        options = member.optimizer.param_groups
        with torch.no_grad():
            for name, tensor in self.network.state_dict().items():
                tensor[place] = state[name]
            for group, given in zip(self.groups, options, strict=True):
                group.write(place, given)
            for name, number in member.numbers.items():
                self.numbers[name][place] = number
            self._write_random_layers(place, member)
        scale = member.data.scale
        self._scales[place] = torch.tensor([scale.divisor, scale.mean, scale.std])

    def _write_random_layers(self, place: int, member: Member) -> None:
        for name, layer in self.random_layers.items():
            kind: Callable[[float], RandomLayer] = type(layer)
            alone = kind(getattr(member.module.network_config, name.rpartition(".")[2]))
            for number in layer.numbers:
                getattr(layer, number)[place] = getattr(alone, number)

    def tensors(self) -> dict[str, Tensor]:
        """Returns all that belongs to members, by name: tensors with a row for each of them."""
        groups = {f"{at}.{name}": t for at, group in enumerate(self.groups) for name, t in group.tensors().items()}
        rest = {"scales": self._scales, "sums": self.sums, "losses": self.losses}
        buffers = dict(self.network.named_buffers())
        return {**groups, **buffers, **self.numbers, **self.tables.tensors(), **rest}

    def all_tensors(self) -> dict[str, Tensor]:
        """Returns all that a step changes or looks up, by name: `tensors`, and the place in the epoch."""
        return {**self.tensors(), "at": self.tables.at}

    def select(self, places: Sequence[int]) -> Stack:
        """Returns a smaller stack of these members, as they are."""
        smaller = Stack([self.members[place] for place in places], self.features, self.device)
        rows = torch.tensor(list(places), device=self.device)
        theirs = self.tensors()
        with torch.no_grad():
            for name, tensor in smaller.tensors().items():
                tensor.copy_(theirs[name].index_select(0, rows))
        smaller.epochs = [self.epochs[place] for place in places]
        smaller._last_factors = [self._last_factors[place] for place in places]
        return smaller

    def state_of(self, place: int) -> dict[str, Any]:
        """Returns the `network` and the `optimizer` of a member as the state dicts of a run that is alone."""
        network = {name: tensor[place].detach().clone() for name, tensor in self.network.state_dict().items()}
        optimizer = self.members[place].optimizer
        options = [dict(group) for group in optimizer.state_dict()["param_groups"]]
        state: list[dict[str, Tensor]] = []
        for group, given in zip(self.groups, optimizer.param_groups, strict=True):
            state += group.read_state(place, given)
        if self.members[place].module.is_scheduled and self.epochs[place]:
            for given in options:
                given["initial_lr"] = given.get("initial_lr", given["lr"])
                given["lr"] = given["initial_lr"] * self._last_factors[place]
        has_begun = self.epochs[place] > 0
        return {
            "network": network,
            "optimizer": {
                "state": {at: one for at, one in enumerate(state) if one} if has_begun else {},
                "param_groups": options,
            },
        }

    def load(self, place: int, state: dict[str, Any], epochs: int) -> None:
        """Continues a run in a place: the counterpart of `state_of`.

        Args:
            place: Where its member is already.
            state: Its `network` and its `optimizer`, as state dicts of a run that is alone.
            epochs: Epochs that it has completed.
        """
        with torch.no_grad():
            for name, tensor in self.network.state_dict().items():
                tensor[place] = state["network"][name]
            first = 0
            for group in self.groups:
                states = [state["optimizer"]["state"].get(first + at, {}) for at in range(len(group.shapes))]
                group.write_state(place, states)
                first += len(group.shapes)
        self.epochs[place] = epochs

    # Training

    def start_epoch(self) -> None:
        """Starts the next epoch of each member: its order, learning rates, masks and metrics."""
        self.network.train()
        self.tables.at.zero_()
        self.sums.zero_()
        for place, member in enumerate(self.members):
            self.epochs[place] += 1
            factors = self.tables.write(place, member, self.epochs[place])
            self._last_factors[place] = factors[-1]
            for name, layer in self.random_layers.items():
                key, counter = key_and_counter(member.seed, self.epochs[place], f"network.{name}")
                layer.key[place], layer.counter[place] = key, counter

    def train_epoch(self) -> None:
        """Trains the next epoch of each member."""
        self.start_epoch()
        for _ in range(self.tables.full):
            self.step()
        if self.tables.rest:
            self.last_step()

    def step(self) -> None:
        """Takes the next step of the epoch, which has a full batch."""
        self._train(self.tables.batch())

    def last_step(self) -> None:
        """Takes the last step of an epoch whose last batch is smaller."""
        self._train(self.tables.last_rows)

    def _train(self, rows: Tensor) -> None:
        samples = rows.shape[1]
        loss = self._measure(rows)
        self.losses.copy_(loss.detach())
        if self._activities:
            loss = loss + activity_penalty(self.numbers, self.features, self._activities)
            self._activities.clear()
        gradients = torch.autograd.grad(loss.sum(), self.parameters)
        with torch.no_grad():
            torch._foreach_copy_(self._gradients, gradients)
            self._update(samples)

    def _update(self, samples: int) -> None:
        """Takes the optimizer step with the gradients of the loss."""
        if {"l1", "l2"} & self.features:
            is_textbook = self.module.regularization_config.form == "textbook"
            add_weight_penalties(self.numbers, self.features, self._weights, samples if is_textbook else None)
        clip(self.numbers, self.features, self.groups)
        factor = self.tables.factor()
        for group in self.groups:
            group.update(factor, self.features)
        if "max_norm" in self.features:
            apply_max_norm(self.numbers["max_norm"], [weight for weight, _ in self._weights])
        self.tables.at += 1

    def _measure(self, rows: Tensor) -> Tensor:
        """Returns the losses (members,) of batches, and adds them to the sums."""
        options = {name: self.numbers[name] for name in self.module.loss_options}
        targets = self.targets.index_select(0, rows.flatten()).unflatten(0, rows.shape)
        outputs = self.network(self._gather(rows))
        losses: Tensor
        losses, scores = vmap(self.module.loss_and_score)(outputs, targets, options)
        count = torch.full_like(losses, rows.shape[1], dtype=torch.float64)
        self.sums += torch.stack([losses.detach().double() * count, scores.double(), count], 1)
        return losses

    def _gather(self, rows: Tensor) -> Tensor:
        """Returns the inputs (members, batch, ...) of these rows, as `Scale` scales them."""
        inputs = self.inputs.index_select(0, rows.flatten()).unflatten(0, rows.shape).to(torch.float32)
        divisor, mean, std = (part.view(-1, *[1] * (inputs.ndim - 1)) for part in self._scales.unbind(1))
        scaled: Tensor = inputs.div_(divisor).sub_(mean).div_(std).to(self.dtype)
        return scaled

    # Metrics

    @torch.no_grad()
    def evaluate(self) -> None:
        """Evaluates each member on its validation split; `metrics` has the result."""
        self.network.eval()
        self.sums.zero_()
        rows = torch.stack([member.data.validation_rows for member in self.members]).to(self.device)
        for part in rows.split(_EVAL_BATCH_SIZE, 1):
            self._measure(part)
        self.network.train()

    def metrics(self) -> list[dict[str, float]]:
        """Returns loss and score of each member since `start_epoch`, or of `evaluate`. Reads from the device once."""
        sums = self.sums.cpu()
        return [{name: float(value) for name, value in self.module.metrics_of(row).items()} for row in sums]
