"""Confidence intervals against textbook tables and published examples."""

from __future__ import annotations

import math

import pytest

from sweeps.report.statistics import Interval, difference_interval, mean_interval, t_quantile

# The two-sided 5 % column of the t table that statistics textbooks print.
T_TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228}
T_TABLE |= {15: 2.131, 20: 2.086, 25: 2.060, 30: 2.042, 40: 2.021, 60: 2.000, 120: 1.980, 10**9: 1.960}

# "Student"'s sleep data of 1908 (R: sleep), extra hours under two drugs.
SLEEP_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SLEEP_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


@pytest.mark.parametrize(("freedom", "expected"), T_TABLE.items())
def test_quantiles_are_those_of_the_table(freedom: int, expected: float) -> None:
    assert round(t_quantile(freedom), 3) == expected


def test_quantiles_have_closed_forms_for_one_and_two_degrees_of_freedom() -> None:
    assert t_quantile(1) == pytest.approx(math.tan(0.475 * math.pi), rel=1e-8)
    assert t_quantile(2) == pytest.approx(0.95 * math.sqrt(2 / (1 - 0.95**2)), rel=1e-8)


def test_quantiles_of_degrees_of_freedom_that_are_not_whole() -> None:
    assert t_quantile(17.776) == pytest.approx(2.10279, abs=1e-4)  # R: qt(0.975, 17.776)
    assert t_quantile(1) > t_quantile(1.5) > t_quantile(2)


def test_interval_of_a_mean() -> None:
    found = mean_interval([0.81, 0.82, 0.83])  # s = 0.01, t = 4.303: 4.303 * 0.01 / sqrt(3)
    assert found.mean == pytest.approx(0.82)
    assert found.half_width == pytest.approx(0.02484, abs=1e-5)
    assert found.contains(0.8448)
    assert not found.contains(0.8449)


def test_one_value_has_no_interval_and_equal_values_a_point() -> None:
    assert mean_interval([0.9]) == Interval(0.9, None)
    assert not mean_interval([0.9]).contains(0.9)
    assert mean_interval([0.5, 0.5, 0.5]) == Interval(0.5, 0.0)


def test_interval_of_a_difference_is_that_of_welch() -> None:
    """R: t.test(extra ~ group, data = sleep): t = -1.8608, df = 17.776, interval -3.3654832 to 0.2054832."""
    found = difference_interval([SLEEP_1], [SLEEP_2])
    assert found.half_width is not None
    assert found.mean == pytest.approx(-1.58)
    assert found.mean - found.half_width == pytest.approx(-3.3654832, abs=1e-5)
    assert found.mean + found.half_width == pytest.approx(0.2054832, abs=1e-5)


def test_groups_of_one_side_count_alike_whatever_their_sizes() -> None:
    first, second = [[1.0, 3.0], [10.0, 11.0, 12.0, 13.0]], [[4.0, 5.0, 6.0]]
    found = difference_interval(first, second)
    assert found.mean == pytest.approx((2.0 + 11.5) / 2 - 5.0)
    parts = [(0.25 * 2.0 / 2, 1), (0.25 * (5 / 3) / 4, 3), (1.0 / 3, 2)]  # c**2 s**2 / n, and n - 1
    squared = sum(part for part, _ in parts)
    freedom = squared**2 / sum(part**2 / own for part, own in parts)
    assert found.half_width == pytest.approx(t_quantile(freedom) * math.sqrt(squared))
    assert difference_interval(first, [[4.0]]).half_width is None
