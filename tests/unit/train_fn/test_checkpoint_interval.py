import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train_fn.checkpoint_interval import interval_s, is_due
from train_fn.config import RunConfig
from train_fn.errors import InputError

SECONDS = st.floats(1e-3, 1e5)
DAY_S = 86_400.0


@given(SECONDS, SECONDS, SECONDS, SECONDS, SECONDS)
def test_windows_of_equal_length_never_lose_more_than_the_bound_and_one_of_them(
    stall_s: float, write_s: float, mtbf_s: float, max_lost_s: float, window_s: float
) -> None:
    interval, since_last = interval_s(stall_s, write_s, mtbf_s, max_lost_s), window_s
    for _ in range(50):
        if is_due(since_last, window_s, interval):
            break
        since_last += window_s
        assert since_last + write_s <= max_lost_s


@given(st.floats(0.1, 10.0), st.floats(1.0, 100.0))
def test_the_interval_costs_least_of_all(stall_s: float, mtbf_hours: float) -> None:
    def lost_share(interval: float) -> float:
        return stall_s / interval + interval / 2 / (3600 * mtbf_hours)

    best = interval_s(stall_s, 0.0, 3600 * mtbf_hours, math.inf)
    assert all(lost_share(best) <= lost_share(best * factor) for factor in (0.5, 0.9, 1.1, 2.0))


def test_a_second_of_stall_and_a_failure_a_day_are_seven_minutes() -> None:
    assert interval_s(1.0, 0.0, DAY_S, 3600.0) == pytest.approx(415.7, abs=0.1)
    assert interval_s(1.0, 0.0, DAY_S, 60.0) == 60.0
    assert interval_s(1.0, 25.0, DAY_S, 60.0) == 35.0


def test_before_the_first_checkpoint_the_bound_alone_counts() -> None:
    assert interval_s(None, 0.0, DAY_S, 600.0) == 600.0


def test_where_writing_takes_longer_than_the_bound_one_follows_the_other() -> None:
    assert interval_s(1.0, 900.0, DAY_S, 600.0) == 0.0
    assert is_due(0.0, 0.1, 0.0)


@pytest.mark.parametrize("name", ["max_lost_minutes", "mtbf_hours"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_a_bound_of_nothing_is_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"run\.{name} = .* must be above 0; its default is"):
        RunConfig(**{name: value})
