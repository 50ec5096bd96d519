"""`Network`: the class of all networks, with the answers that training and diagnostics need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lit_dl.nn.layers import HiddenLayer
from lit_dl.nn.network_config import NetworkConfig


class Network(nn.Sequential):
    """Named layers in order: (batch, *input_shape) float32 -> (batch, outputs) float32.

    Other code asks the methods of this class and never looks at names of layers. A kind of network that has other
    parts, such as a trained backbone, overrides them.

    The names of the layers are the keys of checkpoints (`hidden_1.linear.weight`): do not change them.
    """

    def hidden_layers(self) -> dict[str, HiddenLayer]:
        """Returns the hidden layers by name, first to last."""
        return {name: layer for name, layer in self.named_children() if isinstance(layer, HiddenLayer)}

    def activations(self) -> dict[str, nn.Module]:
        """Returns the activation module of each hidden layer by the layer's name. Activity penalties apply to them."""
        return {name: layer.activation for name, layer in self.hidden_layers().items()}

    def weight_matrices(self) -> list[Tensor]:
        """Returns the weights of dense and convolutional layers: what penalties and max norm apply to.

        Biases, normalizations and learned slopes of activations are left out.
        """
        return [layer.weight for layer in self.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns the parameter groups for the optimizer: dicts with `params`, and whatever `lr_factor` needs."""
        return [{"params": list(self.parameters())}]

    def lr_factor(self, group: Mapping[str, Any], elapsed: float) -> float:  # noqa: ARG002
        """Returns the factor on the learning rate of a parameter group at a time.

        Args:
            group: One of `parameter_groups`.
            elapsed: Epochs since the start of the run, with their fraction.
        """
        return 1.0

    @property
    def varies_lr(self) -> bool:
        """Whether `lr_factor` is ever another than 1."""
        return False

    def begin_epoch(self, epoch: int) -> None:
        """Prepares the layers for the training of an epoch, counted from 0: a backbone freezes and unfreezes blocks."""

    def saved_config(self, config: NetworkConfig) -> NetworkConfig:
        """Returns the config for a checkpoint, from which the network is built without other files."""
        return config
