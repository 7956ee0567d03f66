import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from analysis.rank import answer
from analysis.records import Attempt, Interval, SearchRecord
from analysis.runs import read_search
from analysis.timing import by_attempt, timing
from tests.unit.analysis.written import EVAL_S, START_UP_S, experiment, write_search
from train_fn.times import Times, added


def test_two_slots_make_two_lanes_that_are_accounted_for(search: SearchRecord) -> None:
    """By what a ledger says that is older than the trials' own account."""
    search = replace(search, trials=tuple(replace(trial, times=None) for trial in search.trials))
    found = timing(search)
    assert len(found.lanes) == 2
    assert len(found.blocks) == len(search.trials)
    for lane in found.lanes:
        assert lane.total == pytest.approx(found.wall_s)
    assert found.total.start == pytest.approx(START_UP_S * len(search.trials), rel=0.1)
    assert found.total.evaluate == pytest.approx(EVAL_S * sum(len(t.evals) for t in search.trials), rel=0.1)
    assert found.total.train == pytest.approx(sum(t.train_s for t in search.trials), rel=0.1)


def test_a_lane_holds_one_trial_at_a_time(search: SearchRecord) -> None:
    found = timing(search)
    for lane in range(len(found.lanes)):
        mine = sorted((block.begin_s, block.end_s) for block in found.blocks if block.lane == lane)
        assert all(end <= begin for (_, end), (begin, _) in pairwise(mine))


def test_the_clock_stands_still_between_commands(search: SearchRecord) -> None:
    attempts, times = (Attempt(10.0, 14.0), Attempt(101.0, 105.0)), Times(start_s=START_UP_S, forward_s=5.0)
    trial = replace(search.trial(0), attempts=attempts, times=times)
    paused = replace(search, commands=(Interval(8.0, 15.0), Interval(100.0, 106.0)), trials=(trial,))
    found = timing(paused)
    assert [(block.begin_s, block.end_s) for block in found.blocks] == [(2.0, 6.0), (8.0, 12.0)]
    assert found.wall_s == 13.0
    assert found.lanes[0].idle == pytest.approx(5.0)
    assert found.total.train == pytest.approx(5.0)
    assert found.total.start == pytest.approx(START_UP_S)
    assert found.total.other == pytest.approx(2.0)


def test_an_attempt_never_spends_more_than_it_took_and_start_up_does_not_squeeze_training_out(
    search: SearchRecord,
) -> None:
    attempts = (Attempt(0.0, 3.0), Attempt(10.0, 10.5))
    old = replace(search.trial(0), attempts=attempts, train_s=100.0, start_overhead_s=9.0, times=None)
    for trial in (old, replace(old, times=Times(start_s=9.0, backward_s=100.0))):
        parts = by_attempt(trial)
        assert [part.total for part in parts] == pytest.approx([3.0, 0.5])
        assert all(part.train > 10 * part.start > 0 for part in parts)


def test_a_trial_that_has_not_begun_to_train_has_only_started(search: SearchRecord) -> None:
    fresh = replace(
        search.trial(0),
        attempts=(Attempt(0.0, 4.0),),
        train_s=0.0,
        start_overhead_s=0.0,
        evals=(),
        times=None,
    )
    assert by_attempt(fresh)[0].other == 4.0


def test_a_slot_that_starts_up_is_busy_from_when_it_was_free_as_the_trial_counts(tmp_path: Path) -> None:
    """Tune says that a trial runs once its slot is set up, which took it 8 of the 10 s of its start-up."""
    written = write_search(tmp_path, experiment("exp9", 2))
    ledger = written / "events.jsonl"
    events = [json.loads(line) for line in ledger.read_text().splitlines()]
    for event in events:
        told = event.get("report") or event.get("outcome") or {}
        if told:
            told["times"]["start_s"] = told["start_overhead_s"] = START_UP_S + 8.0
        event["time"] += 8.0 * (event["kind"] != "SearchStarted")
    ledger.write_text("".join(json.dumps(event) + "\n" for event in events))
    search = read_search(tmp_path, "exp9")
    found, accounts = timing(search), [trial.times for trial in search.trials if trial.times is not None]
    total = added(accounts)
    assert answer(search).cost.slot_s == pytest.approx(total.total_s)
    assert found.total.start == pytest.approx(total.start_s)
    assert found.total.train == pytest.approx(total.forward_s + total.backward_s + total.step_s)
    assert len(found.lanes) == 2
    for block in found.blocks:
        assert block.begin_s >= 0
        assert block.spent.total == pytest.approx(block.end_s - block.begin_s)


def test_an_end_that_is_written_down_late_needs_no_lane_of_its_own(search: SearchRecord) -> None:
    one, other = search.trials[:2]
    trials = (
        replace(one, attempts=(Attempt(1.0, 5.0),)),
        replace(other, attempts=(Attempt(5.25, 9.0, ahead_s=0.5),)),
    )
    found = timing(replace(search, commands=(Interval(0.0, 9.0),), trials=trials))
    assert [(block.lane, block.begin_s) for block in found.blocks] == [(0, 1.0), (0, 5.0)]
    assert [block.spent.total for block in found.blocks] == pytest.approx([4.0, 4.0])
    assert found.total.total == pytest.approx(9.0)


def test_trials_at_the_same_time_need_as_many_lanes(search: SearchRecord) -> None:
    same = [replace(trial, attempts=(Attempt(1.0, 5.0),)) for trial in search.trials[:3]]
    found = timing(replace(search, commands=(Interval(0.0, 5.0),), trials=tuple(same)))
    assert sorted(block.lane for block in found.blocks) == [0, 1, 2]
