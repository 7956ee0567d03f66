import json
import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train_fn.curve import SURE_SDS, Curve, smooth
from train_fn.history import MAX_BLOCKS
from train_fn.scaler import RECENT_STEPS

STEPS = st.lists(
    st.tuples(
        st.floats(0, 1e6) | st.just(math.nan) | st.just(math.inf),
        st.floats(1e-6, 1e6) | st.just(math.inf),
        st.sampled_from([0.0, 1.0, 1024.0, 65536.0]),
        st.booleans(),
    ),
    max_size=300,
)


def curve_of(losses: list[float], tokens_per_step: int = 100) -> Curve:
    curve = Curve.fresh()
    for step, loss in enumerate(losses, start=1):
        curve.add(step * tokens_per_step, loss, 1.0, 0.0, False)
    return curve


@pytest.mark.parametrize("factor", [0.0, 0.9, 0.98])
def test_constant_comes_out_as_itself_from_the_first_step(factor: float) -> None:
    assert smooth([2.0] * 50, factor) == [2.0] * 50
    summary = curve_of([2.0] * 50).summary()
    assert (summary.ema_90, summary.ema_98, summary.spread, summary.spikes) == (2.0, 2.0, 0.0, 0)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=60), st.sampled_from([0.5, 0.9, 0.98]))
def test_smooth_is_the_textbook_formula(values: list[float], factor: float) -> None:
    biased = 0.0
    for value in values:
        biased = factor * biased + (1 - factor) * value
    expected = biased / (1 - factor ** len(values))
    assert smooth(values, factor)[-1] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_live_and_offline_averages_agree_and_skip_what_is_not_finite() -> None:
    losses = [4.0, 3.5, math.nan, 3.6, math.inf, 3.0]
    summary = curve_of(losses).summary()
    assert summary.ema_90 == smooth(losses, 0.9)[-1] == smooth([4.0, 3.5, 3.6, 3.0], 0.9)[-1]
    assert (summary.nonfinite_steps, summary.nonfinite_in_a_row) == (2, 0)
    assert math.isnan(smooth([math.nan, 1.0], 0.9)[0])


def test_an_overflow_is_no_lost_step_but_a_gradient_nobody_skipped_is() -> None:
    curve = Curve.fresh()
    curve.add(1, 3.0, math.inf, 65536.0, True)
    assert curve.summary().nonfinite_in_a_row == 0
    curve.add(2, 3.0, math.inf, 0.0, False)
    assert curve.summary().nonfinite_in_a_row == 1


def test_spread_estimates_the_noise_of_a_step_despite_outliers() -> None:
    noise = random.Random(1)
    losses = [3 + noise.gauss(0, 0.2) for _ in range(400)]
    losses[395] = losses[398] = 50.0
    assert curve_of(losses[:390]).summary().spread == pytest.approx(0.2, rel=0.25)
    assert curve_of(losses).summary().spread == pytest.approx(0.2, rel=0.8)


def test_spikes_are_found_and_noise_is_not_one() -> None:
    noise = random.Random(2)
    losses = [3 + noise.gauss(0, 0.1) for _ in range(500)]
    assert curve_of(losses).summary().spikes == 0
    for place in (100, 250, 400):
        losses[place] = 6.0
    summary = curve_of(losses).summary()
    assert summary.spikes == 3
    assert summary.spike_score == pytest.approx(3 / 500)


@pytest.mark.parametrize(
    ("slope", "word"), [(-0.01, "falling, p < 0.01"), (0.0, "flat"), (0.01, "rising, p < 0.01")]
)
def test_trend_of_a_noisy_line(slope: float, word: str) -> None:
    noise = random.Random(3)
    summary = curve_of([5 + slope * step + noise.gauss(0, 0.2) for step in range(200)]).summary()
    assert summary.trend == word
    assert summary.slope_per_token == pytest.approx(slope / 100, abs=3e-5)


def test_trend_is_that_of_the_later_half() -> None:
    fell_then_rose = [9 - 0.05 * step for step in range(100)] + [4 + 0.05 * step for step in range(120)]
    assert curve_of(fell_then_rose).summary().trend.startswith("rising")


def test_best_level_and_the_tokens_since() -> None:
    curve = curve_of([4.0, 3.0, 2.0, 6.0, 6.0, 6.0])
    summary = curve.summary()
    assert summary.best_level == pytest.approx(smooth([4.0, 3.0, 2.0], 0.9)[-1])
    assert summary.tokens_since_best == 300


def test_how_long_the_loss_has_stayed_above_a_level() -> None:
    curve = curve_of([1.0] * 40 + [10.0] * 20)
    steps, tokens = curve.sustained_above(1.5)
    assert steps == 20
    assert tokens == 1900, "from the first step above to the last"
    assert curve.sustained_above(20.0) == (0, 0)


def test_a_level_is_only_as_sure_as_its_noise_allows() -> None:
    def sure(losses: list[float], batch: int) -> tuple[float, float]:
        curve = Curve.fresh(batch)
        for step, loss in enumerate(losses, start=1):
            curve.add(step, loss, 1.0, 0.0, False)
        summary = curve.summary()
        return summary.sure_level, summary.sure_noise

    assert sure([3.0], 1) == pytest.approx((3.0 * (1 + SURE_SDS * 0.19), 0.19)), "one step of one sequence"
    assert sure([3.0], 64) == pytest.approx((3.0 * (1 + SURE_SDS * 0.19 / 8), 0.19 / 8))
    level, noise = sure([3.0] * 200, 1)
    assert noise == pytest.approx(0.19 * math.sqrt(16 / 80)), "64 steps have shown none, 16 were expected to"
    assert level == pytest.approx(3.0 * (1 + SURE_SDS * noise * math.sqrt(0.1 / 1.9)))
    dice = random.Random(5)
    noisy = [3.0 * (1 + dice.gauss(0, 0.19)) for _ in range(200)]
    assert sure(noisy, 1)[0] == pytest.approx(3.0, rel=0.1)
    assert sure([*noisy, *([30.0] * 50)], 1) == sure(noisy, 1), "what comes after a rise changes nothing"


def test_a_checkpoint_of_an_earlier_version_goes_on() -> None:
    state = json.loads(json.dumps(curve_of([1.0] * 40).state()))
    for block in state["history"]["blocks"]:
        block["lowest_loss"] = 1.0
    for name in ("expected_noise", "sure_level", "sure_noise", "recent"):
        del state[name]
    curve = Curve.restore(state)
    curve.add(4100, 1.0, 1.0, 0.0, False)
    assert curve.summary().sure_level > 1.0
    assert curve.recent == [(4100, 1.0)]
    json.dumps(curve.state(), allow_nan=False)


def test_long_curves_stay_bounded_and_blocks_keep_their_sense() -> None:
    curve = curve_of([5 - step / 1000 for step in range(3000)])
    blocks = curve.history.blocks
    assert MAX_BLOCKS // 2 <= len(blocks) <= MAX_BLOCKS
    assert sum(b.steps for b in blocks) == 3000
    assert statistics.fmean(b.loss for b in blocks[:-1]) == pytest.approx(3.5, abs=0.03)
    assert len(json.dumps(curve.state())) < 40_000
    steps, _ = curve_of([1.0] * 2000 + [3.0] * 500).sustained_above(2.0)
    assert 450 <= steps <= 500


def test_overflow_figures() -> None:
    curve = Curve.fresh()
    for step in range(10):  # the search for a scale
        curve.add(step + 1, 3.0, math.inf, 2.0 ** (16 - step), True)
    assert curve.summary().searching
    for step in range(10, 400):
        overflowed = step in (110, 111)
        curve.add(step + 1, 3.0, 1.0, 128.0 if 105 <= step <= 111 else 64.0, overflowed)
    summary = curve.summary()
    assert not summary.searching
    assert (summary.overflow_steps, summary.overflows_in_a_row) == (12, 0)
    assert summary.overflow_rate == 0.0
    assert summary.overflow_rate_since_start == 12 / 400
    assert (summary.scale_floor, summary.loss_scale, summary.raised_after_steps) == (64.0, 64.0, 95)
    assert (summary.settled_steps, summary.scale_change_log2) == (RECENT_STEPS, 0.0)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.data())
def test_restart_anywhere_changes_nothing(
    steps: list[tuple[float, float, float, bool]], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(steps)))
    whole, resumed = Curve.fresh(), Curve.fresh()
    for place, step in enumerate(steps):
        if place == cut:
            resumed = Curve.restore(json.loads(json.dumps(resumed.state(), allow_nan=False)))
        whole.add(place + 1, *step)
        resumed.add(place + 1, *step)
    assert whole.state() == resumed.state()
    assert repr(whole.summary()) == repr(resumed.summary())  # NaN is not equal to itself


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_figures_of_losses_are_finite_once_a_finite_loss_was_seen(
    steps: list[tuple[float, float, float, bool]],
) -> None:
    curve = Curve.fresh()
    for place, step in enumerate(steps):
        curve.add(place + 1, *step)
    summary = curve.summary()
    if any(math.isfinite(loss) for loss, *_ in steps):
        losses = (summary.ema_90, summary.ema_98, summary.best_level, summary.slope_per_token)
        assert all(math.isfinite(x) for x in losses)
        assert summary.best_level <= summary.ema_90
