"""Toy problems: logic gates and linear regression. After a fit they print what the module learned."""

from __future__ import annotations

from math import inf
from typing import Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from lit_dl.data.batches import Batch
from lit_dl.data.in_memory import InMemoryDataModule, check_validation, split
from lit_dl.errors import ConfigError, unknown_name
from lit_dl.randomness import generator

Gate = Literal["and", "or", "nand", "nor", "xor", "xnor"]
GATES: dict[Gate, list[int]] = {
    "and": [0, 0, 0, 1],
    "or": [0, 1, 1, 1],
    "nand": [1, 1, 1, 0],
    "nor": [1, 0, 0, 0],
    "xor": [0, 1, 1, 0],
    "xnor": [1, 0, 0, 1],
}
_ROWS = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]


class LogicGateDataModule(InMemoryDataModule):
    """The truth table of a gate: inputs (batch, 2) float32 of 0 and 1, labels (batch,) int64. All splits are its rows.

    After a fit, the table is printed with the prediction of the module for each row.

    Args:
        gate: and, or, nand, nor: one straight line divides their rows; xor, xnor: none does.
        batch_size: Rows a batch, over all devices, 1 to 4.
        shuffle: Whether to draw a new order for each epoch; otherwise 00, 01, 10, 11, as the perceptron's textbook
            examples go through them.
        seed: Seed of the order. `None`: the run's seed.

    Raises:
        ConfigError: A value out of range.
    """

    def __init__(self, gate: Gate, batch_size: int = 1, shuffle: bool = False, seed: int | None = None) -> None:
        super().__init__(batch_size, shuffle, seed=seed)
        if gate not in GATES:
            raise unknown_name("gate", gate, GATES)
        self.gate = gate
        self.train_rows = self.validation_rows = torch.arange(4)

    def samples(self, part: str, device: torch.device) -> Batch:  # noqa: ARG002 - all parts are the same
        """Returns the four rows (4, 2) float32 and their labels (4,) int64."""
        return torch.tensor(_ROWS, device=device), torch.tensor(GATES[self.gate], device=device)

    @property
    def num_classes(self) -> int:
        """Two."""
        return 2

    def describe(self, module: LightningModule) -> str:
        """Returns the truth table with predicted class and output for each row, and whether all are right."""
        outputs = evaluate(module, torch.tensor(_ROWS))
        predicted = _predicted_classes(module, outputs).tolist()
        name, labels = self.gate.upper(), GATES[self.gate]
        lines = [f"x1 x2 {name:>5} class  output"]
        for (x1, x2), label, own, output in zip(_ROWS, labels, predicted, outputs.tolist(), strict=True):
            numbers = " ".join(f"{number:8.4f}" for number in output)
            lines.append(f"{x1:2.0f} {x2:2.0f} {label:5d} {own:5d} {numbers} {'right' if own == label else 'wrong'}")
        return "\n".join([*lines, f"{name} is {'solved' if predicted == labels else 'not solved'}"])


class LinearRegressionDataModule(InMemoryDataModule):
    """A plane with noise: standard normal inputs x (batch, inputs) float32, targets x.w + b + noise (batch, 1) float32.

    The weights w and the bias b are drawn from the standard normal distribution. After a fit, they are printed beside
    the learned ones.

    Args:
        inputs: Numbers in an input, 1 or more.
        samples: Samples for training and validation together; the test set has as many of its own.
        noise: Standard deviation of the noise, 0 or more: the best root mean squared error there is.
        batch_size: Samples a batch, at least 1 and at most the training split; over all devices, if several.
        validation: How many samples are held out, or a fraction in (0, 1).
        seed: Seed of weights, samples, split and order. `None`: the run's seed.

    Raises:
        ConfigError: A value out of range.
    """

    samples_depend_on_seed = True

    def __init__(
        self,
        inputs: int = 1,
        samples: int = 1000,
        noise: float = 0.1,
        batch_size: int = 50,
        validation: int | float = 0.2,
        seed: int | None = None,
    ) -> None:
        super().__init__(batch_size, seed=seed)
        for key, value in (("inputs", inputs), ("samples", samples)):
            if value < 1:
                raise ConfigError(key, f"must be 1 or more; got {value!r}")
        if not 0 <= noise < inf:
            raise ConfigError("noise", f"must be a number, 0 or more; got {noise!r}")
        check_validation(validation)
        self.inputs = inputs
        self.noise = noise
        self.validation = validation
        self.weights = torch.randn(inputs, generator=generator(self.seed, "weights"))
        self.bias = torch.randn(1, generator=generator(self.seed, "bias"))
        self._parts = {part: self._draw(part, samples) for part in ("train", "test")}

    def _draw(self, part: str, samples: int) -> Batch:
        stream = generator(self.seed, "regression", part)
        inputs = torch.randn(samples, self.inputs, generator=stream)
        noise = self.noise * torch.randn(samples, 1, generator=stream)
        return inputs, inputs @ self.weights[:, None] + self.bias + noise

    def setup(self, stage: str) -> None:
        """Splits the samples.

        Raises:
            ConfigError: A split or a batch that is too large.
        """
        self.train_rows, self.validation_rows = split(len(self._parts["train"][0]), self.validation, self.seed)
        super().setup(stage)

    def samples(self, part: str, device: torch.device) -> Batch:
        """Returns inputs (n, inputs) float32 and targets (n, 1) float32 of `train` or `test`."""
        inputs, targets = self._parts[part]
        return inputs.to(device), targets.to(device)

    def describe(self, module: LightningModule) -> str:
        """Returns true and learned weights and bias, and the distance of the module from a linear function.

        The module may be any function. Its outputs at the origin and at the unit vectors define a plane, which gives
        the learned weights and bias. The distance is the largest one from this plane on the test set.
        """
        outputs = evaluate(module, torch.cat([torch.zeros(1, self.inputs), torch.eye(self.inputs)]))[:, :1]
        bias, weights = outputs[0], (outputs[1:] - outputs[0])[:, 0]
        lines = [f"{'':8} {'true':>10} {'learned':>10}"]
        for number in range(self.inputs):
            lines.append(f"{f'weight {number + 1}':8} {self.weights[number]:10.4f} {weights[number]:10.4f}")
        lines.append(f"{'bias':8} {float(self.bias):10.4f} {float(bias):10.4f}")
        test = self._parts["test"][0]
        distance = (evaluate(module, test)[:, :1] - (test @ weights[:, None] + bias)).abs().max()
        return "\n".join([*lines, f"largest distance from a linear function on the test set: {distance:.4f}"])


@torch.no_grad()
def evaluate(module: LightningModule, inputs: Tensor) -> Tensor:
    """Returns the outputs of a module in evaluation mode for inputs (n, ...): (n, outputs) float32 on the CPU."""
    was_training = module.training
    module.eval()
    outputs: Tensor = module(inputs.to(module.device))
    module.train(was_training)
    return outputs.reshape(len(inputs), -1).float().cpu()


def _predicted_classes(module: LightningModule, outputs: Tensor) -> Tensor:
    """Returns the classes (n,) int64 of outputs.

    Calls the method `classes` of the module, as `Classifier` has it. Without one, a single output means class 1 when it
    is positive, and the largest of several outputs gives the class.
    """
    classes = getattr(module, "classes", None)
    if callable(classes):
        predicted: Tensor = classes(outputs)
        return predicted
    return (outputs[:, 0] > 0).long() if outputs.shape[1] == 1 else outputs.argmax(1)
