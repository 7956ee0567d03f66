"""The learning rate in tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train_fn.config import OptimConfig
from train_fn.schedule import learning_rate


def rates(optim: OptimConfig, step: int = 10, most: int = 1000) -> list[float]:
    return [learning_rate(optim, most, t, t + step) for t in range(0, most, step)]


def test_warmup_is_linear_and_never_zero() -> None:
    got = rates(OptimConfig(lr=2.0, warmup_tokens=100))
    assert got[:10] == pytest.approx([0.2 * (k + 1) for k in range(10)])
    assert set(got[10:]) == {2.0}


def test_linear_and_cosine_end_near_their_last_fraction() -> None:
    for schedule in ("linear", "cosine"):
        got = rates(OptimConfig(lr=1.0, schedule=schedule, final_lr_fraction=0.1, warmup_tokens=100))
        assert got == sorted(got[:10]) + sorted(got[10:], reverse=True)
        assert 0.1 < got[-1] < 0.115
        assert got[10] == pytest.approx(1.0)
        assert learning_rate(OptimConfig(lr=1.0, schedule=schedule), 1000, 500, 510) == pytest.approx(0.5)


@given(
    st.sampled_from(["constant", "linear", "cosine"]),
    st.integers(0, 1000),
    st.integers(0, 2000),
    st.integers(1, 500),
)
def test_rate_stays_within_zero_and_the_top(schedule: str, warmup: int, before: int, step: int) -> None:
    optim = OptimConfig(lr=3.0, schedule=schedule, warmup_tokens=warmup)
    assert 0 <= learning_rate(optim, 1000, before, before + step) <= 3.0
