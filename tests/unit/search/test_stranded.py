from search.stranded import UNUSED_S, stranded, unused_since


def test_a_group_is_stranded_when_nobody_used_it_for_long() -> None:
    since = unused_since({}, {"a"}, 100.0)
    since = unused_since(since, {"a", "b"}, 100.0 + UNUSED_S)
    assert stranded(since, 100.0 + UNUSED_S) == ["a"]


def test_a_group_that_was_used_in_between_begins_anew() -> None:
    since = unused_since({}, {"a"}, 100.0)
    since = unused_since(since, set(), 110.0)
    since = unused_since(since, {"a"}, 120.0)
    assert stranded(since, 110.0 + UNUSED_S) == []
