import math
from pathlib import Path

import pytest

from tests.bench.search_quality.figures import (
    Entry,
    add_entry,
    median_apart,
    median_ratio,
    ratios,
    read_entries,
    speedup,
)
from tests.bench.search_quality.ours import ours
from tests.bench.search_quality.race import race
from tests.bench.search_quality.simple import IEpoch, RandomSearch
from tests.bench.search_quality.synthetic import PLAIN, QUIET, UNITS, fine_tuning


def test_a_race_is_repeatable_and_pays_for_every_unit() -> None:
    task = fine_tuning("SFT", PLAIN, QUIET, seed=1)
    first, again = (race(task, ours(), 1) for _ in range(2))
    assert first == again
    assert first.reached >= UNITS
    assert first.spent >= max(first.reached, task.budget)
    assert 0 <= first.regret < 1


@pytest.mark.parametrize("method", [RandomSearch, IEpoch])
def test_the_simple_rivals_reach_the_goal(method: type[RandomSearch] | type[IEpoch]) -> None:
    task = fine_tuning("SFT", PLAIN, QUIET, seed=2)
    found = race(task, method, 2, cap=100_000)
    assert math.isfinite(found.reached)
    assert found.trials > 1


def test_a_race_that_never_got_there_counts_with_its_cap_for_the_rival_and_against_us() -> None:
    def entry(tokens: float) -> Entry:
        return Entry(tokens, reached=1.0, regret=0.0, cap=1_000)

    entries = {
        ("a", "ours"): entry(100), ("a", "rival"): entry(400),
        ("b", "ours"): entry(100), ("b", "rival"): entry(math.inf),
        ("c", "ours"): entry(math.inf), ("c", "rival"): entry(400),
        ("d", "ours"): entry(math.inf), ("d", "rival"): entry(math.inf),
    }  # fmt: skip
    assert ratios(entries, "ours", "rival") == {"a": 0.25, "b": 0.1, "c": math.inf, "d": 1.0}
    assert median_ratio(entries, "ours", "rival") == pytest.approx(0.625)
    assert median_apart(entries, "ours", "rival") == 0.25
    assert speedup(entries, "ours", "rival", ["a", "b"]) == 7.0
    assert speedup(entries, "ours", "rival", []) is None


def test_entries_are_taken_up_again_for_the_same_seeds_only(tmp_path: Path) -> None:
    kept, one = tmp_path / "kept.jsonl", Entry(tokens=math.inf, reached=0.4, regret=0.1, cap=100)
    assert read_entries(kept, range(5)) == {}
    add_entry(kept, range(5), ("a", "ours"), one)
    assert read_entries(kept, range(5)) == {("a", "ours"): one}
    assert read_entries(kept, range(20)) == {}
