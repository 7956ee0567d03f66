import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.forecast import forecasts


def test_a_stopped_trial_is_carried_on_by_what_the_others_gained() -> None:
    curves = {
        0: {100: 4.0, 200: 3.0, 400: 2.5},
        1: {100: 4.2, 200: 3.4},
        2: {100: 3.9, 200: 2.7},
        3: {100: 5.0},
    }
    found = forecasts(curves)
    assert found[3] == pytest.approx(5.0 - 1.0 - 0.5), "the median of the three gains, then the only one"
    assert found[1] == pytest.approx(((4.2 - 1.5) + (3.4 - 0.5)) / 2), "the mean of both foretold ends"
    assert found[0] == pytest.approx(2.5)


def test_only_the_last_three_evaluations_count() -> None:
    curve = {100 * k: 5.0 - k for k in range(1, 5)}
    assert forecasts({0: curve, 1: {**curve, 100: 99.0}})[1] == pytest.approx(forecasts({0: curve})[0])


def test_without_any_that_went_on_nothing_is_expected() -> None:
    assert forecasts({0: {100: 4.0}, 1: {100: 3.0}, 2: {}}) == {0: 4.0, 1: 3.0}
    assert forecasts({}) == {}


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=20),
    st.lists(st.floats(-2, 2), min_size=1, max_size=6),
    st.data(),
)
def test_curves_that_run_side_by_side_are_foretold_exactly(
    starts: list[float], changes: list[float], data: st.DataObject
) -> None:
    whole = [{100 * k: start + sum(changes[:k]) for k in range(len(changes) + 1)} for start in starts]
    cut = {0: whole[0]}
    for trial, curve in enumerate(whole[1:], start=1):
        length = data.draw(st.integers(1, len(curve)))
        cut[trial] = dict(list(curve.items())[:length])
    for trial, end in forecasts(cut).items():
        assert end == pytest.approx(whole[trial][100 * len(changes)], abs=1e-9)
