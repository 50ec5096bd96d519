"""Losses against formulas written out sample by sample in Python's float64, and gradients by differences of those."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from lit_dl.errors import ConfigError
from lit_dl.nn.losses import LOSSES, build_loss, check_outputs, loss_options

Formula = Callable[..., float]  # (outputs (batch, n), targets, parameters) -> the loss


def mean_of(error: Callable[..., float]) -> Formula:
    """The mean over samples and outputs of a function of output minus target."""

    def formula(outputs: np.ndarray, targets: np.ndarray, **parameters: float) -> float:
        return float(np.mean([error(o - t, **parameters) for o, t in zip(outputs.flat, targets.flat, strict=True)]))

    return formula


def over_samples(loss: Callable[..., float]) -> Formula:
    """The mean over samples of a function of a row of outputs and a label."""

    def formula(outputs: np.ndarray, labels: np.ndarray, **parameters: float) -> float:
        return float(np.mean([loss(row, label, **parameters) for row, label in zip(outputs, labels, strict=True)]))

    return formula


def cross_entropy(logits: np.ndarray, label: int, label_smoothing: float = 0.0) -> float:
    return nll(logits - math.log(sum(math.exp(z) for z in logits)), label, label_smoothing)


def nll(log_shares: np.ndarray, label: int, label_smoothing: float = 0.0) -> float:
    """Of a target that has 1 - smoothing on the label, and smoothing spread evenly over all classes."""
    classes = len(log_shares)
    target = [(1 - label_smoothing) * (c == label) + label_smoothing / classes for c in range(classes)]
    return -sum(t * log_share for t, log_share in zip(target, log_shares, strict=True))


def binary_cross_entropy(outputs: np.ndarray, targets: np.ndarray, label_smoothing: float = 0.0) -> float:
    total = 0.0
    for z, target in zip(outputs.flat, targets.flat, strict=True):
        share, goal = 1 / (1 + math.exp(-z)), target * (1 - label_smoothing) + label_smoothing / 2
        total -= goal * math.log(share) + (1 - goal) * math.log(1 - share)
    return total / outputs.size


def hinge(logits: np.ndarray, label: int) -> float:
    return sum(max(0.0, 1 - logits[label] + z) for c, z in enumerate(logits) if c != label) / len(logits)


def perceptron(score: np.ndarray, label: int) -> float:
    side = 1 if label else -1
    return max(0.0, -side * score[0])


def huber(error: float, delta: float = 1.0) -> float:
    return error**2 / 2 if abs(error) <= delta else delta * (abs(error) - delta / 2)


def pseudo_huber(error: float, delta: float = 1.0) -> float:
    return delta**2 * (math.sqrt(1 + (error / delta) ** 2) - 1)


def mean_square(outputs: np.ndarray, targets: np.ndarray) -> float:
    return mean_of(lambda error: error**2)(outputs, targets)


class Reference(NamedTuple):
    """A formula and the kind of outputs and targets that it is tested on: `labels`, `sign` or `values`."""

    formula: Formula
    kind: str
    parameters: tuple[dict[str, float], ...] = ({},)


SMOOTHINGS = ({}, {"label_smoothing": 0.1}, {"label_smoothing": 0.7})
DELTAS = ({}, {"delta": 0.5}, {"delta": 2.0})
REFERENCES: dict[str, Reference] = {
    "cross_entropy": Reference(over_samples(cross_entropy), "labels", SMOOTHINGS),
    "nll": Reference(over_samples(nll), "labels", SMOOTHINGS),
    "binary_cross_entropy": Reference(binary_cross_entropy, "values", SMOOTHINGS),
    "hinge": Reference(over_samples(hinge), "labels"),
    "perceptron": Reference(over_samples(perceptron), "sign"),
    "mse": Reference(mean_square, "values"),
    "mae": Reference(mean_of(abs), "values"),
    "rmse": Reference(lambda outputs, targets: math.sqrt(mean_square(outputs, targets)), "values"),
    "huber": Reference(mean_of(huber), "values", DELTAS),
    "pseudo_huber": Reference(mean_of(pseudo_huber), "values", DELTAS),
    "log_cosh": Reference(mean_of(lambda error: math.log(math.cosh(error))), "values"),
}
CASES = [(name, parameters) for name, reference in REFERENCES.items() for parameters in reference.parameters]


def batch_of(kind: str, n: int = 17, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    if kind == "sign":
        return draw.normal(scale=3.0, size=(n, 1)), draw.integers(0, 2, n)
    outputs = draw.normal(scale=3.0, size=(n, classes))
    return outputs, draw.integers(0, classes, n) if kind == "labels" else draw.random((n, classes))


def ours(name: str, outputs: np.ndarray, targets: np.ndarray, **parameters: Any) -> tuple[float, np.ndarray]:
    """The loss and its gradient by autograd."""
    given = torch.tensor(outputs, dtype=torch.float64, requires_grad=True)
    loss = build_loss(name, outputs.shape[1], parameters)(given, torch.from_numpy(np.asarray(targets)))
    assert loss.ndim == 0
    loss.backward()
    assert given.grad is not None
    return float(loss.detach()), given.grad.numpy()


def differences(formula: Formula, outputs: np.ndarray, targets: np.ndarray, **parameters: float) -> np.ndarray:
    """The gradient of a formula, from its values a little to both sides."""
    gradient, step = np.zeros_like(outputs), 1e-5
    for place in np.ndindex(*outputs.shape):
        shifted = [outputs.copy(), outputs.copy()]
        shifted[0][place] -= step
        shifted[1][place] += step
        below, above = (formula(each, targets, **parameters) for each in shifted)
        gradient[place] = (above - below) / (2 * step)
    return gradient


def test_every_row_has_a_reference_here() -> None:
    missing = sorted(set(LOSSES) - set(REFERENCES))
    assert not missing, f"add the formula of {missing}, sample by sample, to REFERENCES"


def test_every_parameter_is_tested_here() -> None:
    for name, row in LOSSES.items():
        tested = {key for parameters in REFERENCES[name].parameters for key in parameters}
        assert tested == set(row.options), f"{name}: let REFERENCES name values of {set(row.options) - tested}"


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_loss_and_gradient_follow_the_formula(name: str, parameters: dict[str, float]) -> None:
    reference = REFERENCES[name]
    outputs, targets = batch_of(reference.kind)
    loss, gradient = ours(name, outputs, targets, **parameters)
    assert loss == pytest.approx(reference.formula(outputs, targets, **parameters), rel=1e-9)
    np.testing.assert_allclose(gradient, differences(reference.formula, outputs, targets, **parameters), atol=1e-8)


def test_every_row_names_its_source() -> None:
    assert all(row.source for row in LOSSES.values())


# What each is known for


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_nll_of_a_log_softmax_is_cross_entropy(smoothing: float) -> None:
    logits, labels = batch_of("labels")
    log_shares = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    by_nll, _ = ours("nll", log_shares, labels, label_smoothing=smoothing)
    by_cross_entropy, _ = ours("cross_entropy", logits, labels, label_smoothing=smoothing)
    assert by_nll == pytest.approx(by_cross_entropy, rel=1e-12)


def test_cross_entropy_of_a_network_that_knows_nothing_is_the_logarithm_of_the_classes() -> None:
    assert ours("cross_entropy", np.zeros((3, 10)), np.array([0, 4, 9]))[0] == pytest.approx(math.log(10))


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("score", [-2.5, -0.1, 0.0, 0.1, 2.5])
def test_a_perceptron_step_is_rosenblatts(score: float, label: int) -> None:
    """w <- w + rate (label - answer) x, where the answer is 1 above the threshold; nothing when it was right.

    A score of 0 is an answer of 0, so that label 1 is corrected there too: zero weights would never learn otherwise.
    """
    inputs = torch.tensor([0.5, -1.5, 1.0], dtype=torch.float64)
    weights = (score * inputs / inputs.square().sum()).requires_grad_()
    loss = build_loss("perceptron", 1)((weights @ inputs).reshape(1, 1), torch.tensor([label]))
    loss.backward()
    assert weights.grad is not None
    answer = 1 if score > 0 else 0
    rosenblatt = weights.detach() + 1.0 * (label - answer) * inputs
    torch.testing.assert_close(weights.detach() - 1.0 * weights.grad, rosenblatt, rtol=0, atol=0)


def test_huber_and_its_relatives_are_squares_near_zero_and_lines_far_from_it() -> None:
    near, far = np.array([[1e-3]]), np.array([[50.0]])
    zero = np.zeros((1, 1))
    for name in ("huber", "pseudo_huber", "log_cosh"):
        assert ours(name, near, zero)[0] == pytest.approx(1e-6 / 2, rel=1e-5)
        assert ours(name, far, zero)[1] == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("error", [-1e3, 1e3])
def test_log_cosh_does_not_overflow(error: float) -> None:
    """log(cosh(x)) is |x| - log 2 up to exp(-2 |x|); cosh alone overflows single precision at 90."""
    output = torch.tensor([[error]], requires_grad=True)
    loss = build_loss("log_cosh", 1)(output, torch.zeros(1, 1))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(1e3 - math.log(2), rel=1e-6)
    assert output.grad is not None
    assert float(output.grad) == pytest.approx(math.copysign(1.0, error))


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy"])
@pytest.mark.parametrize("size", [200.0, -200.0])
def test_logits_far_from_zero_do_not_overflow(name: str, size: float) -> None:
    """A wrong answer by 200 costs 200 nats (and a right one nothing)."""
    outputs = torch.tensor([[size, 0.0]] if name == "cross_entropy" else [[size]])
    loss = build_loss(name, outputs.shape[1])(outputs, torch.tensor([1]))
    expected = {"cross_entropy": max(size, 0.0), "binary_cross_entropy": max(-size, 0.0)}[name]
    assert float(loss) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", [name for name, reference in REFERENCES.items() if reference.kind == "values"])
def test_the_gradient_of_a_perfect_prediction_is_finite(name: str) -> None:
    """The root in rmse has an infinite slope at 0."""
    targets = np.array([[0.0, 1.0], [1.0, 0.0]])
    loss, gradient = ours(name, targets.copy(), targets)
    assert math.isfinite(loss)
    assert np.isfinite(gradient).all()
    if name != "binary_cross_entropy":
        assert loss == pytest.approx(0.0, abs=1e-15)
        assert not gradient.any()


# Labels where values are wanted


@pytest.mark.parametrize("name", [name for name, row in LOSSES.items() if not row.takes_labels])
def test_labels_become_one_hot_values(name: str) -> None:
    outputs, labels = batch_of("labels")
    one_hot = np.array([[float(c == label) for c in range(5)] for label in labels])
    expected = REFERENCES[name].formula(outputs, one_hot)
    assert ours(name, outputs, labels)[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", [name for name, row in LOSSES.items() if not row.takes_labels])
def test_labels_become_zeros_and_ones_for_a_single_output(name: str) -> None:
    outputs, labels = batch_of("sign")
    expected = REFERENCES[name].formula(outputs, labels[:, None].astype(float))
    assert ours(name, outputs, labels)[0] == pytest.approx(expected, rel=1e-9)


# Parameters


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("cross_entropy", {}, {"label_smoothing": 0.0}),
        ("cross_entropy", {"label_smoothing": None, "delta": None}, {"label_smoothing": 0.0}),
        ("nll", {"label_smoothing": 0.3}, {"label_smoothing": 0.3}),
        ("huber", {}, {"delta": 1.0}),
        ("mse", {}, {}),
    ],
)
def test_parameters_are_given_or_by_default(
    name: str, given: dict[str, float | None], expected: dict[str, float]
) -> None:
    assert loss_options(name, given) == expected


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("nll", {"label_smoothing": 1.0}, "label_smoothing: must be in [0, 1); got 1.0"),
        ("nll", {"label_smoothing": -0.1}, "label_smoothing: must be in [0, 1); got -0.1"),
        ("huber", {"delta": 0.0}, "delta: must be above 0 and finite; got 0.0"),
        ("huber", {"delta": math.inf}, "delta: must be above 0 and finite; got inf"),
        (
            "hinge",
            {"label_smoothing": 0.1},
            "label_smoothing: 0.1 does not apply to loss='hinge', but to cross_entropy, nll, binary_cross_entropy; "
            "set it to null",
        ),
        ("mse", {"delta": 2.0}, "delta: 2.0 does not apply to loss='mse', but to huber, pseudo_huber; set it to null"),
    ],
)
def test_parameters_that_cannot_be_used(name: str, given: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_loss(name, 3, given)
    assert str(caught.value) == message


def test_an_unknown_loss_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"^loss: 'hing' is not one of cross_entropy, .*; did you mean 'hinge'\?$"):
        build_loss("hing", 3)


# Outputs

OUTPUTS = {  # of each loss: activation by default, activations it can be computed from, numbers of outputs
    "cross_entropy": ("linear", {"linear"}, {2, 10}),
    "nll": ("log_softmax", {"log_softmax"}, {2, 10}),
    "binary_cross_entropy": ("linear", {"linear"}, {1, 2, 10}),
    "hinge": ("linear", {"linear"}, {2, 10}),
    "perceptron": ("linear", {"linear"}, {1}),
    **dict.fromkeys(
        ("mse", "mae", "rmse", "huber", "pseudo_huber", "log_cosh"),
        ("linear", {"linear", "sigmoid", "softmax"}, {1, 2, 10}),
    ),
}


def test_the_outputs_of_every_loss_are_tested_here() -> None:
    assert set(OUTPUTS) == set(LOSSES), "say in OUTPUTS what outputs the loss takes"


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_that_a_loss_takes(name: str) -> None:
    default, activations, counts = OUTPUTS[name]
    for outputs in (1, 2, 10):
        for activation in ("linear", "sigmoid", "softmax", "log_softmax"):
            fits = activation in activations and outputs in counts and not (activation == "softmax" and outputs == 1)
            if fits:
                assert check_outputs(name, outputs, activation) == activation
            else:
                with pytest.raises(ConfigError):
                    check_outputs(name, outputs, activation)
        if outputs in counts:
            assert check_outputs(name, outputs, None) == default


@pytest.mark.parametrize(
    ("name", "outputs", "activation", "message"),
    [
        (
            "cross_entropy",
            10,
            "softmax",
            "network.output_activation: 'softmax' does not go with loss='cross_entropy', which takes linear outputs; "
            "leave it out or choose another loss (mse, mae, rmse, huber, pseudo_huber, log_cosh)",
        ),
        (
            "mse",
            10,
            "log_softmax",
            "network.output_activation: 'log_softmax' does not go with loss='mse', which takes linear or sigmoid or "
            "softmax outputs; leave it out or choose another loss (nll)",
        ),
        ("cross_entropy", 1, None, "network.outputs: must be 2 or more for loss='cross_entropy'; got 1"),
        ("perceptron", 10, None, "network.outputs: must be 1 for loss='perceptron'; got 10"),
        ("mse", 1, "softmax", "network.outputs: must be 2 or more for output_activation='softmax'; got 1"),
    ],
)
def test_outputs_that_do_not_go_with_a_loss_name_both_keys(
    name: str, outputs: int, activation: str | None, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_outputs(name, outputs, activation)
    assert str(caught.value) == message
