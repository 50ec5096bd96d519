"""Networks of one shape as one network: inputs, parameters and outputs have a leading member axis.

Linear and convolutional layers are batched by hand, because measured so (LOG.md); elementwise layers work as they are;
all others are mapped over the members by `torch.func.vmap`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from lit_dl.nn.layers import HiddenLayer, ResidualLayer
from lit_dl.nn.network import Network
from lit_dl.nn.random_layers import Dropout, GaussianNoise

CONTAINERS: tuple[type[nn.Module], ...] = (Network, HiddenLayer, ResidualLayer)
"""Classes whose `forward` only calls their children and adds."""
ELEMENTWISE: tuple[type[nn.Module], ...] = (
    nn.Identity,
    nn.Sigmoid,
    nn.Tanh,
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Softplus,
    nn.Mish,
    Dropout,
    GaussianNoise,
)
"""Layers that compute the same with a leading member axis."""


class _BatchedLinear(torch.autograd.Function):
    """(members, batch, in), (members, out, in), (members, out) or None -> (members, batch, out).

    Autograd's own gradient of the weights is a transposed view, which makes every pass of the optimizer slow.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        if bias is None:
            return torch.bmm(inputs, weight.mT)
        return torch.baddbmm(bias.unsqueeze(1), inputs, weight.mT)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        (gradient,) = gradients
        inputs, weight = ctx.saved_tensors
        of_inputs = torch.bmm(gradient, weight) if ctx.needs_input_grad[0] else None
        of_bias = gradient.sum(1) if ctx.needs_input_grad[2] else None
        return of_inputs, torch.bmm(gradient.mT, inputs), of_bias


class StackedLinear(nn.Linear):
    """Linear layers: (members, batch, in) -> (members, batch, out)."""

    def forward(self, inputs: Tensor) -> Tensor:
        return _BatchedLinear.apply(inputs, self.weight, self.bias)  # type: ignore[no-any-return]


class StackedConv2d(nn.Conv2d):
    """Convolutions: (members, batch, in, height, width) -> (members, batch, out, height, width)."""

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.is_cuda:
            return unfolded_convolution(self, inputs)
        # On a CPU, a convolution a member is faster than a grouped one, and than matrix products of patches.
        biases = self.bias.unbind() if self.bias is not None else [None] * len(inputs)
        parts = zip(inputs.unbind(), self.weight.unbind(), biases, strict=True)
        outputs: Tensor = torch.stack([self._conv_forward(*part) for part in parts])
        return outputs


def unfolded_convolution(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    """Computes the convolutions of a stack as one batched product of weights and patches."""
    members, batch, _, height, width = inputs.shape
    kernel, padding = layer.kernel_size, cast(tuple[int, int], layer.padding)
    patches = F.unfold(inputs.flatten(0, 1), kernel, padding=padding).unflatten(0, (members, batch))
    outputs: Tensor = torch.matmul(layer.weight.flatten(2).unsqueeze(1), patches)
    if layer.bias is not None:
        outputs = outputs + layer.bias.view(members, 1, -1, 1)
    size = (height + 2 * padding[0] - kernel[0] + 1, width + 2 * padding[1] - kernel[1] + 1)
    images: Tensor = outputs.unflatten(3, size)
    return images


class StackedFlatten(nn.Flatten):
    """Flattens each sample."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(2)


class StackedMaxPool2d(nn.MaxPool2d):
    """Pools each image."""

    def forward(self, inputs: Tensor) -> Tensor:
        pooled: Tensor = super().forward(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])
        return pooled


class Vmapped(nn.Module):
    """A layer of any kind, mapped over the members.

    Args:
        layer: The layer of one member. It must have no children.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self._alone = (layer,)  # in a tuple, so that its parameters are not those of this module

    def forward(self, inputs: Tensor) -> Tensor:
        layer = self._alone[0]
        layer.training = self.training
        state = {**dict(self.named_parameters()), **dict(self.named_buffers())}

        def one(state: dict[str, Tensor], inputs: Tensor) -> Tensor:
            return functional_call(layer, state, (inputs,))  # type: ignore[no-any-return]

        outputs: Tensor = vmap(one)(state, inputs)
        return outputs


BY_HAND: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: StackedLinear,
    nn.Conv2d: StackedConv2d,
    nn.Flatten: StackedFlatten,
    nn.MaxPool2d: StackedMaxPool2d,
}


def can_stack(network: nn.Module) -> bool:
    """Returns whether `stacked_network` takes such networks."""
    return all(isinstance(layer, CONTAINERS) or not list(layer.children()) for layer in network.modules())


def stacked_network(network: Network, members: int) -> Network:
    """Returns a network whose parameters and buffers have a leading axis of members, under the names that they have.

    Args:
        network: One network. Its parameters and buffers are repeated.
        members: Number of members.
    """
    stacked = _stacked(copy.deepcopy(network), members)
    assert isinstance(stacked, Network)
    return stacked


def _stacked(layer: nn.Module, members: int) -> nn.Module:
    if isinstance(layer, CONTAINERS):
        for name, child in list(layer.named_children()):
            setattr(layer, name, _stacked(child, members))
        return layer
    result = layer
    if type(layer) in BY_HAND:
        layer.__class__ = BY_HAND[type(layer)]
    elif type(layer) not in ELEMENTWISE:
        result = Vmapped(layer)
    for name, parameter in list(layer.named_parameters(recurse=False)):
        setattr(result, name, nn.Parameter(_repeated(parameter.detach(), members)))
    persistent = layer.state_dict()
    for name, buffer in list(layer.named_buffers(recurse=False)):
        result.register_buffer(name, _repeated(buffer, members), persistent=name in persistent)
    return result


def _repeated(tensor: Tensor, members: int) -> Tensor:
    return tensor.expand(members, *tensor.shape).clone()


def states_of(networks: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Returns the parameters and buffers of networks, stacked, by name."""
    states = [network.state_dict() for network in networks]
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}
