from search.watch import Watched, hang_told, watched
from train_fn.heartbeat import Beat


def ranks_after(*beats: tuple[float, int, int, int | None]) -> dict[int, Watched]:
    """Feed beats: time in seconds, rank, steps, place."""
    ranks: dict[int, Watched] = {}
    for now, rank, steps, place in beats:
        ranks[rank] = watched(ranks.get(rank), Beat(rank, 100 + rank, "node", 3, steps, place), now)
    return ranks


def stuck(rank: int, steps: int, place: int | None, until: int) -> list[tuple[float, int, int, int | None]]:
    return [(float(now), rank, steps, place) for now in range(until + 1)]


def test_a_rank_without_beats_hangs_whatever_it_did_last() -> None:
    ranks = ranks_after(*stuck(0, 5, None, 9), (1.0, 1, 5, None))
    assert hang_told(ranks, 9.0, 10.0) == ""
    assert hang_told(ranks, 9.1, 10.0) == "rank 1 gave no sign of life for 8 s"


def test_ranks_that_beat_in_the_same_step_for_ever_hang() -> None:
    ranks = ranks_after(*stuck(0, 5, 40, 9), *stuck(1, 5, 40, 9))
    assert hang_told(ranks, 8.0, 10.0) == ""
    assert hang_told(ranks, 8.1, 10.0) == "no rank advanced for 8 s in step 6"


def test_another_step_is_progress_and_so_is_the_same_step_of_another_attempt() -> None:
    for steps, place in ((6, 48), (5, 48)):
        ranks = ranks_after(*stuck(0, 5, 40, 5), (6.0, 0, steps, place), (9.0, 0, steps, place))
        assert hang_told(ranks, 13.0, 10.0) == ""
        assert hang_told(ranks, 14.1, 10.0)


def test_loading_and_evaluation_are_no_hang_as_long_as_the_process_lives() -> None:
    assert hang_told(ranks_after(*stuck(0, 0, None, 1000), *stuck(1, 0, None, 1000)), 1000.0, 10.0) == ""


def test_ranks_that_wait_for_one_that_still_loads_do_not_hang() -> None:
    assert hang_told(ranks_after(*stuck(0, 0, 0, 1000), *stuck(1, 0, None, 1000)), 1000.0, 10.0) == ""


def test_a_group_that_has_not_begun_does_not_hang() -> None:
    assert hang_told({}, 1000.0, 10.0) == ""
