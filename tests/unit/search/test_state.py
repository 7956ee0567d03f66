from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from search.events import Ended, Event, Reported, Retried, SearchEnded
from search.state import (
    apply,
    counts,
    repeats,
    replay,
    tokens_saved,
    tokens_spent,
    tried,
    wall_s,
)
from tests.unit.search.recorded import (
    MAX_TOKENS,
    a_repeat,
    decision,
    evaluation,
    nobody_finished,
    outcome,
    report,
    search_started,
    small_search,
    to_its_end,
    trial_started,
)
from train_fn.report import Report
from train_fn.times import Times


def test_the_small_search_folds_to_what_happened() -> None:
    state = replay(small_search())
    assert counts(tried(state)) == {"finished": 2, "halved": 1, "diverged": 1}
    assert state.status == "finished"
    assert (state.base_eval, state.profile, state.data_key) == (evaluation(4.0), "laptop", "data-1")
    assert tokens_spent(state) == 4000 + 4000 + 2000 + 1000
    assert tokens_saved(state, MAX_TOKENS) == 2000 + 3000
    first = state.trials[0]
    assert [(e.tokens_seen, e.nll) for e in first.evals] == [
        (1000, 3.5),
        (2000, 3.2),
        (3000, 3.0),
        (4000, 2.9),
    ]
    assert first.last_eval == evaluation(2.9)
    assert first.curve == (3.0, 3.0, 3.0, 3.0)
    assert (first.steps, first.overflow_steps, first.checkpoint) == (40, 1, "trials/0000")
    assert state.trials[2].decision == decision(2, 2.4, keep=False)
    assert state.trials[3].reason == "the loss rose tenfold"


def test_runs_that_confirm_a_trial_are_told_from_those_that_were_tried() -> None:
    state = replay([*small_search()[:-1], *a_repeat(4, confirms=1, seed=3, nll=2.6)])
    assert [trial.trial for trial in tried(state)] == [0, 1, 2, 3]
    (again,) = repeats(state)
    assert (again.trial, again.confirms, again.seed, again.eval_nll) == (4, 1, 3, 2.6)
    assert again.params == state.trials[1].params
    assert state.trials[1].confirms is None
    assert tokens_spent(state) == 11_000 + MAX_TOKENS


def test_a_halved_trial_that_runs_again_to_its_end_saved_nothing() -> None:
    halved = replay(nobody_finished(2.6, 2.4))
    assert tokens_saved(halved, 4000) == 2 * 2000 + 1000
    assert tokens_saved(replay([*nobody_finished(2.6, 2.4), *to_its_end(3, 1, 2.0)]), 4000) == 2000 + 1000


def test_repeated_reports_of_a_restarted_worker_change_nothing() -> None:
    events = [search_started(), trial_started(1001.0, 0)]
    state = replay([*events, *(Reported(1002.0 + i, report(0, 1000 * i, 3.0 - i / 10)) for i in (1, 2))])
    again = apply(state, Reported(1050.0, report(0, 1000, 9.9)))
    assert again == state
    assert apply(again, Reported(1051.0, report(0, 2000, 9.9))) == state
    assert apply(again, Reported(1052.0, report(0, 3000, 2.5))).trials[0].eval_nll == 2.5


def test_a_report_after_the_end_changes_nothing() -> None:
    state = replay(
        [search_started(), trial_started(1001.0, 0), Ended(1002.0, outcome(0, "halved", 1000, 3.0))]
    )
    assert apply(state, Reported(1003.0, report(0, 2000, 1.0))) == state


def test_a_step_that_the_next_command_leaves_out_again_is_counted_once() -> None:
    def left_out(time: float, place: int | None) -> Retried:
        return Retried(time, 0, "unknown", "its 8 examples are left out", 8, place)

    events: list[Event] = [search_started(), trial_started(1001.0, 0), left_out(1002.0, 24)]
    events += [search_started(2000.0), trial_started(2001.0, 0, attempt=1), left_out(2002.0, 24)]
    trial = replay(events).trials[0]
    assert (trial.skipped_examples, len(trial.retries)) == (8, 2)
    assert replay([*events, left_out(2003.0, 80)]).trials[0].skipped_examples == 16
    from_before = [left_out(2004.0 + k, None) for k in range(2)]
    assert replay([*events, *from_before]).trials[0].skipped_examples == 24, "they may be any steps"


def test_a_trial_taken_up_again_runs_and_keeps_what_it_had() -> None:
    events: list[Event] = [search_started(), trial_started(1001.0, 0), Reported(1002.0, report(0, 1000, 3.0))]
    events += [
        Ended(1003.0, outcome(0, "cancelled", 1000, 3.0, "Ctrl-C")),
        SearchEnded(1004.0, "interrupted", 4.0),
    ]
    events += [search_started(2000.0), trial_started(2001.0, 0, attempt=1)]
    state = replay(events)
    trial = state.trials[0]
    assert (trial.status, trial.reason, trial.attempts, trial.tokens_seen) == ("running", "", 2, 1000)
    assert (trial.started, trial.ended) == (1001.0, None)
    assert (state.started, state.command_started, state.work_tokens) == (1000.0, 2000.0, 1000)


def test_a_trials_time_is_all_that_passed_while_a_slot_worked_on_it() -> None:
    def window(tokens: int, times: Times) -> Report:
        return replace(report(0, tokens, None), times=times)

    events: list[Event] = [search_started(), trial_started(1001.0, 0)]
    events.append(Reported(1006.0, window(1000, Times(start_s=1, forward_s=3.5))))
    assert replay(events).trials[0].times == Times(start_s=1, forward_s=3.5, other_s=0.5)
    # A fault: the worker goes on from a checkpoint after 2 s, and knows nothing of what it lost.
    events += [Retried(1009.0, 0, "died", "tried again", 0)]
    events.append(Reported(1013.0, window(2000, Times(start_s=2, forward_s=5))))
    assert replay(events).trials[0].times == Times(start_s=2, forward_s=5, other_s=5)
    # The command is killed; a later one takes the trial up after the night and finishes it.
    events += [search_started(9000.0), trial_started(9010.0, 0, attempt=1)]
    assert replay(events).trials[0].times == Times(start_s=2, forward_s=5, other_s=5)
    done = replace(outcome(0, "finished", 4000, 2.0), times=Times(start_s=3, forward_s=9))
    events.append(Ended(9018.0, done))
    assert replay(events).trials[0].times == Times(start_s=3, forward_s=9, other_s=12.0 + 8.0 - 12.0)


def test_a_trial_of_an_old_ledger_has_no_times_and_gets_them_when_it_goes_on() -> None:
    events: list[Event] = [search_started(), trial_started(1001.0, 0), Reported(1003.0, report(0, 1000, 3.0))]
    events.append(Ended(1004.0, outcome(0, "cancelled", 1000, 3.0)))
    assert replay(events).trials[0].times is None
    events += [search_started(2000.0), trial_started(2001.0, 0, attempt=1)]
    events.append(Reported(2005.0, replace(report(0, 2000, 2.5), times=Times(forward_s=4))))
    assert replay(events).trials[0].times == Times(forward_s=4, other_s=3)


def test_wall_time_counts_commands_and_not_the_night_between_them() -> None:
    events: list[Event] = [
        search_started(1000.0),
        trial_started(1010.0, 0),
        SearchEnded(1020.0, "interrupted", 21.0),
    ]
    assert wall_s(replay(events)) == 21.0
    events += [search_started(50_000.0), trial_started(50_005.0, 1)]
    assert wall_s(replay(events)) == 26.0
    # That command crashed: what it wrote last is the end of its time.
    events += [search_started(90_000.0), SearchEnded(90_002.0, "finished", 2.5)]
    assert wall_s(replay(events)) == 28.5


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30))
def test_tokens_seen_never_fall_and_the_order_of_repeats_does_not_matter(windows: list[int]) -> None:
    start: list[Event] = [search_started(), trial_started(1001.0, 0)]
    state, seen = replay(start), 0
    for i, window in enumerate(windows):
        state = apply(state, Reported(1002.0 + i, report(0, 1000 * window, float(window))))
        assert state.trials[0].tokens_seen >= seen
        seen = state.trials[0].tokens_seen
    records = [(i, w) for i, w in enumerate(windows) if w > max(windows[:i], default=0)]
    assert [e.tokens_seen for e in state.trials[0].evals] == [1000 * w for _, w in records]
    only = replay([*start, *(Reported(1002.0 + i, report(0, 1000 * w, float(w))) for i, w in records)])
    assert only.trials == state.trials
