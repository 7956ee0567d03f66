"""The estimate of a ratio over examples, such as NLL per token, with its standard error."""

import math
from collections.abc import Iterable, Sequence


def ratio_estimate(
    sums: Sequence[float], sizes: Sequence[float], conversations: Sequence[int] = ()
) -> tuple[float, float]:
    """Return R = sum(y) / sum(x) and its standard error, for a sum y and a size x of each example.

    The ratio estimator: SE^2 = n / (n - 1) * sum((y - R x)^2) / sum(x)^2 over n units (Cochran 1977, Sampling
    Techniques, eq. 6.13). Replies of one conversation are alike and were held out together, so conversations
    are the units, each with its y and x added up (Miller 2024, arXiv:2411.00640, on clustered questions). Few
    of them say little of their own spread, and may seem to have none. So the error is never below that of
    independent examples (Angrist and Pischke 2009, Mostly Harmless Econometrics, section 8.2.3).

    Args:
        sums: y of each example.
        sizes: x of each; some are above 0.
        conversations: A number for the conversation of each; empty takes each example for its own.

    Returns:
        The ratio and its error; the error is 0 for a single example.
    """
    total = math.fsum(sizes)
    ratio = math.fsum(sums) / total
    rest = [y - ratio * x for y, x in zip(sums, sizes, strict=True)]
    error = _root_of_squares(rest)
    if conversations:
        together = dict.fromkeys(conversations, 0.0)
        for conversation, left in zip(conversations, rest, strict=True):
            together[conversation] += left
        error = max(error, _root_of_squares(together.values()))
    return ratio, error / total


def _root_of_squares(rest: Iterable[float]) -> float:
    """Return the standard error of the sum of what n units leave over, whose mean is 0."""
    squares = [left * left for left in rest]
    n = len(squares)
    return math.sqrt(n / max(n - 1, 1) * math.fsum(squares))
