from hypothesis import given
from hypothesis import strategies as st

from train_fn.departure import MARGIN, Departure, is_save_due

SECONDS = st.floats(0.01, 100.0)
NOW = 1_000.0


def test_without_a_deadline_a_trial_is_saved_once_and_at_once() -> None:
    assert is_save_due(Departure(None), NOW, 1.0, 1.0, saved=False)
    assert not is_save_due(Departure(None), NOW, 1.0, 1.0, saved=True)


def test_a_checkpoint_that_would_be_torn_is_not_begun() -> None:
    soon = Departure(NOW + 10.0)
    assert is_save_due(soon, NOW, 1.0, 4.0, saved=False)
    assert not is_save_due(soon, NOW, 1.0, 6.0, saved=False)
    assert not is_save_due(Departure(NOW - 1.0), NOW, 1.0, 0.0, saved=False)


@given(SECONDS, SECONDS, SECONDS, st.floats(0.5, 1.5))
def test_a_saved_trial_is_saved_again_shortly_before_the_deadline(
    window_s: float, save_s: float, notice_s: float, jitter: float
) -> None:
    deadline = NOW + MARGIN * (window_s + save_s) + notice_s
    now, saved_at = NOW, list[float]()
    while now < deadline:
        if is_save_due(Departure(deadline), now, window_s, save_s, saved=bool(saved_at)):
            saved_at.append(now)
            now += save_s
        now += jitter * window_s
    assert saved_at[0] == NOW
    assert saved_at[-1] + save_s <= deadline
    lost_s = deadline - saved_at[-1]
    assert lost_s <= MARGIN * (window_s + save_s) + save_s + jitter * window_s, "but for the first save"
