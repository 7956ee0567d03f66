import math
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search.even import even_point

SPACE = {
    "lr": FloatDistribution(1e-5, 1.0, log=True),
    "batch": CategoricalDistribution((4, 8, 16, 32)),
    "warmup": IntDistribution(0, 100, step=10),
    "beta": FloatDistribution(0.8, 1.0, step=0.05),
    "dropout": FloatDistribution(0.1, 0.3, step=0.1),
}


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(0, 10_000))
def test_every_point_lies_in_the_space(seed: int, number: int) -> None:
    point = even_point(SPACE, seed, number)
    assert point.keys() == SPACE.keys()
    for name, distribution in SPACE.items():
        assert distribution._contains(distribution.to_internal_repr(point[name])), (name, point[name])


def test_the_same_number_is_the_same_point_and_another_seed_another() -> None:
    assert even_point(SPACE, 3, 5) == even_point(SPACE, 3, 5)
    assert even_point(SPACE, 3, 5) != even_point(SPACE, 4, 5)


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(0, 1000))
def test_ten_points_in_a_row_leave_no_gap_of_a_quarter_of_the_range(seed: int, first: int) -> None:
    points = [even_point(SPACE, seed, number) for number in range(first, first + 10)]
    logs = sorted(math.log10(float(point["lr"])) for point in points)
    ends = [-5.0, *logs, 0.0]
    assert max(b - a for a, b in pairwise(ends)) <= 0.25 * 5


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_choices_get_their_fair_share(seed: int) -> None:
    points = [even_point(SPACE, seed, number)["batch"] for number in range(40)]
    assert all(5 <= points.count(choice) <= 15 for choice in (4, 8, 16, 32))


def test_values_a_step_apart_get_their_fair_share_at_the_ends_too() -> None:
    whole, real = IntDistribution(0, 800, step=400), FloatDistribution(0.1, 0.3, step=0.1)
    points = [even_point({"whole": whole, "real": real}, 0, number) for number in range(300)]
    assert all(90 <= sum(point["whole"] == value for point in points) <= 110 for value in (0, 400, 800))
    assert all(90 <= sum(point["real"] == value for point in points) <= 110 for value in (0.1, 0.2, 0.3))
