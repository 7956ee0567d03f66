"""What a window of steps amounts to."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from train_fn.curve import Curve
from train_fn.engine import StepResult
from train_fn.loop import join_group
from train_fn.report import MAX_POINTS
from train_fn.window import Step, fetch_window, thin

LOSSES = st.lists(st.floats(0, 100) | st.sampled_from([math.nan, math.inf]), max_size=200)


@given(LOSSES)
def test_thinning_is_bounded_keeps_the_largest_and_drops_what_is_not_finite(losses: list[float]) -> None:
    kept = thin(losses)
    finite = {k for k, x in enumerate(losses) if math.isfinite(x)}
    assert kept <= finite
    assert len(kept) <= MAX_POINTS
    if len(finite) <= MAX_POINTS:
        assert kept == finite
    else:
        assert max(losses[k] for k in kept) == max(losses[k] for k in finite)
        assert max(finite) in kept
        assert len(kept) >= MAX_POINTS - 1


def window_of(losses: list[float], overflowed: list[bool]) -> tuple[object, Curve]:
    join_group(torch.device("cpu"))
    curve = Curve.fresh()
    steps = [
        Step(10 * (k + 1), 0.1, 10, StepResult(torch.tensor(x), math.nan if o else 2.0, 8.0, o, False))
        for k, (x, o) in enumerate(zip(losses, overflowed, strict=True))
    ]
    return fetch_window(steps, curve), curve


def test_mean_and_curve_hold_finite_losses_only() -> None:
    window, curve = window_of([1.0, math.nan, 3.0], [False, True, False])
    assert window.mean_loss == 2.0
    assert [p.loss for p in window.points] == [1.0, 3.0]
    assert window.overflow_rate == 1 / 3
    assert (window.grad_norm, window.loss_scale, window.tokens) == (2.0, 8.0, 30)
    assert not window.dead
    assert curve.summary().steps == 3


def test_loss_that_is_not_finite_is_death_unless_the_step_was_skipped() -> None:
    assert window_of([1.0, math.nan], [False, False])[0].dead
    assert not window_of([1.0, math.nan], [False, True])[0].dead
    assert not window_of([math.nan, 1.0], [False, False])[0].dead
    discarded = StepResult(torch.tensor(math.nan), math.inf, 0.0, overflowed=False, discarded=True)
    curve = Curve.fresh()
    assert not fetch_window([Step(10, 0.1, 10, discarded)], curve).dead
    assert (curve.summary().nonfinite_in_a_row, curve.summary().overflow_steps) == (1, 0)
    assert math.isnan(window_of([math.nan], [True])[0].mean_loss)
