import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from train_fn.culprits import MAX_SUSPECTS, find_culprits


class Tried:
    """Answers as the examples `broken` ask for and counts."""

    def __init__(self, broken: set[int]) -> None:
        self.broken, self.groups = broken, list[int]()

    def __call__(self, some: NDArray[np.int64]) -> bool:
        self.groups.append(len(some))
        return not self.broken & set(some.tolist())


@given(st.integers(2, 300), st.data())
def test_a_culprit_is_found_at_the_cost_of_two_steps(size: int, data: st.DataObject) -> None:
    chosen = np.random.default_rng(size).permutation(1000)[:size]
    culprit = int(data.draw(st.sampled_from(chosen.tolist())))
    tried = Tried({culprit})
    assert find_culprits(chosen, tried) == [culprit]
    assert len(tried.groups) <= 2 * math.ceil(math.log2(size))
    assert sum(tried.groups) <= 2 * size + 2 * math.ceil(math.log2(size))


@given(st.integers(3, 100), st.data())
def test_two_culprits_are_found_wherever_they_are(size: int, data: st.DataObject) -> None:
    pair = data.draw(st.sets(st.integers(0, size - 1), min_size=2, max_size=2))
    tried = Tried(pair)
    assert find_culprits(np.arange(size), tried) == sorted(pair)
    assert len(tried.groups) <= 4 * math.ceil(math.log2(size))


def test_more_than_two_are_given_up_after_a_few_tries() -> None:
    tried = Tried(set(range(256)))
    assert find_culprits(np.arange(256), tried) == []
    assert tried.groups == [128, 128, 64, 64, 64, 64]
    assert MAX_SUSPECTS == 2


def test_a_sum_that_is_not_finite_blames_nobody() -> None:
    tried = Tried(set())
    assert find_culprits(np.arange(64), tried) == []
    assert tried.groups == [32, 32]


def test_at_least_one_example_must_be_sound() -> None:
    for chosen in ([5], [5, 9], [5, 5]):
        assert find_culprits(np.array(chosen), Tried({5, 9})) == []
    assert find_culprits(np.array([5, 9, 5]), Tried({5})) == [5], "an example that is taken twice"
