"""The ratio estimate and its standard error."""

import numpy as np
import pytest

from train_fn.ratio import ratio_estimate


def test_ratio_estimate_of_equal_sizes_is_the_standard_error_of_a_mean() -> None:
    sums = np.array([1.0, 2.0, 4.0, 5.0])
    ratio, stderr = ratio_estimate(sums, np.full(4, 2))
    assert ratio == 1.5
    assert stderr == pytest.approx(np.std(sums / 2, ddof=1) / 2)


def test_ratio_estimate_has_the_spread_that_repeated_samples_have() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        sizes = rng.integers(1, 20, 200)
        found.append(ratio_estimate(sizes * rng.normal(3, 0.5, 200), sizes))
    ratios, stderrs = np.array(found).T
    assert np.mean(stderrs) == pytest.approx(np.std(ratios), rel=0.1)
