"""`Network`: the class of all networks, with the answers that training and diagnostics need."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lit_dl.nn.layers import HiddenLayer


class Network(nn.Sequential):
    """Named layers in order: (batch, *input_shape) float32 -> (batch, outputs) float32.

    Other code asks the methods of this class and never looks at names of layers. A kind of network that has other
    parts, such as a pretrained backbone, overrides them. Freezing layers by epoch belongs here as well, as a method
    that `SupervisedModule.on_train_epoch_start` calls.

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
        """Returns the parameter groups for the optimizer: dicts with `params` and, where they differ, options.

        A factor on the learning rate of some layers belongs here. Today all parameters are in one group.
        """
        return [{"params": list(self.parameters())}]
