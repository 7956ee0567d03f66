import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from train_fn.trend import MIN_POINTS, NO_TREND, trend


def series(length: int, autocorrelation: float, noise: random.Random) -> list[float]:
    value, values = noise.gauss(0, 1), []
    for _ in range(length):
        value = autocorrelation * value + (1 - autocorrelation**2) ** 0.5 * noise.gauss(0, 1)
        values.append(value)
    return values


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=MIN_POINTS, max_size=40))
def test_slope_is_that_of_scipy(y: list[float]) -> None:
    expected = stats.theilslopes(y).slope
    assert trend(range(len(y)), y).slope == pytest.approx(expected, abs=1e-9)


def test_independent_noise_is_at_least_as_significant_for_kendall_as_for_us() -> None:
    noise = random.Random(0)
    for _ in range(50):
        y = [0.05 * step + noise.gauss(0, 1) for step in range(30)]
        assert trend(range(30), y).p >= stats.kendalltau(range(30), y, method="asymptotic").pvalue - 1e-3


@pytest.mark.parametrize(("autocorrelation", "most"), [(0.0, 0.015), (0.3, 0.03), (0.9, 0.12)])
def test_false_alarms_stay_at_the_stated_rate(autocorrelation: float, most: float) -> None:
    noise = random.Random(4)
    found = sum(str(trend(range(24), series(24, autocorrelation, noise))) != "flat" for _ in range(600))
    assert found / 600 <= most


def test_a_clear_trend_is_found() -> None:
    noise = random.Random(5)
    found = sum(
        str(trend(range(32), [-0.15 * x + noise.gauss(0, 1) for x in range(32)])).startswith("falling")
        for _ in range(200)
    )
    assert found >= 190


def test_few_points_and_constants_are_flat() -> None:
    assert trend([1, 2, 3], [3.0, 2.0, 1.0]) == NO_TREND
    assert str(trend(range(20), [1.0] * 20)) == "flat"
