from dataclasses import replace

import pytest

from tests.bench.doom_trained import TOKENS, Recording, count, ended_at, norms, trials
from train_fn.doom import DoomConfig

STEPS = 100
SOUND = Recording(
    1e-3, 4, False, tuple(8 - 0.02 * k for k in range(STEPS)), (1.0,) * STEPS,
    tuple(TOKENS // STEPS * (k + 1) for k in range(STEPS)),
)  # fmt: skip
LOST = replace(SOUND, losses=(*SOUND.losses[:60], *(20.0 + k for k in range(40))))


def test_a_lost_trial_turns_where_its_loss_stays_above_its_start() -> None:
    assert SOUND.sound
    assert not LOST.sound
    assert LOST.turn() == LOST.turn(1.3) == pytest.approx(0.6)
    slow = replace(SOUND, losses=(*SOUND.losses[:60], *(7.0 + 0.1 * k for k in range(40))))
    assert slow.turn() == pytest.approx(0.7, abs=0.011)
    assert slow.turn(1.3) == pytest.approx(0.94, abs=0.011)


def test_what_is_judged_afterwards_is_counted() -> None:
    assert ended_at(SOUND, DoomConfig()) is None
    found = ended_at(LOST, DoomConfig())
    assert found is not None
    assert 0 <= found[0] - LOST.turn() <= 0.05
    for one in count([SOUND, SOUND, LOST]):
        assert (one.sound, one.ended, one.doomed, len(one.delays)) == (2, 0, 1, 1)


def test_norms_that_run_away_before_the_turn_are_told_from_those_that_follow() -> None:
    early = replace(LOST, norms=(*(1.0,) * 40, *(50.0,) * 60))
    late = replace(LOST, norms=(*(1.0,) * 80, *(50.0,) * 20))
    told = norms([SOUND, early, late])
    assert "1.00 times their median in 1 sound trials" in told
    assert "20 times in 2 of 2 lost ones, in 1 of them before the turn" in told


def test_trials_are_the_same_ones_each_time() -> None:
    assert list(trials(5, rising=False)) == list(trials(5, rising=False))
    assert all(one.optim.warmup_tokens == TOKENS for one in trials(5, rising=True))
