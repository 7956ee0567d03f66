"""The ratio estimate and its standard error."""

import numpy as np
import pytest

from train_fn.ratio import ratio_estimate


def test_ratio_estimate_of_equal_sizes_is_the_standard_error_of_a_mean() -> None:
    sums = np.array([1.0, 2.0, 4.0, 5.0])
    ratio, stderr = ratio_estimate(sums.tolist(), [2] * 4)
    assert ratio == 1.5
    assert stderr == pytest.approx(np.std(sums / 2, ddof=1) / 2)


def test_ratio_estimate_has_the_spread_that_repeated_samples_have() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        sizes = rng.integers(1, 20, 200)
        found.append(ratio_estimate((sizes * rng.normal(3, 0.5, 200)).tolist(), sizes.tolist()))
    ratios, stderrs = np.array(found).T
    assert np.mean(stderrs) == pytest.approx(np.std(ratios), rel=0.1)


def test_replies_of_a_conversation_are_alike_and_the_error_knows_it() -> None:
    """500 times 60 conversations of 1 to 9 replies, with what they have in common."""
    rng = np.random.default_rng(1)
    found, independent = [], []
    for _ in range(500):
        replies = rng.integers(1, 10, 60)
        conversations = np.repeat(np.arange(60), replies)
        sizes = rng.integers(1, 20, len(conversations))
        sums = sizes * (3 + rng.normal(0, 0.5, 60)[conversations] + rng.normal(0, 0.5, len(sizes)))
        found.append(ratio_estimate(sums.tolist(), sizes.tolist(), conversations.tolist()))
        independent.append(ratio_estimate(sums.tolist(), sizes.tolist())[1])
    ratios, stderrs = np.array(found).T
    assert np.mean(stderrs) == pytest.approx(np.std(ratios), rel=0.1)
    assert np.mean(independent) < 0.75 * np.std(ratios)


def test_few_conversations_are_never_surer_than_their_examples() -> None:
    """Of one conversation the rest is 0, and so it is of two that balance each other."""
    sums, sizes = [1.0, 3.0, 2.0, 2.0], [2] * 4
    alone = ratio_estimate(sums, sizes)
    assert alone[1] > 0
    assert ratio_estimate(sums, sizes, [5, 5, 5, 5]) == alone
    assert ratio_estimate(sums, sizes, [0, 0, 1, 1]) == alone
    assert ratio_estimate(sums, sizes, [3, 1, 2, 0]) == alone, "numbers are names"
