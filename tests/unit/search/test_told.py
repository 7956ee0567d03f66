from collections.abc import Mapping
from itertools import pairwise

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.told import (
    MIN_PAIRS,
    MOST_TOLD_GP,
    MOST_TOLD_TPE,
    forecasts,
    tell_gp,
    tell_tpe,
    tellable,
    told_once,
)


def trial(
    number: int, known: Mapping[int, float], state: TrialState = TrialState.PRUNED, value: float | None = None
) -> FrozenTrial:
    made = create_trial(state=state, value=value, intermediate_values=dict(known))
    made.number = number
    return made


def test_a_few_trials_tell_by_how_much_a_loss_falls() -> None:
    went_on = [trial(k, {100: 4.0 + k, 300: 3.0 + 2 * k}) for k in range(MIN_PAIRS - 1)]
    assert forecasts([*went_on, trial(99, {100: 20.0})])[99] == pytest.approx(20.0 - 1.0 + 3), "the median"


def test_more_trials_tell_how_curves_fan_out() -> None:
    went_on = [trial(k, {100: 4.0 + k, 300: 3.0 + 2 * k}) for k in range(MIN_PAIRS)]
    assert forecasts([*went_on, trial(99, {100: 20.0})])[99] == pytest.approx(3.0 + 2 * 16)


def test_where_a_rung_says_nothing_of_the_next_all_are_told_the_same() -> None:
    went_on = [trial(k, {100: 4.0 + k, 300: 3.0}) for k in range(MIN_PAIRS)]
    ends = forecasts([*went_on, trial(98, {100: 2.0}), trial(99, {100: 20.0})])
    assert ends[98] == ends[99]
    equal = [trial(k, {100: 4.0, 300: 3.0 + k}) for k in range(MIN_PAIRS)]
    assert forecasts([*equal, trial(99, {100: 5.0})])[99] == pytest.approx(5.0 + (MIN_PAIRS - 1) / 2 - 1)


def test_a_forecast_goes_on_from_rung_to_rung_and_a_finished_trial_needs_none() -> None:
    went_on = [trial(k, {100: 4.0 + k, 300: 3.0 + k, 900: 1.0 + k}) for k in range(MIN_PAIRS)]
    finished = trial(98, {100: 9.0, 300: 9.0}, TrialState.COMPLETE, value=7.0)
    ends = forecasts([*went_on, finished, trial(99, {100: 20.0})])
    assert ends[99] == pytest.approx(17.0)
    assert ends[98] == 7.0


def test_of_many_trials_the_gaussian_process_is_told_the_best_some_others_and_those_that_run() -> None:
    many = [trial(k, {100: 2.0 + k}) for k in range(3 * MOST_TOLD_GP)]
    runs = trial(3 * MOST_TOLD_GP, {}, TrialState.RUNNING)
    told = [one.number for one in tell_gp([*reversed(many), runs])]
    assert len(told) == MOST_TOLD_GP + 1
    assert set(range(MOST_TOLD_GP // 2)) < set(told)
    assert runs.number in told
    others = sorted(number for number in told if MOST_TOLD_GP // 2 <= number < runs.number)
    steps = {after - before for before, after in pairwise(others)}
    assert steps == {5}, "from all the rest alike"


def test_of_many_trials_tpe_is_told_the_best_as_it_sorts_them() -> None:
    finished = [trial(k, {}, TrialState.COMPLETE, value=9.0 + k) for k in range(3)]
    far = [trial(k, {100: 1.0, 300: 8.0 - k / 1e4}) for k in range(3, MOST_TOLD_TPE // 2)]
    near = [trial(k, {100: 1.0 + k}) for k in range(MOST_TOLD_TPE // 2, 2 * MOST_TOLD_TPE)]
    runs = trial(2 * MOST_TOLD_TPE, {}, TrialState.RUNNING)
    told = [one.number for one in tell_tpe([*finished, *far, *near, runs])]
    assert len(told) == MOST_TOLD_TPE + 1
    assert told == sorted(told), "the order of its kernels"
    assert set(range(MOST_TOLD_TPE // 2)) < set(told)
    assert runs.number in told


def test_who_failed_for_its_values_is_told_as_worst() -> None:
    good, bad = (trial(k, {}, TrialState.COMPLETE, value=2.0 + k) for k in range(2))
    failed = trial(2, {}, TrialState.FAIL)
    told = {one.number: one for one in tell_gp([good, bad, failed])}
    assert (told[2].state, told[2].value) == (TrialState.COMPLETE, pytest.approx(2.5 + 2 * 0.5, abs=0.01))
    told = {one.number: one for one in tell_tpe([good, bad, trial(3, {100: 9.0}), failed])}
    assert (told[2].state, told[2].intermediate_values) == (TrialState.PRUNED, {}), "TPE puts it last"


def test_a_halved_trial_that_ran_again_to_its_end_is_told_once() -> None:
    halved, other, again = trial(0, {100: 1.0}), trial(1, {100: 2.0}), trial(2, {100: 1.0})
    again.user_attrs = {"finishes": 0}
    for state in (TrialState.COMPLETE, TrialState.PRUNED):
        again.state = state
        assert told_once([halved, other, again]) == [other, again]
    for state in (TrialState.RUNNING, TrialState.FAIL):
        again.state = state
        assert told_once([halved, other, again]) == [halved, other, again], "it says nothing yet"


def test_a_failure_that_is_tried_again_or_of_a_run_again_says_nothing() -> None:
    failed = trial(0, {}, TrialState.FAIL)
    assert tellable(failed)
    for note in ({"retried": True}, {"confirms": 7}, {"finishes": 7}):
        other = trial(1, {}, TrialState.FAIL)
        other.user_attrs = note
        assert not tellable(other)
    waiting = trial(2, {})
    waiting.state = TrialState.WAITING
    assert not tellable(waiting)
    assert tellable(trial(3, {}, TrialState.RUNNING))
