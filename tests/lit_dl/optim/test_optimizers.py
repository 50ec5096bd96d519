"""Twenty steps on a small problem, in float64, against the update rules as the papers write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lit_dl.errors import ConfigError
from lit_dl.optim.optimizers import OPTIMIZERS, OptimizerConfig, build_optimizer, check_optimizer, hyperparameters

Vector = np.ndarray
Gradient = Callable[[Vector], Vector]

_MATRIX = np.diag([1.0, 4.0, 0.3]) + 0.2
_OFFSET = np.array([1.0, -2.0, 0.5])
START = np.array([3.0, -1.0, 2.0])
STEPS = 20


def gradient(x: Vector) -> Vector:
    """Of x'Ax / 2 - b'x - sum cos(3x) / 3: coupled, curved, with slopes that change their sign."""
    return _MATRIX @ x - _OFFSET + np.sin(3 * x)


# Each rule: (gradient, hyperparameters) -> where the parameters are after each step.


def sgd(g: Gradient, lr: float, weight_decay: float) -> list[Vector]:
    x, path = START.copy(), []
    for _ in range(STEPS):
        x = x - lr * (g(x) + weight_decay * x)
        path.append(x)
    return path


def heavy_ball(g: Gradient, lr: float, momentum: float, weight_decay: float) -> list[Vector]:
    """Polyak 1964: each step adds `momentum` times the last displacement."""
    x, last, path = START.copy(), START.copy(), []
    for _ in range(STEPS):
        x, last = x - lr * (g(x) + weight_decay * x) + momentum * (x - last), x
        path.append(x)
    return path


def look_ahead(g: Gradient, lr: float, momentum: float, weight_decay: float) -> list[Vector]:
    """Sutskever et al. 2013, equations 3 and 4; what is kept is where the gradient is taken."""
    theta, velocity, path = START.copy(), np.zeros(3), []
    for _ in range(STEPS):
        ahead = theta + momentum * velocity
        velocity = momentum * velocity - lr * (g(ahead) + weight_decay * ahead)
        theta = theta + velocity
        path.append(theta + momentum * velocity)
    return path


def adagrad(g: Gradient, lr: float, initial_accumulator_value: float, eps: float, weight_decay: float) -> list[Vector]:
    """Duchi et al. 2011, figure 1, with the diagonal of G and a small number added to its root."""
    x, total, path = START.copy(), np.full(3, initial_accumulator_value), []
    for _ in range(STEPS):
        slope = g(x) + weight_decay * x
        total = total + slope**2
        x = x - lr * slope / (np.sqrt(total) + eps)
        path.append(x)
    return path


def adadelta(g: Gradient, lr: float, rho: float, eps: float, weight_decay: float) -> list[Vector]:
    """Zeiler 2012, algorithm 1; PyTorch and Keras multiply its step by lr."""
    x, mean_slope, mean_step, path = START.copy(), np.zeros(3), np.zeros(3), []
    for _ in range(STEPS):
        slope = g(x) + weight_decay * x
        mean_slope = rho * mean_slope + (1 - rho) * slope**2
        step = -np.sqrt(mean_step + eps) / np.sqrt(mean_slope + eps) * slope
        mean_step = rho * mean_step + (1 - rho) * step**2
        x = x + lr * step
        path.append(x)
    return path


def rmsprop(g: Gradient, lr: float, rho: float, eps: float, momentum: float, weight_decay: float) -> list[Vector]:
    """Hinton 2012, lecture 6e, slide 29; the momentum on top as Graves 2013 (arXiv 1308.0850), equation 41."""
    x, mean_square, velocity, path = START.copy(), np.zeros(3), np.zeros(3), []
    for _ in range(STEPS):
        slope = g(x) + weight_decay * x
        mean_square = rho * mean_square + (1 - rho) * slope**2
        velocity = momentum * velocity + lr * slope / (np.sqrt(mean_square) + eps)
        x = x - velocity
        path.append(x)
    return path


def adam(
    g: Gradient, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool = False
) -> list[Vector]:
    """Kingma & Ba 2015, algorithm 1; `decoupled`: decay as Loshchilov & Hutter 2019, times lr as PyTorch has it."""
    x, m, v, path = START.copy(), np.zeros(3), np.zeros(3), []
    for t in range(1, STEPS + 1):
        slope = g(x) if decoupled else g(x) + weight_decay * x
        m = beta1 * m + (1 - beta1) * slope
        v = beta2 * v + (1 - beta2) * slope**2
        step = lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
        x = x - step - (lr * weight_decay * x if decoupled else 0)
        path.append(x)
    return path


def adamax(g: Gradient, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float) -> list[Vector]:
    """Kingma & Ba 2015, algorithm 2; eps keeps the largest gradient above 0."""
    x, m, largest, path = START.copy(), np.zeros(3), np.zeros(3), []
    for t in range(1, STEPS + 1):
        slope = g(x) + weight_decay * x
        m = beta1 * m + (1 - beta1) * slope
        largest = np.maximum(beta2 * largest, np.abs(slope) + eps)
        x = x - lr / (1 - beta1**t) * m / largest
        path.append(x)
    return path


def nadam(
    g: Gradient, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, momentum_decay: float
) -> list[Vector]:
    """Dozat 2016, algorithm 2; mu as in section 2.3, 0.96 raised to `momentum_decay` times the step (0.004 there)."""
    mu = [beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay)) for t in range(STEPS + 2)]
    x, m, n, path = START.copy(), np.zeros(3), np.zeros(3), []
    for t in range(1, STEPS + 1):
        slope = g(x) + weight_decay * x
        m = beta1 * m + (1 - beta1) * slope
        n = beta2 * n + (1 - beta2) * slope**2
        ahead = mu[t + 1] * m / (1 - np.prod(mu[1 : t + 2]))
        here = (1 - mu[t]) * slope / (1 - np.prod(mu[1 : t + 1]))
        x = x - lr * (ahead + here) / (np.sqrt(n / (1 - beta2**t)) + eps)
        path.append(x)
    return path


def radam(g: Gradient, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float) -> list[Vector]:
    """Liu et al. 2020, algorithm 2, rectified above 5 as in the authors' code and in PyTorch (the paper: above 4)."""
    x, m, v, path = START.copy(), np.zeros(3), np.zeros(3), []
    longest = 2 / (1 - beta2) - 1
    for t in range(1, STEPS + 1):
        slope = g(x) + weight_decay * x
        m = beta1 * m + (1 - beta1) * slope
        v = beta2 * v + (1 - beta2) * slope**2
        corrected = m / (1 - beta1**t)
        rho = longest - 2 * t * beta2**t / (1 - beta2**t)
        if rho > 5:
            adaptive = np.sqrt(1 - beta2**t) / (np.sqrt(v) + eps)
            rectified = ((rho - 4) * (rho - 2) * longest) / ((longest - 4) * (longest - 2) * rho)
            corrected = np.sqrt(rectified) * corrected * adaptive
        x = x - lr * corrected
        path.append(x)
    return path


def adamw_of_muon(g: Gradient, lr: float, momentum: float, weight_decay: float) -> list[Vector]:
    """What is no matrix; the matrices have their own file, tests/test_muon.py."""
    return adam(g, lr, 0.9, 0.999, 1e-8, weight_decay, decoupled=True)


RULES: dict[str, tuple[Callable[..., list[Vector]], dict[str, Any]]] = {
    "sgd": (sgd, {}),
    "momentum": (heavy_ball, {}),
    "nesterov": (look_ahead, {}),
    "adagrad": (adagrad, {}),
    "adadelta": (adadelta, {}),
    "rmsprop": (rmsprop, {}),
    "adam": (adam, {}),
    "adamw": (adam, {"decoupled": True}),
    "adamax": (adamax, {}),
    "nadam": (nadam, {}),
    "radam": (radam, {}),
    "muon": (adamw_of_muon, {}),
}
# What is taken where a config says nothing: by PyTorch, or by the paper where the row says so.
DEFAULTS: dict[str, dict[str, float]] = {
    "sgd": {"lr": 0.01, "weight_decay": 0},
    "momentum": {"lr": 0.01, "momentum": 0.9, "weight_decay": 0},
    "nesterov": {"lr": 0.01, "momentum": 0.9, "weight_decay": 0},
    "adagrad": {"lr": 0.01, "initial_accumulator_value": 0, "eps": 1e-10, "weight_decay": 0},
    "adadelta": {"lr": 1, "rho": 0.9, "eps": 1e-6, "weight_decay": 0},
    "rmsprop": {"lr": 0.001, "rho": 0.9, "eps": 1e-8, "momentum": 0, "weight_decay": 0},
    "adam": {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0},
    "adamw": {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01},
    "adamax": {"lr": 0.002, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0},
    "nadam": {"lr": 0.002, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0, "momentum_decay": 0.004},
    "radam": {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0},
    "muon": {"lr": 0.001, "momentum": 0.95, "weight_decay": 0.1},
}
# The defaults of keras.optimizers, 3.15, read off its get_config(). It has no radam, and its nadam no such parameter:
# it raises 0.96 to the step itself. momentum and nesterov are its SGD with the 0.9 that its documentation names.
KERAS: dict[str, dict[str, float]] = {
    "sgd": {"lr": 0.01, "weight_decay": 0},
    "momentum": {"lr": 0.01, "momentum": 0.9, "weight_decay": 0},
    "nesterov": {"lr": 0.01, "momentum": 0.9, "weight_decay": 0},
    "adagrad": {"lr": 0.001, "initial_accumulator_value": 0.1, "eps": 1e-7, "weight_decay": 0},
    "adadelta": {"lr": 0.001, "rho": 0.95, "eps": 1e-7, "weight_decay": 0},
    "rmsprop": {"lr": 0.001, "rho": 0.9, "eps": 1e-7, "momentum": 0, "weight_decay": 0},
    "adam": {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-7, "weight_decay": 0},
    "adamw": {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-7, "weight_decay": 0.004},
    "adamax": {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-7, "weight_decay": 0},
    "nadam": {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-7, "weight_decay": 0, "momentum_decay": 1},
    "radam": DEFAULTS["radam"],
    "muon": {"lr": 0.001, "momentum": 0.95, "weight_decay": 0.004},
}
# Everything else than by default, so that no hyperparameter is mistaken for another.
CHOSEN: dict[str, dict[str, float]] = {
    "sgd": {"lr": 0.05, "weight_decay": 0.1},
    "momentum": {"lr": 0.02, "momentum": 0.7, "weight_decay": 0.1},
    "nesterov": {"lr": 0.02, "momentum": 0.7, "weight_decay": 0.1},
    "adagrad": {"lr": 0.2, "initial_accumulator_value": 0.3, "eps": 1e-2, "weight_decay": 0.1},
    "adadelta": {"lr": 3, "rho": 0.8, "eps": 1e-2, "weight_decay": 0.1},
    "rmsprop": {"lr": 0.02, "rho": 0.8, "eps": 1e-3, "momentum": 0.5, "weight_decay": 0.1},
    "adam": {"lr": 0.1, "beta1": 0.7, "beta2": 0.95, "eps": 1e-3, "weight_decay": 0.1},
    "adamw": {"lr": 0.1, "beta1": 0.7, "beta2": 0.95, "eps": 1e-3, "weight_decay": 0.3},
    "adamax": {"lr": 0.1, "beta1": 0.7, "beta2": 0.95, "eps": 1e-2, "weight_decay": 0.1},
    "nadam": {"lr": 0.1, "beta1": 0.7, "beta2": 0.95, "eps": 1e-3, "weight_decay": 0.1, "momentum_decay": 0.1},
    "radam": {"lr": 0.1, "beta1": 0.7, "beta2": 0.95, "eps": 1e-3, "weight_decay": 0.1},
    "muon": {"lr": 0.02, "momentum": 0.7, "weight_decay": 0.3},
}


def walk(optimizer: torch.optim.Optimizer, parameter: torch.nn.Parameter) -> list[Vector]:
    path = []
    for _ in range(STEPS):
        parameter.grad = torch.from_numpy(gradient(parameter.detach().numpy()))
        optimizer.step()
        path.append(parameter.detach().numpy().copy())
    return path


def start() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.from_numpy(START.copy()))


def test_every_row_has_a_rule_here() -> None:
    for table in ("RULES", "DEFAULTS", "KERAS", "CHOSEN"):
        missing = set(OPTIMIZERS) - set(globals()[table])
        assert not missing, f"add {', '.join(missing)} to {table}: the update rule of the paper, in numpy"
        assert set(globals()[table]) == set(OPTIMIZERS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_defaults_are_those_of_the_tables_here(name: str) -> None:
    assert hyperparameters(OptimizerConfig(name=name)) == DEFAULTS[name]
    assert hyperparameters(OptimizerConfig(name=name), keras=True) == KERAS[name]
    assert set(CHOSEN[name]) == set(DEFAULTS[name])


@pytest.mark.parametrize("values", [DEFAULTS, KERAS, CHOSEN], ids=["defaults", "keras", "chosen"])
@pytest.mark.parametrize("name", RULES)
def test_optimizer_follows_its_rule(name: str, values: dict[str, dict[str, float]]) -> None:
    rule, fixed = RULES[name]
    parameter = start()
    config = OptimizerConfig(name=name, **(CHOSEN[name] if values is CHOSEN else {}))
    optimizer = build_optimizer(config, [{"params": [parameter]}], keras=values is KERAS)
    np.testing.assert_allclose(
        walk(optimizer, parameter), rule(gradient, **values[name], **fixed), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_given_comes_before_kerass_default(name: str) -> None:
    for values in (DEFAULTS[name], CHOSEN[name]):
        assert hyperparameters(OptimizerConfig(name=name, **values), keras=True) == values


def test_a_group_has_its_own_learning_rate() -> None:
    slow, fast = start(), start()
    groups = [{"params": [slow]}, {"params": [fast], "lr": 0.05}]
    optimizer = build_optimizer(OptimizerConfig(name="momentum", lr=0.01), groups)
    for _ in range(STEPS):
        for parameter in (slow, fast):
            parameter.grad = torch.from_numpy(gradient(parameter.detach().numpy()))
        optimizer.step()
    np.testing.assert_allclose(slow.detach().numpy(), heavy_ball(gradient, 0.01, 0.9, 0)[-1], rtol=1e-9)
    np.testing.assert_allclose(fast.detach().numpy(), heavy_ball(gradient, 0.05, 0.9, 0)[-1], rtol=1e-9)


def test_a_class_by_import_path_takes_its_own_arguments() -> None:
    parameter = start()
    config = OptimizerConfig(name="torch.optim.RAdam", init_args={"lr": 0.02, "betas": [0.8, 0.99]})
    optimizer = build_optimizer(config, [{"params": [parameter]}])
    assert type(optimizer) is torch.optim.RAdam
    assert optimizer.param_groups[0]["lr"] == 0.02
    assert tuple(optimizer.param_groups[0]["betas"]) == (0.8, 0.99)


def test_a_class_of_torch_optim_follows_the_same_rule_as_our_row() -> None:
    parameter = start()
    config = OptimizerConfig(name="torch.optim.SGD", init_args={"lr": 0.05})
    path = walk(build_optimizer(config, [{"params": [parameter]}]), parameter)
    np.testing.assert_allclose(path, sgd(gradient, 0.05, 0), rtol=1e-9)


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"name": "adma"}, ["name: 'adma' is not one of sgd, ", "did you mean 'adam'?"]),
        (
            {"name": "adam", "momentum": 0.9},
            ["momentum: 0.9", "name='adam', but to momentum, nesterov, rmsprop, muon; set it to null"],
        ),
        ({"name": "sgd", "beta1": 0.9}, ["beta1: 0.9", "name='sgd'"]),
        ({"name": "rmsprop", "beta2": 0.9}, ["beta2: 0.9", "name='rmsprop'"]),
        ({"name": "adam", "init_args": {"amsgrad": True}}, ["init_args: ", "name='adam'"]),
        ({"name": "torch.optim.RAdam", "lr": 0.1}, ["lr: 0.1", "torch.optim.RAdam", "init_args.lr"]),
        ({"name": "torch.optim.Nope"}, ["name: 'torch.optim.Nope' cannot be imported"]),
        ({"name": "no_such_package.Nope"}, ["name: 'no_such_package.Nope' cannot be imported"]),
        ({"name": "torch.nn.Linear"}, ["name: must be a Optimizer; 'torch.nn.Linear' is not"]),
        ({"lr": 0.0}, ["lr: must be above 0 and finite; got 0.0"]),
        ({"lr": float("nan")}, ["lr: must be above 0 and finite; got nan"]),
        ({"lr": float("inf")}, ["lr: must be above 0 and finite; got inf"]),
        ({"eps": 0.0}, ["eps: must be above 0 and finite; got 0.0"]),
        ({"weight_decay": -0.1}, ["weight_decay: must be 0 or more and finite; got -0.1"]),
        ({"beta1": 1.0}, ["beta1: must be in [0, 1); got 1.0"]),
        ({"beta2": -0.1}, ["beta2: must be in [0, 1); got -0.1"]),
        ({"name": "rmsprop", "rho": 1.5}, ["rho: must be in [0, 1); got 1.5"]),
        ({"name": "momentum", "momentum": 1.0}, ["momentum: must be in [0, 1); got 1.0"]),
    ],
)
def test_what_cannot_run_is_refused_by_key(values: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        check_optimizer(OptimizerConfig(**values))
    message = str(caught.value)
    assert message.startswith(parts[0])
    assert all(part in message for part in parts)


def test_init_args_that_the_class_refuses() -> None:
    config = OptimizerConfig(name="torch.optim.RAdam", init_args={"learning_rate": 0.1})
    with pytest.raises(ConfigError, match=r"^init_args: .*learning_rate.* is refused by torch\.optim\.RAdam: "):
        build_optimizer(config, [{"params": [start()]}])


@pytest.mark.parametrize(
    "values",
    [
        {"name": "momentum", "momentum": 0.0},
        {"name": "adamw", "weight_decay": 0.0},
        {"name": "adam", "beta1": 0.0},
        {"name": "torch.optim.RAdam"},
    ],
)
def test_the_boundaries_are_allowed(values: dict[str, Any]) -> None:
    check_optimizer(OptimizerConfig(**values))


def test_zero_momentum_is_a_value_and_not_the_default() -> None:
    optimizer = build_optimizer(OptimizerConfig(name="momentum", momentum=0.0), [{"params": [start()]}])
    assert optimizer.param_groups[0]["momentum"] == 0.0
