"""Machines that come, are taken away with a warning, or vanish; searches on them end complete."""

import re
import time
from pathlib import Path

import pytest

from search.events import Ended, Event, Reported, Retried, TrialStarted
from tests.chaos.machines import Search, add, drain, machines, searching

ONE_TRIAL = ("budget.trials=1", "run.max_tokens=150000")
WARNING_S = 20


def only_retry(events: list[Event]) -> Retried:
    (retry,) = (event for event in events if isinstance(event, Retried))
    return retry


def statuses(events: list[Event]) -> list[str]:
    return [event.outcome.status for event in events if isinstance(event, Ended)]


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_trial_whose_machine_is_to_be_taken_away_goes_on_elsewhere_from_where_it_was(
    ranks: int, own_dialogues: Path, tmp_path: Path
) -> None:
    own = (f"data.sources={own_dialogues}", "resources.span_nodes=true", f"resources.ranks_per_slot={ranks}")
    with machines() as cluster:
        taken, *_ = [add(cluster) for _ in range(ranks)]
        with searching(cluster, tmp_path / "runs", *own, *ONE_TRIAL) as search:
            search.wait_until(lambda: len(search.tokens(0)) >= 3)
            add(cluster)
            announced_at = search.tokens(0)[-1]
            drain(cluster, taken.node_id, WARNING_S)
            time.sleep(WARNING_S)
            cluster.remove_node(taken, allow_graceful=False)
            search.wait_until(lambda: any(isinstance(event, Retried) for event in search.events()))
            search.end()
            events = search.events()
    retry = only_retry(events)
    assert retry.cause == "lost"
    told = re.match(r"machine to be taken away at \d\d:\d\d; checkpoint at ([\d,]+) tokens; ", retry.told)
    assert told, retry.told
    kept = int(told[1].replace(",", ""))
    reported = [event for event in events[: events.index(retry)] if isinstance(event, Reported)]
    lost_at = reported[-1].report.tokens_seen
    assert kept > announced_at
    assert 2 * (lost_at - kept) < lost_at - announced_at, "it was saved again before the deadline"
    assert statuses(events) == ["finished"]


@pytest.mark.slow
def test_a_trial_whose_machine_vanishes_goes_on_when_there_is_another(
    own_dialogues: Path, tmp_path: Path
) -> None:
    with machines() as cluster:
        vanishing = add(cluster)
        with searching(cluster, tmp_path / "runs", f"data.sources={own_dialogues}", *ONE_TRIAL) as search:
            search.wait_until(lambda: len(search.tokens(0)) >= 3)
            cluster.remove_node(vanishing, allow_graceful=False)
            search.wait_until(lambda: any(isinstance(event, Retried) for event in search.events()))
            add(cluster)
            search.end()
            events = search.events()
    assert only_retry(events).cause == "lost"
    assert statuses(events) == ["finished"]


@pytest.mark.slow
def test_slots_grow_and_shrink_with_the_cluster_and_lose_no_trial(
    own_dialogues: Path, tmp_path: Path
) -> None:
    settings = (f"data.sources={own_dialogues}", "budget.trials=8", "run.max_tokens=90000")
    with machines() as cluster:
        first = add(cluster)
        with searching(cluster, tmp_path / "runs", *settings) as search:
            search.wait_until(lambda: len(search.tokens(0)) >= 3)
            assert live(search) == {0}, "one machine of one CPU, one slot"
            add(cluster)
            search.wait_until(lambda: len(live(search)) == 2 and all(map(search.tokens, live(search))))
            cluster.remove_node(first, allow_graceful=False)
            search.end()
            events = search.events()
    assert sorted(event.trial for event in events if isinstance(event, TrialStarted)) == list(range(8))
    assert len(statuses(events)) == 8
    assert set(statuses(events)) <= {"finished", "halved", "diverged"}
    assert {event.cause for event in events if isinstance(event, Retried)} == {"lost"}


def live(search: Search) -> set[int]:
    """The trials that have begun and not ended."""
    events = search.events()
    begun = {event.trial for event in events if isinstance(event, TrialStarted)}
    return begun - {event.outcome.trial for event in events if isinstance(event, Ended)}
