import numpy as np
import pytest

from tests.bench.mixes import Picked, padding, pick
from tests.toys import toy_examples

LENGTHS = np.concatenate([np.arange(8, 513), np.full(3000, 40), np.full(3000, 300)]).astype(np.int32)


def test_padding_is_what_fills_each_batch_to_its_longest() -> None:
    lengths = np.array([2, 4, 1, 1, 9], np.int32)
    assert padding(lengths, 2) == pytest.approx(1 - 8 / (8 + 2))
    assert padding(lengths, 1) == 0


def test_a_mix_is_repeatable_and_has_the_lengths_it_names() -> None:
    short = LENGTHS[pick(LENGTHS, "short")]
    assert short.min() == 16
    assert short.max() == 48
    assert abs(np.median(short) - 32) <= 1
    heavy = LENGTHS[pick(LENGTHS, "heavy")]
    assert np.median(heavy) < 50
    assert heavy.max() == 512
    assert heavy.min() >= 16
    np.testing.assert_array_equal(pick(LENGTHS, "heavy", seed=1), pick(LENGTHS, "heavy", seed=1))


def test_as_they_come_no_example_comes_twice() -> None:
    numbers = pick(LENGTHS, "chitchat", count=2000)
    assert len(set(numbers.tolist())) == 2000


def test_picked_examples_are_those_of_their_numbers() -> None:
    examples = toy_examples(10)
    picked = Picked(examples, np.array([7, 7, 2]))
    assert len(picked) == 3
    np.testing.assert_array_equal(picked.lengths, examples.lengths[[7, 7, 2]])
    np.testing.assert_array_equal(picked.prompt_lengths, examples.prompt_lengths[[7, 7, 2]])
    np.testing.assert_array_equal(picked.tokens(2), examples.tokens(2))
