"""The health checks: each warns where it must, is content where it may be, and says so where nobody can know."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from report_folders import named_results, result, run_folder

from sweeps.report import health_checks
from sweeps.report.surrogate import predicted_share
from sweeps.report.sweep_data import SweepData, read_sweep

LR: dict[str, Any] = {"model.lr": {"low": 1e-4, "high": 1.0, "log": True, "type": "float"}}


def sweep_of(path: Path, values: list[tuple[float, float]], space: dict[str, Any] = LR) -> SweepData:
    """A sweep of trials with (learning rate, accuracy)."""
    rows = [result(n, "completed", value, params={"model.lr": lr}) for n, (lr, value) in enumerate(values)]
    return read_sweep(run_folder(path, rows, space=space))


def test_an_optimum_at_the_edge(tmp_path: Path) -> None:
    rising = [(10 ** (-4 + 4 * n / 29), n / 30) for n in range(30)]
    verdict = health_checks.edges(sweep_of(tmp_path / "edge", rising))
    assert verdict is not None
    assert (verdict.level, verdict.text[:32]) == ("warning", "lr: 1 at its upper end 1, with 3")
    falling = health_checks.edges(sweep_of(tmp_path / "low", [(lr, -value) for lr, value in rising]))
    assert falling is not None
    assert "0.0001 at its lower end 0.0001" in falling.text
    inside = health_checks.edges(sweep_of(tmp_path / "in", [(lr, -abs(n - 15)) for n, (lr, _) in enumerate(rising)]))
    assert inside is not None
    assert inside.level == "good"
    lucky = [(1.0, 1.0), *[(lr, -abs(n - 15)) for n, (lr, _) in enumerate(rising)]]  # one alone at the edge
    alone = health_checks.edges(sweep_of(tmp_path / "alone", lucky))
    assert alone is not None
    assert alone.level == "good"


def test_importances_of_noise_are_not_trusted(tmp_path: Path) -> None:
    draw = random.Random(0)
    rates = [10 ** draw.uniform(-4, 0) for _ in range(60)]
    noise = sweep_of(tmp_path / "noise", [(lr, draw.random()) for lr in rates])
    signal = sweep_of(tmp_path / "signal", [(lr, -((lr - 0.1) ** 2)) for lr in rates])
    shares = [predicted_share(noise), predicted_share(signal)]
    assert shares[0] is not None
    assert shares[1] is not None
    assert shares[0] < 0.2
    assert shares[1] > 0.7
    levels = [check.level for check in map(health_checks.trust_in_importances, (noise, signal)) if check]
    assert levels == ["warning", "good"]
    few = health_checks.trust_in_importances(sweep_of(tmp_path / "few", [(0.1, 0.5), (0.2, 0.6)]))
    assert few is not None
    assert few.level == "unknown"


def test_the_left_out_error_is_that_of_leaving_out() -> None:
    import numpy as np

    from sweeps.report.surrogate import _left_out_error

    draw = np.random.default_rng(0)
    x, y = draw.random(12), draw.random(12)
    kernel = np.exp(-((x[:, None] - x[None, :]) ** 2)) + 0.1 * np.eye(12)
    errors = []
    for at in range(12):
        rest = np.arange(12) != at
        errors.append(y[at] - kernel[at, rest] @ np.linalg.solve(kernel[np.ix_(rest, rest)], y[rest]))
    assert _left_out_error(kernel, y) == pytest.approx(np.mean(np.square(errors)))


@pytest.mark.parametrize(("trials", "level"), [(9, "warning"), (10, "good")])
def test_too_few_trials(tmp_path: Path, trials: int, level: str) -> None:
    verdict = health_checks.number_of_trials(sweep_of(tmp_path / "r", [(0.1, n / 9) for n in range(trials)]))
    assert verdict is not None
    assert verdict.level == level


def test_noise_and_differences(tmp_path: Path) -> None:
    unknown = health_checks.noise(sweep_of(tmp_path / "one-seed", [(0.1, 0.5), (0.2, 0.6)]))
    assert unknown is not None
    assert unknown.level == "unknown"
    spec: dict[str, Any] = {"space": {}, "runs": {name: {} for name in "abc"}, "seeds": 3, "n_trials": 9}
    clear = health_checks.noise(read_sweep(run_folder(tmp_path / "clear", named_results(list("abc")), **spec)))
    assert clear is not None  # means 0.01 apart, deviation 0.001
    assert clear.level == "good"
    values = [0.9, 0.7, 0.8, 0.89, 0.69, 0.79]
    rows = [result(n, "completed", v, run="ab"[n // 3], config_id="ab"[n // 3]) for n, v in enumerate(values)]
    noisy = health_checks.noise(read_sweep(run_folder(tmp_path / "noisy", rows, **spec)))
    assert noisy is not None
    assert (noisy.level, "1 of the 1 others cannot be told from it" in noisy.text) == ("warning", True)


def test_budget_and_losses(tmp_path: Path) -> None:
    rows = [result(0, "completed", 0.9, best_epoch=3, epochs=3), *[result(n, "failed") for n in range(1, 4)]]
    sweep = read_sweep(run_folder(tmp_path / "r", rows, space=LR))
    budget, losses = health_checks.budget(sweep), health_checks.losses(sweep)
    assert budget is not None
    assert losses is not None
    assert (budget.level, losses.level) == ("warning", "warning")
    assert "75% of the trials: 3 failed" in losses.text
    levels = [verdict.level for verdict in health_checks.verdicts(sweep)]
    assert levels == ["warning"] * 3 + ["unknown"] * 2
