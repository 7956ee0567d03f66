import io
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from search import progress
from search.events import Ended, Event, Reported, Retried, SearchEnded
from search.progress import Goal, Progress, event_lines, goal_of, render, seconds_left, sparkline, status_line
from search.state import SearchState, apply, replay
from spaces.experiment import BudgetConfig, ConfirmConfig
from tests.unit.search.recorded import (
    MAX_TOKENS,
    a_repeat,
    experiment,
    nobody_finished,
    outcome,
    report,
    search_started,
    small_search,
    to_its_end,
    trained_further,
    trial_started,
)

FOUR = Goal(4, ConfirmConfig(top=0), MAX_TOKENS)
SIXTEEN = replace(FOUR, trials=16)


def lines_of(events: list[Event]) -> list[str]:
    state, lines = SearchState(), []
    for event in events:
        after = apply(state, event)
        lines += event_lines("exp9", state, after, event)
        state = after
    return lines


def test_lines_tell_ends_and_new_bests_and_never_one_per_report() -> None:
    assert lines_of(small_search()) == [
        "best so far: exp9-0000 (running), eval NLL 3.5000 at 1.0k tokens: lr=0.1",
        "best so far: exp9-0000 (running), eval NLL 3.2000 at 2.0k tokens: lr=0.1",
        "best so far: exp9-0000 (running), eval NLL 3.0000 at 3.0k tokens: lr=0.1",
        "best so far: exp9-0000 (running), eval NLL 2.9000 at 4.0k tokens: lr=0.1",
        "exp9-0000 finished at 4.0k tokens: its budget",
        "exp9-0001 finished at 4.0k tokens: its budget",
        "best so far: exp9-0001 (finished), eval NLL 2.5000 at 4.0k tokens: lr=0.01",
        "exp9-0002 halved at 2.0k tokens: 2.4 is not among the best third",
        "exp9-0003 diverged at 1.0k tokens: the loss rose tenfold",
    ]


def test_a_trial_that_starts_again_is_told() -> None:
    events = [search_started(), trial_started(1001.0, 4), trial_started(1009.0, 4, attempt=1)]
    assert lines_of(events) == ["exp9-0004 starts again (attempt 2)"]


def test_a_fault_that_a_trial_survives_is_told() -> None:
    events = [search_started(), trial_started(1001.0, 4), Retried(1002.0, 4, "hang", "stuck; tried again", 0)]
    assert lines_of(events) == ["exp9-0004 goes on after a fault (hang): stuck; tried again"]


def test_the_time_left_comes_from_this_commands_speed() -> None:
    events: list[Event] = [search_started(1000.0), trial_started(1010.0, 0)]
    assert seconds_left(replay(events), FOUR, 1015.0) is None
    events.append(Reported(1020.0, report(0, 1000, None)))
    assert seconds_left(replay(events), FOUR, 1020.0) is None, "what a trial spends is not known yet"
    # 100 tokens per second.
    events.append(Ended(1020.0, outcome(0, "halved", 1000, 3.0)))
    # The trials to come are expected to spend what this one did.
    assert seconds_left(replay(events), FOUR, 1020.0) == pytest.approx(30)
    events += [SearchEnded(1020.0, "interrupted", 20.0), search_started(9000.0), trial_started(9010.0, 1)]
    assert seconds_left(replay(events), FOUR, 9020.0) is None
    events.append(Reported(9020.0, report(1, 2000, None)))
    # 200 tokens per second now; 2000 in this trial, which outlived the usual 1000, and 1000 in two others.
    assert seconds_left(replay(events), FOUR, 9020.0) == pytest.approx(20)


def test_the_status_line_sums_up() -> None:
    state = replay(small_search()[:-1])
    line = status_line(state, SIXTEEN, state.last_time)
    assert line == (
        "20s: 4 of 16 trials started (1 diverged, 2 finished, 1 halved); "
        "11.0k tokens spent, 5.0k saved; about 57s left"
    )


def test_a_second_attempt_is_a_trial_and_never_one_of_too_few() -> None:
    goal = goal_of(replace(experiment(), budget=BudgetConfig(trials=3)))
    assert "4 of 4 trials started" in status_line(replay(small_search()), goal, 1102.0)


def test_confirming_is_told_apart_from_searching() -> None:
    events = [*small_search()[:-1], *a_repeat(4, confirms=1, seed=1, nll=2.6)]
    assert lines_of(events)[-2:] == [
        "confirming: exp9-0004 (exp9-0001 with seed 1)",
        "exp9-0004 (exp9-0001 with seed 1) finished at 4.0k tokens: finished again",
    ]
    events.append(trial_started(1103.0, 5, confirms=0, seed=1))
    state = replay(events)
    line = status_line(state, goal_of(replace(experiment(), budget=BudgetConfig(trials=4))), 1103.0)
    assert "4 of 4 trials started (1 diverged, 2 finished, 1 halved)" in line
    assert "; confirming: 2 of 4 runs started (1 finished, 1 running); 15.0k tokens spent" in line


def test_what_a_run_to_the_end_is_for_is_said() -> None:
    assert lines_of([*nobody_finished(2.6, 2.4), *to_its_end(3, 1, 2.0)])[-3:] == [
        "no trial came to its end, so the best halved one that is left is run there: exp9-0003 "
        "(exp9-0001 to its end)",
        "best so far: exp9-0003 (running), eval NLL 2.0000 at 4.0k tokens: lr=0.01",
        "exp9-0003 (exp9-0001 to its end) finished at 4.0k tokens: finished at last",
    ]


def test_a_run_to_the_end_is_no_trial_of_the_budget_and_takes_all_its_tokens() -> None:
    running = replay([*nobody_finished(2.6, 2.4), trial_started(1100.0, 3, finishes=1)])
    goal = replace(FOUR, trials=3)
    assert (
        "3 of 3 trials started (1 diverged, 2 halved); 1 run of halved trials to their end (1 running)"
        in (status_line(running, goal, 1100.0))
    )
    speed = 7_000 / (1100.0 - 1001.0)
    assert seconds_left(running, goal, 1100.0) == pytest.approx(MAX_TOKENS / speed)
    usual = 7_000 / 3
    assert seconds_left(running, FOUR, 1100.0) == pytest.approx((MAX_TOKENS + usual) / speed), "one to come"
    waiting = replay(nobody_finished(2.6, 2.4))
    assert seconds_left(waiting, goal, 1100.0) == pytest.approx(MAX_TOKENS / speed)


def test_the_best_so_far_is_told_with_the_tokens_of_its_evaluation() -> None:
    out = io.StringIO()
    Console(file=out, width=140).print(render("exp9", replay(trained_further()), FOUR, 1005.0))
    assert "best so far: exp9-0000 (cancelled), eval NLL 3.5000 at 1.0k tokens" in out.getvalue()


def test_the_time_left_counts_whole_runs_for_what_is_to_confirm() -> None:
    confirming = replace(FOUR, confirm=ConfirmConfig(top=1, seeds=2))
    state = replay(small_search()[:-1])
    speed = 11_000 / (state.last_time - 1001.0)
    assert seconds_left(state, FOUR, state.last_time) == 0
    assert seconds_left(state, confirming, state.last_time) == pytest.approx(2 * MAX_TOKENS / speed)
    many = replace(FOUR, confirm=ConfirmConfig(top=9, seeds=1))
    assert seconds_left(state, many, state.last_time) == pytest.approx(2 * MAX_TOKENS / speed), "two finished"
    early = seconds_left(replay(small_search()[:-4]), many, state.last_time)
    assert early is not None
    assert early > 9 * MAX_TOKENS / speed


@pytest.mark.parametrize(
    ("values", "drawn"),
    [((), ""), ((1.0,), "▁"), ((0.0, 1.0), "▁█"), ((8.0, 4.0, 0.0), "█▅▁"), ((2.0, 2.0), "▁▁")],
)
def test_sparkline(values: tuple[float, ...], drawn: str) -> None:
    assert sparkline(values) == drawn


@given(st.lists(st.floats(-1e6, 1e6), max_size=30).map(tuple))
def test_a_sparkline_has_a_mark_per_value(values: tuple[float, ...]) -> None:
    assert len(sparkline(values)) == len(values)


def test_the_table_shows_what_runs() -> None:
    events = small_search()[:-1]
    events += [trial_started(1100.0, 7), Reported(1101.0, report(7, 1000, 3.3)), trial_started(1102.0, 8)]
    out = io.StringIO()
    state = replay(events)
    Console(file=out, width=140).print(render("exp9", state, SIXTEEN, 1102.0))
    text = out.getvalue()
    (row,) = (line for line in text.splitlines() if "exp9-0007 " in line)
    for part in ("1.0k/4.0k", "3.3000", "500", "▁ 3.000"):
        assert part in row
    assert "exp9-0007: lr=0.001\n" in text
    assert any("exp9-0008 " in line and "starting" in line for line in text.splitlines())
    assert text.startswith(
        "Search exp9, 1m 42s: 6 of 16 trials started (1 diverged, 2 finished, 1 halved, 2 running)"
    )
    assert "best so far: exp9-0001 (finished), eval NLL 2.5000" in text


def test_without_a_terminal_plain_lines_come_with_a_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "HEARTBEAT_S", 0.05)
    out = io.StringIO()
    shown = Progress(experiment(), Console(file=out, width=80), clock=lambda: 1030.0)
    shown.start()
    state = SearchState()
    for event in small_search()[:-1]:
        state = apply(state, event)
        shown.update(state, event)
    deadline = time.monotonic() + 10
    while "trials started" not in out.getvalue() and time.monotonic() < deadline:
        time.sleep(0.01)
    shown.stop()
    text = out.getvalue()
    assert "exp9-0003 diverged at 1.0k tokens: the loss rose tenfold\n" in text
    assert "4 of 16 trials started" in text
    assert "\x1b" not in text
    assert (
        "best so far: exp9-0001 (finished), eval NLL 2.5000 at 4.0k tokens: lr=0.01\n" in text
    )  # not wrapped
    time.sleep(0.2)
    assert out.getvalue() == text  # nothing after the stop


def test_on_a_terminal_the_table_stays_and_the_record_stands_above_it() -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True)
    about = replace(experiment(), budget=BudgetConfig(trials=4))
    shown = Progress(about, console, clock=lambda: 1030.0)
    shown.start()
    state = SearchState()
    for event in small_search():
        state = apply(state, event)
        shown.update(state, event)
    shown.stop()
    text = out.getvalue()
    assert "exp9-0002 halved at 2.0k tokens" in text
    assert text.rindex("Search exp9") > text.rindex("exp9-0003 diverged")
    assert "4 of 4 trials started" in text
