import threading

import pytest
from ray.util.state.exception import RayStateApiException

from search import stranded as module
from search.stranded import UNUSED_S, giving_back, stranded, unused_since


def test_a_group_is_stranded_when_nobody_used_it_for_long() -> None:
    since = unused_since({}, {"a"}, 100.0)
    since = unused_since(since, {"a", "b"}, 100.0 + UNUSED_S)
    assert stranded(since, 100.0 + UNUSED_S) == ["a"]


def test_a_group_that_was_used_in_between_begins_anew() -> None:
    since = unused_since({}, {"a"}, 100.0)
    since = unused_since(since, set(), 110.0)
    since = unused_since(since, {"a"}, 120.0)
    assert stranded(since, 110.0 + UNUSED_S) == []


def test_a_dashboard_that_cannot_be_asked_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    trouble, asked_again = [ConnectionError("two Rays"), RayStateApiException("busy")], threading.Event()

    def unused_groups() -> set[str]:
        if trouble:
            raise trouble.pop()
        asked_again.set()
        return set()

    monkeypatch.setattr(module, "LOOK_S", 0.001)
    monkeypatch.setattr(module, "unused_groups", unused_groups)
    with giving_back():
        assert asked_again.wait(10)
