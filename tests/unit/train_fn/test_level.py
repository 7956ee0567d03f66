import math
import random
from statistics import pstdev

import pytest

from train_fn.level import Average, Excess, excess


def test_the_deviation_of_an_average_is_that_of_its_weights() -> None:
    average = Average(0.9)
    average.add(2.0)
    assert average.deviation() == pytest.approx(1.0), "of one value it is the value"
    dice, ends = random.Random(1), []
    for _ in range(4000):
        average = Average(0.9)
        for _ in range(5):
            average.add(dice.gauss(0, 1))
        ends.append(average.value)
    assert pstdev(ends) == pytest.approx(average.deviation(), rel=0.05)
    for _ in range(200):
        average.add(0.0)
    assert average.deviation() == pytest.approx(math.sqrt(0.1 / 1.9))


def steps_of(*losses: float) -> list[tuple[int, float]]:
    return [(100 * k, loss) for k, loss in enumerate(losses, start=1)]


def test_losses_above_a_level_add_up_from_where_they_rose() -> None:
    found = excess(steps_of(3.0, 3.1, 2.9, 5.0, 4.5, 6.0), 4.0, 0.5, most=10.0)
    assert found == Excess(2.0 + 1.0 + 4.0, 3, 300)
    assert excess(steps_of(3.0, 3.1, 5.0, 5.0, 3.9), 4.0, 0.5, most=10.0) == Excess(2.0 + 2.0 - 0.2, 3, 300)
    assert excess(steps_of(3.0, 5.0, 3.0), 4.0, 0.5, most=10.0) == Excess(0.0, 0, 0), "it came back"
    assert excess([], 4.0, 0.5, most=10.0) == Excess(0.0, 0, 0)


def test_one_spike_counts_for_little() -> None:
    assert excess(steps_of(3.0, 3.0, 900.0), 4.0, 0.5, most=2.0) == Excess(2.0, 1, 100)


def test_what_fills_all_that_is_known_counts_from_its_first_step() -> None:
    assert excess(steps_of(5.0, 5.0), 4.0, 0.5, most=2.0) == Excess(4.0, 2, 100)
