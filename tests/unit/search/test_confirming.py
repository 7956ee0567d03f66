from dataclasses import replace

from search.confirming import MOST_FINISHED, missing, wanted
from search.events import Ended, Event, Reported, WeightsRemoved
from search.standing import best, ranked
from search.state import replay
from search.study import Repeat
from spaces.experiment import ConfirmConfig
from tests.unit.search.recorded import (
    MAX_TOKENS,
    a_repeat,
    confirmed_search,
    nobody_finished,
    outcome,
    report,
    search_started,
    small_search,
    to_its_end,
    trial_started,
)
from train_fn.config import SEEDS, RunConfig

TWO = ConfirmConfig(top=2, seeds=2)
ALL = [Repeat(1, 1), Repeat(0, 1), Repeat(1, 2), Repeat(0, 2)]


def test_the_best_finished_trials_are_wanted_again_each_with_its_own_seeds() -> None:
    state = replay(small_search())
    assert wanted(state, TWO) == missing(state, TWO) == ALL
    assert wanted(state, ConfirmConfig(top=9, seeds=1)) == [Repeat(1, 1), Repeat(0, 1)], "two finished"
    assert wanted(state, ConfirmConfig(top=0)) == []


def test_seeds_count_on_from_that_of_the_trial() -> None:
    events: list[Event] = [search_started(), trial_started(1001.0, 0, seed=40), *a_repeat(1, 0, 41, 2.0)]
    events.insert(2, Ended(1002.0, outcome(0, "finished", 4000, 2.0)))
    state = replay(events)
    assert wanted(state, TWO) == [Repeat(0, 41), Repeat(0, 42)]
    assert missing(state, TWO) == [Repeat(0, 42)]


def test_behind_the_last_seed_comes_the_first() -> None:
    last = SEEDS - 1
    events: list[Event] = [search_started(), trial_started(1001.0, 0, seed=last)]
    events.append(Ended(1002.0, outcome(0, "finished", 4000, 2.0)))
    assert wanted(replay(events), TWO) == [Repeat(0, 0), Repeat(0, 1)]
    assert RunConfig(seed=last).seed == last


def test_what_ended_by_itself_is_not_missing_whatever_its_end() -> None:
    events = [*small_search()[:-1], *a_repeat(4, 1, 1, None, "diverged"), *a_repeat(5, 0, 2, 2.9)]
    events += a_repeat(6, 1, 2, 2.9, "cancelled")
    events.append(trial_started(1200.0, 7, confirms=0, seed=1))
    assert missing(replay(events), TWO) == [Repeat(0, 1), Repeat(1, 2)]


def test_a_repeat_that_failed_twice_is_given_up() -> None:
    once = [*small_search()[:-1], *a_repeat(4, 1, 1, None, "failed")]
    assert missing(replay(once), TWO) == ALL
    assert missing(replay([*once, *a_repeat(5, 1, 1, None, "failed")]), TWO) == ALL[1:]


def test_who_is_given_up_fills_no_place_among_the_best() -> None:
    """The best diverges with another seed, and the runs of the second fail: the third is asked."""
    events = small_search()[:-1]
    events += [trial_started(1050.0, 9), Reported(1051.0, report(9, MAX_TOKENS, 2.95))]
    events.append(Ended(1052.0, replace(outcome(9, "finished", MAX_TOKENS, 2.95), checkpoint="weights")))
    events += a_repeat(10, 1, 1, None, "diverged")
    one = ConfirmConfig(top=1, seeds=1)
    with_weights = [
        replace(e, outcome=replace(e.outcome, checkpoint="weights"))
        if isinstance(e, Ended) and e.outcome.status == "finished"
        else e
        for e in events
    ]
    assert missing(replay(with_weights), one) == [Repeat(0, 1)]
    failed = [*with_weights, *a_repeat(11, 0, 1, None, "failed"), *a_repeat(12, 0, 1, None, "failed")]
    assert missing(replay(failed), one) == [Repeat(9, 1)]


def test_more_seeds_or_trials_leave_what_was_done() -> None:
    state = replay(confirmed_search(2.5, 2.9, 2.6, 2.8))
    assert missing(state, TWO) == []
    assert missing(state, replace(TWO, seeds=3)) == [Repeat(1, 3), Repeat(0, 3)]
    events = [*confirmed_search(2.5, 2.9, 2.6, 2.8)[:-1], trial_started(1300.0, 8)]
    more = replay([*events, *a_repeat(8, 8, 0, 2.0)[1:]])
    assert missing(more, TWO) == [Repeat(8, 1), Repeat(8, 2)], "of the new best; those of the second stand"


def test_the_next_best_is_asked_for_each_that_is_doomed_with_another_seed() -> None:
    events = small_search()[:-1]
    for number, nll in ((4, 2.95), (5, 2.96), (6, 2.97)):
        events += a_trial(number, nll)
    assert wanted(replay(events), TWO) == ALL
    events += a_repeat(7, 1, 1, None, "diverged")
    state = replay(events)
    assert wanted(state, TWO) == [Repeat(n, seed) for seed in (1, 2) for n in (1, 0, 4)]
    assert missing(state, TWO) == wanted(state, TWO)[1:]
    for i, (confirms, seed) in enumerate(((1, 2), (0, 1), (0, 2))):
        events += a_repeat(8 + i, confirms, seed, None, "overflowing")
    assert best(replay(events)).trial == 1, "nobody else was asked yet"  # type: ignore[union-attr]
    assert missing(replay(events), TWO) == [Repeat(n, seed) for seed in (1, 2) for n in (4, 5)]
    for i, (confirms, seed) in enumerate(((4, 1), (5, 1), (4, 2), (5, 2))):
        events += a_repeat(11 + i, confirms, seed, 3.0)
    assert missing(replay(events), TWO) == []
    assert best(replay(events)).trial in (4, 5)  # type: ignore[union-attr]


def test_a_trial_whose_weights_are_gone_does_not_take_the_place_of_an_unstable_one() -> None:
    events = [*small_search()[:-1], *a_trial(4, 2.95), WeightsRemoved(1090.0, 4), *a_trial(5, 2.96)]
    events += a_repeat(6, 0, 1, None, "diverged")
    assert {repeat.of for repeat in wanted(replay(events), TWO)} == {0, 1, 5}


def test_where_nobody_finished_the_best_halved_trial_is_run_to_its_end_before_it_is_confirmed() -> None:
    events = nobody_finished(2.6, 2.4, 2.5)
    assert wanted(replay(events), TWO) == [Repeat(1, None)]
    assert wanted(replay(events), ConfirmConfig(top=0)) == [Repeat(1, None)], (
        "an answer is wanted in any case"
    )
    for status in ("running", "cancelled"):
        live = [*events, *to_its_end(4, 1, 2.3, "cancelled")][: -1 if status == "running" else None]
        assert missing(replay(live), TWO) == [Repeat(1, None)], status
    state = replay([*events, *to_its_end(4, 1, 2.0)])
    assert best(state) == state.trials[4]
    assert missing(state, TWO) == [Repeat(4, 1), Repeat(4, 2)]
    assert missing(state, ConfirmConfig(top=0)) == []


def test_who_is_lost_on_the_way_to_its_end_is_not_the_best_any_more() -> None:
    events = nobody_finished(2.4, 2.6, 2.5)
    assert best(replay(events)) == replay(events).trials[0]
    for number, halved, left in ((4, 0, 2), (5, 2, 1)):
        events += to_its_end(number, halved, 2.3, "diverged")
        state = replay(events)
        assert best(state) == state.trials[left]
        assert ranked(state)[0].trial == left
    events += to_its_end(6, 1, None, "overflowing")
    assert best(replay(events)) is None
    assert wanted(replay(events), TWO) == []


def test_no_second_trial_is_run_to_its_end_beside_the_first() -> None:
    events = [*nobody_finished(2.6, 2.4), *to_its_end(3, 1, 2.3, "cancelled")]
    events += [trial_started(1200.0, 4), Reported(1201.0, report(4, 2000, 2.2))]
    events.append(Ended(1202.0, outcome(4, "halved", 2000, 2.2, "not among the best")))
    assert wanted(replay(events), TWO) == [Repeat(1, None)], "of a larger budget; the first goes on"


def test_of_halved_trials_that_are_lost_on_their_way_the_next_best_is_tried_up_to_a_limit() -> None:
    events = nobody_finished(*(2.0 + k / 10 for k in range(MOST_FINISHED + 1)))
    for k in range(MOST_FINISHED):
        assert missing(replay(events), TWO) == [Repeat(k, None)]
        if k == 1:  # failures count once they were enough
            for number in (20, 21):
                assert missing(replay(events), TWO) == [Repeat(k, None)]
                events += to_its_end(number, k, None, "failed")
        else:
            events += to_its_end(10 + k, k, None, "diverged")
    assert missing(replay(events), TWO) == wanted(replay(events), TWO) == []


def a_trial(number: int, nll: float) -> list[Event]:
    return [
        trial_started(1050.0, number),
        Reported(1051.0, report(number, MAX_TOKENS, nll)),
        Ended(1052.0, outcome(number, "finished", MAX_TOKENS, nll)),
    ]
