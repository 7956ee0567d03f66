from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.events import Ended, Event, Reported
from search.standing import best, confirmed, new_best, ranked
from search.state import SearchState, apply, replay
from tests.unit.search.recorded import (
    a_repeat,
    confirmed_search,
    outcome,
    report,
    search_started,
    small_search,
    trial_started,
)
from train_fn.report import Status

ENDS: tuple[Status | None, ...] = (None, "finished", "halved", "diverged", "cancelled", "failed")


def test_the_best_is_a_finished_trial_even_if_a_halved_one_was_lower() -> None:
    state = replay(small_search())
    assert [trial.trial for trial in ranked(state)] == [1, 0, 2]


def test_without_a_finished_trial_the_lowest_sound_one_leads() -> None:
    events = [e for e in small_search() if not (isinstance(e, Ended) and e.outcome.status == "finished")]
    top = best(replay(events))
    assert top is not None
    assert top.trial == 2


@pytest.mark.parametrize("status", ["diverged", "overflowing", "failed"])
def test_a_trial_that_went_wrong_is_never_the_best(status: str) -> None:
    ended = Ended(1010.0, replace(outcome(0, "failed", 1000, 0.1), status=status))  # type: ignore[arg-type]
    events: list[Event] = [
        search_started(),
        trial_started(1001.0, 0),
        Reported(1002.0, report(0, 1000, 0.1)),
        ended,
    ]
    assert best(replay(events)) is None
    assert best(replay(events[:-1])) is not None


def test_of_equals_the_cheaper_then_the_lower_number_leads() -> None:
    events: list[Event] = [search_started()]
    for trial, tokens in ((3, 3000), (2, 2000), (1, 2000)):
        events += [trial_started(1001.0, trial), Reported(1002.0, report(trial, tokens, 2.5))]
        events.append(Ended(1003.0, outcome(trial, "finished", tokens, 2.5)))
    assert [trial.trial for trial in ranked(replay(events))] == [1, 2, 3]


def test_a_new_best_is_noticed_once() -> None:
    state, news = SearchState(), []
    for event in small_search():
        after = apply(state, event)
        top = best(after)
        if top is not None and new_best(state, after):
            news.append((top.trial, top.eval_nll))
        state = after
    assert news == [(0, 3.5), (0, 3.2), (0, 3.0), (0, 2.9), (1, 2.5)]


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from([2.0, 2.5, 3.0, None]), st.sampled_from(ENDS)),
        max_size=40,
    )
)
def test_the_best_that_is_kept_at_hand_is_always_the_first_of_all(
    changes: list[tuple[int, float | None, Status | None]],
) -> None:
    state = replay([search_started(), *(trial_started(1001.0, number) for number in range(5))])
    for number, nll, end in changes:
        trial = state.trials[number]
        if trial.status != "running":
            state = apply(state, trial_started(1002.0, number))
        state = apply(state, Reported(1003.0, report(number, trial.tokens_seen + 1000, nll)))
        if end is not None:
            tokens = state.trials[number].tokens_seen
            state = apply(state, Ended(1004.0, replace(outcome(number, "failed", tokens, nll), status=end)))
        first, top = next(iter(ranked(state)), None), best(state)
        assert (top and top.trial) == (first and first.trial)


def test_a_run_that_confirms_a_trial_is_no_candidate_itself() -> None:
    state = replay([*small_search()[:-1], *a_repeat(4, confirms=1, seed=1, nll=0.5)])
    assert [trial.trial for trial in ranked(state)] == [1, 0, 2]


def test_other_seeds_decide_between_the_best() -> None:
    lucky = replay(confirmed_search(3.4, 2.9, 3.4, 2.9))
    top, found = best(lucky), confirmed(lucky)
    assert top is not None
    assert found is not None
    assert [one.trial for one in found.confirmed] == [0, 1], "trial 1 was only lucky with its own seed"
    assert top.trial == found.best
    sure = replay(confirmed_search(2.5, 2.9, 2.51, 2.91))
    assert best(sure) == sure.trials[1]


def test_a_trial_that_diverges_with_another_seed_is_not_the_best() -> None:
    events = [*small_search()[:-1], *a_repeat(4, 1, 1, 2.5), *a_repeat(5, 1, 2, None, "diverged")]
    alone = replay(events)
    found = confirmed(alone)
    assert found is not None
    assert (found.confirmed, [one.trial for one in found.unstable]) == ((), [1])
    both = replay([*events, *a_repeat(6, 0, 1, 2.9)])
    top = best(both)
    assert top is not None
    assert top.trial == 0


def test_a_new_first_trial_leads_until_its_own_seeds_were_tried() -> None:
    events = confirmed_search(2.5, 2.9, 2.51, 2.91)[:-1]
    events += [trial_started(1300.0, 8), Reported(1301.0, report(8, 4000, 2.4))]
    running = replay(events)
    assert best(running) == running.trials[1]
    finished = replay([*events, Ended(1302.0, outcome(8, "finished", 4000, 2.4))])
    assert confirmed(finished) is None
    assert best(finished) == finished.trials[8]
    again = replay([*events, Ended(1302.0, outcome(8, "finished", 4000, 2.4)), *a_repeat(9, 8, 1, 2.9)])
    found = confirmed(again)
    assert found is not None
    assert [one.trial for one in found.confirmed] == [1, 8, 0], "old confirmations are kept"
