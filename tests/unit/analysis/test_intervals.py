import numpy as np
import pytest

from analysis.behaviour_records import Estimate
from analysis.intervals import Sample, difference, mean, ratio, share


def alone(above: list[float], below: list[float]) -> Sample:
    """A sample of prompts of as many conversations."""
    return Sample(above, below, range(len(above)))


def width(found: Estimate | None) -> float:
    assert found is not None
    return found.high - found.low


def test_a_share_has_the_interval_of_wilson() -> None:
    """By hand for 2 of 10: (0.2 + 0.19207 ± 1.95996 sqrt(0.016 + 0.0096036)) / 1.38415."""
    found = share([True] * 2 + [False] * 8, range(10))
    assert found is not None
    assert (found.value, found.n) == (0.2, 10)
    assert (found.low, found.high) == pytest.approx((0.05668, 0.50984), abs=2e-4)


def test_a_share_of_none_or_all_still_has_an_interval() -> None:
    """By hand: z² / (n + z²) = 3.84146 / 35.84146."""
    none, every = share([False] * 32, range(32)), share([True] * 32, range(32))
    assert none is not None
    assert every is not None
    assert (none.low, none.high) == pytest.approx((0, 0.10718), abs=1e-5)
    assert (every.low, every.high) == pytest.approx((0.89282, 1), abs=1e-5)


def test_a_mean_has_about_the_interval_of_the_normal_distribution_where_there_are_many() -> None:
    values = np.random.default_rng(3).normal(5, 2, 400).tolist()
    found = mean(values, range(400), 0)
    assert found is not None
    half = 1.96 * np.std(values) / 20
    assert found.value == pytest.approx(np.mean(values))
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.03)


def test_prompts_that_are_the_same_within_a_conversation_say_no_more_than_one_of_each() -> None:
    values = np.random.default_rng(5).normal(5, 2, 60)
    flags = values > 5
    four, of = np.repeat(values, 4).tolist(), np.repeat(np.arange(60), 4).tolist()
    assert width(mean(four, of, 0)) == pytest.approx(width(mean(values.tolist(), range(60), 0)), rel=0.01)
    once = share(flags.tolist(), range(60))
    assert width(share(np.repeat(flags, 4).tolist(), of)) == pytest.approx(width(once), rel=0.02)
    twice = Sample(four, [1.0] * 240, of)
    level = alone([4.0] * 50, [1.0] * 50)
    assert width(difference(twice, level, 0)) == pytest.approx(width(mean(four, of, 0)), rel=0.1)


def test_one_conversation_is_not_sure_of_itself() -> None:
    values = [1.0, 2.0, 3.0, 4.0]
    assert mean(values, [7] * 4, 0) == mean(values, range(4), 0)
    flags = [True, False, True, True]
    assert share(flags, [7] * 4) == share(flags, range(4))


def test_two_values_are_drawn_again_in_three_ways() -> None:
    """Both, or one of them twice: a quarter, a half and a quarter of the draws."""
    found = mean([0.0, 1.0], [0, 1], 0)
    assert found is not None
    assert (found.low, found.value, found.high) == (0.0, 0.5, 1.0)


def test_a_ratio_is_of_sums_and_its_pairs_stay_together() -> None:
    found = ratio(alone([2.0, 20.0, 200.0], [1.0, 10.0, 100.0]), 0)
    assert found is not None
    assert (found.low, found.value, found.high) == pytest.approx((2.0, 2.0, 2.0))


def test_a_difference_counts_the_noise_of_both() -> None:
    dice = np.random.default_rng(1)
    ones = [1.0] * 200
    first, second = dice.normal(3, 1, 200).tolist(), dice.normal(2, 1, 200).tolist()
    found = difference(alone(first, ones), alone(second, ones), 0)
    assert found is not None
    assert found.value == pytest.approx(np.mean(first) - np.mean(second))
    assert width(found) == pytest.approx(2**0.5 * width(mean(second, range(200), 0)), rel=0.15)


def test_the_seed_decides_the_draws() -> None:
    values = [1.0, 5.0, 2.0, 9.0]
    assert mean(values, range(4), 0) == mean(values, range(4), 0)
    many = list(np.arange(50.0))
    assert mean(many, range(50), 0) != mean(many, range(50), 1)


def test_weights_of_zero_in_a_draw_are_left_out() -> None:
    found = ratio(alone([0.0, 4.0], [0.0, 2.0]), 0)
    assert found is not None
    assert (found.low, found.value, found.high) == (2.0, 2.0, 2.0)


def test_where_nothing_can_be_judged_there_is_no_estimate() -> None:
    assert share([], []) is None
    assert mean([], [], 0) is None
    assert ratio(alone([1.0], [0.0]), 0) is None
    assert difference(alone([], []), alone([1.0], [1.0]), 0) is None
