"""Logic gates and linear regression, and what the shipped configs make of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from paths import REPOSITORY
from torch import Tensor

from lit_dl.cli.command import command
from lit_dl.cli.lit_cli import build_run
from lit_dl.config.keys import normalize
from lit_dl.config.yaml_io import load_yaml
from lit_dl.data.toy import GATES, Gate, LinearRegressionDataModule, LogicGateDataModule
from lit_dl.errors import ConfigError
from lit_dl.modules.classifier import Classifier
from lit_dl.nn.network_config import NetworkConfig

CPU = torch.device("cpu")
FITS = REPOSITORY / "configs" / "fit"
ROWS = [(0, 0), (0, 1), (1, 0), (1, 1)]
OPERATORS: dict[Gate, Callable[[int, int], bool]] = {
    "and": lambda a, b: bool(a and b),
    "or": lambda a, b: bool(a or b),
    "nand": lambda a, b: not (a and b),
    "nor": lambda a, b: not (a or b),
    "xor": lambda a, b: a != b,
    "xnor": lambda a, b: a == b,
}


class Function(LightningModule):
    """A module that is any function of its inputs."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        assert not self.training
        return self.function(inputs)


def in_epoch(data: Any, epoch: int) -> Any:
    strategy = SimpleNamespace(root_device=CPU)
    data.trainer = SimpleNamespace(
        current_epoch=epoch - 1, lightning_module=None, strategy=strategy, world_size=1, global_rank=0
    )
    return data


def served(loader: Any) -> tuple[Tensor, Tensor]:
    inputs, targets = zip(*loader, strict=True)
    return torch.cat(inputs), torch.cat(targets)


def fitted(name: str, **trainer: Any) -> Any:
    """The run of a shipped config, after its training; it leaves no file."""
    config = normalize(load_yaml(FITS / f"{name}.yaml"))
    config["trainer"] = {**config["trainer"], "accelerator": "cpu", **trainer}
    run = build_run(config)
    run.check()
    run.fit()
    return run


# Gates


@pytest.mark.parametrize("gate", OPERATORS)
def test_a_gate_is_its_truth_table_in_every_split(gate: Gate) -> None:
    data = LogicGateDataModule(gate)
    data.setup("fit")
    for loader in ("train", "val", "test", "predict"):
        inputs, labels = served(getattr(data, f"{loader}_dataloader")())
        assert (inputs.dtype, labels.dtype) == (torch.float32, torch.int64)
        assert inputs.tolist() == [list(row) for row in ROWS]
        assert labels.tolist() == [int(OPERATORS[gate](*row)) for row in ROWS]
    assert (data.shape, data.num_classes) == ([2], 2)


def test_every_gate_is_tried() -> None:
    assert set(GATES) == set(OPERATORS)


def test_a_gate_in_order_or_shuffled() -> None:
    assert [len(labels) for _, labels in LogicGateDataModule("and").train_dataloader()] == [1, 1, 1, 1]
    data = LogicGateDataModule("and", batch_size=4, shuffle=True, seed=0)
    orders = {tuple(map(tuple, served(in_epoch(data, epoch).train_dataloader())[0].tolist())) for epoch in range(1, 9)}
    assert len(orders) > 1
    assert all(sorted(order) == ROWS for order in orders)


def test_the_truth_table_of_a_module_with_one_output() -> None:
    module = Function(lambda inputs: inputs[:, :1] + inputs[:, 1:] - 0.5)
    assert LogicGateDataModule("or").describe(module).splitlines() == [
        "x1 x2    OR class  output",
        " 0  0     0     0  -0.5000 right",
        " 0  1     1     1   0.5000 right",
        " 1  0     1     1   0.5000 right",
        " 1  1     1     1   1.5000 right",
        "OR is solved",
    ]
    assert module.training
    text = LogicGateDataModule("xor").describe(module)
    assert text.splitlines()[-2:] == [" 1  1     0     1   1.5000 wrong", "XOR is not solved"]


def test_the_truth_table_of_a_module_with_two_outputs() -> None:
    module = Function(lambda inputs: torch.stack([1.5 - inputs[:, 0], inputs[:, 1]], 1))
    text = LogicGateDataModule("and").describe(module)
    assert text.splitlines()[1:] == [
        " 0  0     0     0   1.5000   0.0000 right",
        " 0  1     0     0   1.5000   1.0000 right",
        " 1  0     0     0   0.5000   0.0000 right",
        " 1  1     1     1   0.5000   1.0000 right",
        "AND is solved",
    ]


def test_a_classifier_says_itself_where_class_1_begins() -> None:
    """With squared errors at one half, not at 0."""
    module = Classifier(NetworkConfig(depth=0, input_shape=[2], outputs=1), loss="mse")
    with torch.no_grad():
        for parameter, values in zip(module.parameters(), ([[0.5, 0.5]], [-0.25]), strict=True):
            parameter.copy_(torch.tensor(values))
    lines = LogicGateDataModule("and").describe(module).splitlines()
    assert lines[2] == " 0  1     0     0   0.2500 right"
    assert lines[-1] == "AND is solved"


EPOCHS = 20  # AND is solved after 6; XOR repeats itself


@pytest.mark.parametrize("solvable", [True, False], ids=["and", "xor"])
def test_the_perceptron_is_rosenblatts(solvable: bool) -> None:
    """Weights after every row as his rule has them: add what is missed, take away what is claimed too much."""
    name = "and" if solvable else "xor"
    run = fitted(f"perceptron_{name}", max_epochs=EPOCHS)
    weights, mistakes = np.zeros(3), []
    for _ in range(EPOCHS):
        wrong = 0
        for row, label in zip(ROWS, (int(OPERATORS[name](*row)) for row in ROWS), strict=True):  # type: ignore[index]
            inputs = np.array([*row, 1])
            error = label - int(weights @ inputs > 0)
            weights = weights + error * inputs
            wrong += abs(error)
        mistakes.append(wrong)
    assert run.module.network.output.weight.flatten().tolist() == weights[:2].tolist()
    assert run.module.network.output.bias.tolist() == [weights[2]]
    assert [round(4 * (1 - row["train/acc"])) for row in run.rows] == mistakes
    assert (mistakes[-1] == 0) is solvable
    assert run.data.describe(run.module).endswith("AND is solved" if solvable else "XOR is not solved")


def test_two_hidden_units_learn_xor() -> None:
    run = fitted("mlp_xor")
    assert run.data.describe(run.module).endswith("XOR is solved")
    assert sum(parameter.numel() for parameter in run.module.parameters()) == 2 * 2 + 2 + 2 + 1


def test_a_fit_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["--run_dir", str(tmp_path / "run"), "--tracking.wandb", "disabled", "--trainer.accelerator", "cpu"]
    command(["fit", "--config", str(FITS / "perceptron_and.yaml"), "--trainer.max_epochs", "6", *run])
    assert capsys.readouterr().out.splitlines()[-2:] == [" 1  1     1     1   1.0000 right", "AND is solved"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gate": "xand"}, "gate: 'xand' is not one of and, or, nand, nor, xor, xnor; did you mean 'and'?"),
        ({"gate": "and", "batch_size": 0}, "batch_size: must be 1 or more; got 0"),
        ({"gate": "and", "batch_size": 5}, "batch_size: must be at most the training split of 4; got 5"),
    ],
)
def test_a_gate_that_cannot_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LogicGateDataModule(**values).setup("fit")
    assert str(caught.value) == message


# Linear regression


def made(**values: Any) -> LinearRegressionDataModule:
    data = LinearRegressionDataModule(**{"seed": 0, **values})
    data.setup("fit")
    return data


@pytest.mark.parametrize("inputs", [1, 3])
@pytest.mark.parametrize("part", ["train", "test"])
def test_targets_are_the_plane_and_the_noise(inputs: int, part: str) -> None:
    plain = made(inputs=inputs, noise=0.0)
    x, y = (tensor.double().numpy() for tensor in plain.samples(part, CPU))
    assert (x.shape, y.shape) == ((1000, inputs), (1000, 1))
    plane = x @ plain.weights.double().numpy() + plain.bias.double().numpy()
    np.testing.assert_allclose(y[:, 0], plane, rtol=1e-5, atol=1e-6)
    noisy = made(inputs=inputs, noise=0.5).samples(part, CPU)[1].double().numpy()[:, 0] - plane
    # For 1000 normalize deviates these hold with probability 0.9999: 3.9 standard errors.
    assert abs(noisy.mean()) < 3.9 * 0.5 / np.sqrt(1000)
    assert abs(noisy.std() - 0.5) < 3.9 * 0.5 / np.sqrt(2000)
    assert np.all(np.abs(x.mean(0)) < 3.9 / np.sqrt(1000))


def test_the_splits_share_no_sample() -> None:
    data = in_epoch(made(samples=50, batch_size=7, validation=0.3), 1)
    splits = [set(served(getattr(data, f"{name}_dataloader")())[0][:, 0].tolist()) for name in ("train", "val", "test")]
    assert [len(split) for split in splits] == [35, 15, 50]
    assert len(set.union(*splits)) == 100


def test_everything_follows_from_the_seed() -> None:
    first, again, other = made(inputs=2), made(inputs=2), made(inputs=2, seed=1)
    assert torch.equal(first.samples("test", CPU)[1], again.samples("test", CPU)[1])
    assert torch.equal(first.validation_rows, again.validation_rows)
    for name in ("weights", "bias", "validation_rows"):
        assert not torch.equal(getattr(first, name), getattr(other, name))
    assert first.weights[0] == made(inputs=1).weights[0]


def test_learned_weights_beside_the_true_ones() -> None:
    data = made(inputs=2)
    module = Function(lambda x: 2.0 * x[:, :1] - 3.0 * x[:, 1:] + 0.5)
    truth = [*data.weights.tolist(), float(data.bias)]
    lines = data.describe(module).splitlines()
    assert [line.split()[-2] for line in lines[1:4]] == [f"{value:.4f}" for value in truth]
    assert [line.split()[-1] for line in lines[1:4]] == ["2.0000", "-3.0000", "0.5000"]
    assert [line[:8].strip() for line in lines[:4]] == ["", "weight 1", "weight 2", "bias"]
    assert lines[4] == "largest distance from a linear function on the test set: 0.0000"


def test_a_function_that_is_no_plane_says_how_far_it_is() -> None:
    """x**2 goes through (0, 0) and (1, 1), and is |x**2 - x| away from that line."""
    data = made()
    x = data.samples("test", CPU)[0].double().numpy()
    line = data.describe(Function(torch.square)).splitlines()[-1]
    assert float(line.split()[-1]) == pytest.approx(np.abs(x**2 - x).max(), abs=1e-4)


@pytest.mark.parametrize("name", ["linear_regression", "linear_regression_several"])
def test_gradient_descent_finds_the_least_squares(name: str) -> None:
    run = fitted(name)
    x, y = (tensor.double().numpy() for tensor in run.data.samples("train", CPU))
    rows = run.data.train_rows.numpy()
    design = np.column_stack([x[rows], np.ones(len(rows))])
    best, *_ = np.linalg.lstsq(design, y[rows, 0], rcond=None)
    output = run.module.network.output
    learned = [*output.weight.flatten().tolist(), *output.bias.tolist()]
    # Minibatches of 50 keep the weights moving by about lr * noise / sqrt(50) = 0.0014 a step around it.
    np.testing.assert_allclose(learned, best, atol=0.02)
    assert abs(best[0]) > 0.5  # no fit of nothing


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"inputs": 0}, "inputs: must be 1 or more; got 0"),
        ({"samples": 0}, "samples: must be 1 or more; got 0"),
        ({"samples": 2}, "validation: must leave some of 2 samples for each split; got 0.2"),
        ({"noise": -0.1}, "noise: must be a number, 0 or more; got -0.1"),
        ({"noise": float("nan")}, "noise: must be a number, 0 or more; got nan"),
        ({"batch_size": 0}, "batch_size: must be 1 or more; got 0"),
        ({"batch_size": 801}, "batch_size: must be at most the training split of 800; got 801"),
        ({"validation": 1000}, "validation: must leave some of 1,000 samples for each split; got 1000"),
        (
            {"validation": -1},
            "validation: must be a number of samples, 1 or more, or a fraction in (0, 1); got -1",
        ),
    ],
)
def test_a_regression_that_cannot_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(**values)
    assert str(caught.value) == message
