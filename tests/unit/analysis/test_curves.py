from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import curves as module
from analysis.curves import Line, curves, frame, group_of, spike_places, thin
from analysis.rank import answer
from analysis.records import SearchRecord, TrialRecord, Window
from tests.unit.analysis.written import WINDOW

losses = st.lists(st.floats(0, 20), min_size=1, max_size=400)


@given(losses, st.integers(2, 60), st.data())
def test_thinning_keeps_the_ends_the_extremes_and_what_it_must(
    values: list[float], limit: int, data: st.DataObject
) -> None:
    keep = data.draw(st.lists(st.integers(0, len(values) - 1), max_size=5))
    places = thin(values, limit, keep)
    assert places == sorted(set(places))
    assert {0, len(values) - 1} <= set(places)
    if len(values) <= limit:
        assert places == list(range(len(values)))
        return
    assert set(keep) <= set(places)
    chosen = [values[i] for i in places]
    assert (max(chosen), min(chosen)) == (max(values), min(values))
    assert len(places) <= limit + 2 + len(keep)


def windows(*parts: tuple[list[float], int]) -> tuple[Window, ...]:
    """Windows from their losses and the spikes counted by their ends; the smoothed loss stays at 3."""
    made, tokens = [], 0
    for values, spikes in parts:
        points = []
        for value in values:
            tokens += 10
            points.append((tokens, value, 3.0, 3.0))
        made.append(Window(tokens, 0, tuple(points), 0, spikes, "flat", 1.0))
    return tuple(made)


def test_spikes_are_the_highest_points_of_the_windows_that_counted_them(search: SearchRecord) -> None:
    parts = (([3.0, 3.1, 9.0], 0), ([3.0, 7.0, 3.2, 8.0], 2), ([3.0, 5.0], 2), ([6.0, 3.0], 3))
    trial = replace(search.trial(0), windows=windows(*parts))
    assert spike_places(trial) == [4, 6, 9]  # 9.0 was never counted as one


def test_every_spike_and_every_overflow_of_the_search_is_marked(search: SearchRecord) -> None:
    drawn = curves(search, None)
    counted = {t.number: t.windows[-1].spikes for t in search.trials if t.windows[-1].spikes}
    assert counted
    marked = dict.fromkeys(counted, 0)
    for mark in drawn.spikes:
        marked[mark.trial.number] += 1
        assert mark.tokens in range(4 * WINDOW, 5 * WINDOW + 1)  # where the written search has them
    assert marked == counted
    overflowed = [trial for trial in search.trials if trial.overflow_steps]
    for trial in overflowed:
        marks = [mark for mark in drawn.overflows if mark.trial == trial]
        assert [mark.tokens for mark in marks] == [window.tokens_seen for window in trial.windows]
        assert marks[-1].told.endswith(f"{trial.overflow_steps} since the start")
    assert {mark.trial.number for mark in drawn.overflows} == {trial.number for trial in overflowed}


def test_thinned_lines_keep_their_spikes(search: SearchRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POINTS_OF_ALL", 1)
    monkeypatch.setattr(module, "MIN_POINTS", 6)
    drawn = curves(search, None)
    assert max(len(line.tokens) for line in drawn.lines) <= 6 + 3
    assert drawn.points == sum(len(w.points) for t in search.trials for w in t.windows)
    by_number = {line.trial.number: line for line in drawn.lines}
    assert drawn.spikes
    for mark in drawn.spikes:
        line = by_number[mark.trial.number]
        assert mark.loss in line.raw
        assert line.tokens[line.raw.index(mark.loss)] == mark.tokens


def test_the_best_line_lies_on_top(search: SearchRecord) -> None:
    best = answer(search).best
    drawn = curves(search, best)
    assert drawn.lines[-1].trial == best
    assert drawn.lines[-1].group == "best"
    assert len({len(x) for x in (drawn.lines[-1].tokens, drawn.lines[-1].raw, drawn.lines[-1].ema_98)}) == 1


def line(trial: TrialRecord, raw: list[float]) -> Line:
    values = tuple(raw)
    return Line(trial, group_of(trial, None), tuple(range(len(raw))), values, values, values)


def test_the_frame_holds_the_sound_curves_and_counts_those_that_leave_it(search: SearchRecord) -> None:
    sound = next(trial for trial in search.trials if trial.status == "finished")
    doomed = next(trial for trial in search.trials if trial.doomed)
    found = frame([line(sound, [5.0, 4.0, 3.0]), line(doomed, [5.0, 50.0, 500.0])])
    assert found.low < 3.0
    assert 5.0 < found.high < 6.0
    assert found.outside == 1


def test_a_frame_of_doomed_curves_alone_shows_them(search: SearchRecord) -> None:
    doomed = next(trial for trial in search.trials if trial.doomed)
    assert frame([line(doomed, [5.0, 50.0])]).high > 50.0
    assert frame([]).high > frame([]).low
    flat = frame([line(doomed, [2.0, 2.0])])
    assert flat.low < 2.0 < flat.high


def test_groups(search: SearchRecord) -> None:
    finished = next(trial for trial in search.trials if trial.status == "finished")
    assert group_of(finished, None) == "finished"
    assert group_of(finished, finished) == "best"
    assert group_of(replace(finished, status="overflowing"), None) == "doomed"
