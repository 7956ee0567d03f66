from dataclasses import replace
from itertools import pairwise

import pytest

from analysis.records import Attempt, Interval, SearchRecord
from analysis.timing import by_attempt, timing
from tests.unit.analysis.written import EVAL_S, START_UP_S


def test_two_slots_make_two_lanes_that_are_accounted_for(search: SearchRecord) -> None:
    found = timing(search)
    assert len(found.lanes) == 2
    assert len(found.blocks) == len(search.trials)
    for lane in found.lanes:
        assert lane.total == pytest.approx(found.wall_s)
    assert found.total.start == pytest.approx(START_UP_S * len(search.trials))
    assert found.total.evaluate == pytest.approx(EVAL_S * sum(len(t.evals) for t in search.trials), rel=0.1)
    assert found.total.train == pytest.approx(sum(t.train_s for t in search.trials), rel=0.1)


def test_a_lane_holds_one_trial_at_a_time(search: SearchRecord) -> None:
    found = timing(search)
    for lane in range(len(found.lanes)):
        mine = sorted((block.begin_s, block.end_s) for block in found.blocks if block.lane == lane)
        assert all(end <= begin for (_, end), (begin, _) in pairwise(mine))


def test_the_clock_stands_still_between_commands(search: SearchRecord) -> None:
    trial = replace(
        search.trial(0), attempts=(Attempt(10.0, 14.0), Attempt(101.0, 105.0)), train_s=5.0, evals=()
    )
    paused = replace(search, commands=(Interval(8.0, 15.0), Interval(100.0, 106.0)), trials=(trial,))
    found = timing(paused)
    assert [(block.begin_s, block.end_s) for block in found.blocks] == [(2.0, 6.0), (8.0, 12.0)]
    assert found.wall_s == 13.0
    assert found.lanes[0].idle == pytest.approx(5.0)
    assert found.total.train == pytest.approx(5.0)
    assert found.total.start == START_UP_S
    assert found.total.other == pytest.approx(2.0)


def test_an_attempt_never_spends_more_than_it_took(search: SearchRecord) -> None:
    attempts = (Attempt(0.0, 3.0), Attempt(10.0, 10.5))
    trial = replace(search.trial(0), attempts=attempts, train_s=100.0, start_overhead_s=9.0)
    parts = by_attempt(trial)
    assert [part.total for part in parts] == pytest.approx([3.0, 0.5])
    assert parts[1].start == 0.5


def test_a_trial_that_has_not_begun_to_train_has_only_started(search: SearchRecord) -> None:
    fresh = replace(
        search.trial(0), attempts=(Attempt(0.0, 4.0),), train_s=0.0, start_overhead_s=0.0, evals=()
    )
    assert by_attempt(fresh)[0].other == 4.0


def test_trials_at_the_same_time_need_as_many_lanes(search: SearchRecord) -> None:
    same = [replace(trial, attempts=(Attempt(1.0, 5.0),)) for trial in search.trials[:3]]
    found = timing(replace(search, commands=(Interval(0.0, 5.0),), trials=tuple(same)))
    assert sorted(block.lane for block in found.blocks) == [0, 1, 2]
