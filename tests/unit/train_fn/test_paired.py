import math
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from train_fn.paired import paired_difference
from train_fn.report import Evaluation

nats = st.floats(0, 10)


@given(st.lists(st.tuples(st.integers(1, 500), nats, nats), min_size=2, max_size=40))
def test_the_paired_difference_is_the_ratio_estimator(rows: list[tuple[int, float, float]]) -> None:
    tokens = tuple(n for n, _, _ in rows)
    a = Evaluation(0.0, 0.0, tuple(x for _, x, _ in rows), tokens, 0.0)
    b = Evaluation(0.0, 0.0, tuple(y for _, _, y in rows), tokens, 0.0)
    (found, error), (back, _) = paired_difference(a, b), paired_difference(b, a)
    weights = np.array(tokens, float)
    nll_a = np.average(a.example_nll, weights=weights)
    assert math.isclose(found, nll_a - np.average(b.example_nll, weights=weights), abs_tol=1e-9)
    residuals = weights * (np.subtract(a.example_nll, b.example_nll) - found)
    expected = np.std(residuals, ddof=1) * math.sqrt(len(rows)) / weights.sum()
    assert math.isclose(error, expected, rel_tol=1e-6, abs_tol=1e-12)
    assert math.isclose(found, -back, abs_tol=1e-12)
    assert paired_difference(a, a) == (0.0, 0.0)


def test_the_replies_of_a_conversation_count_together() -> None:
    """Two replies that say the same are one: by hand sqrt(3 / 2 * (0.01 + 0.01)) / 3 with 3 units."""
    nlls, tokens = (2.1, 2.1, 1.9, 1.9, 2.0, 2.0), (4,) * 6
    a = Evaluation(0.0, 0.0, nlls, tokens, 0.0, (0, 0, 1, 1, 2, 2))
    b = Evaluation(0.0, 0.0, (2.0,) * 6, tokens, 0.0, (0, 0, 1, 1, 2, 2))
    error = paired_difference(a, b)[1]
    assert math.isclose(error, math.sqrt(3 / 2 * 2 * 0.1**2) / 3)
    old = replace(a, example_conversations=())
    assert error > paired_difference(old, replace(b, example_conversations=()))[1]
    assert paired_difference(old, b)[1] == paired_difference(b, old)[1] == error, "one of them knows"
