"""The estimate of a ratio over examples, such as NLL per token, with its standard error."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def ratio_estimate(
    sums: NDArray[np.float64], sizes: NDArray[np.int64], conversations: Sequence[int] = ()
) -> tuple[float, float]:
    """Return R = sum(y) / sum(x) and its standard error, for a sum y and a size x of each example.

    The ratio estimator: SE^2 = n / (n - 1) * sum((y - R x)^2) / sum(x)^2 over n units (Cochran 1977, Sampling
    Techniques, eq. 6.13). Replies of one conversation are alike and were held out together, so conversations
    are the units, each with its y and x added up (Miller 2024, arXiv:2411.00640, on clustered questions). Few
    of them say little of their own spread, and may seem to have none. So the error is never below that of
    independent examples (Angrist and Pischke 2009, Mostly Harmless Econometrics, section 8.2.3).

    Args:
        sums: y of each example, [n].
        sizes: x of each, [n]; some are above 0.
        conversations: A number for the conversation of each, [n]; empty takes each example for its own.

    Returns:
        The ratio and its error; the error is 0 for a single example.
    """
    total = float(sizes.sum())
    ratio = float(sums.sum()) / total
    rest = sums - ratio * sizes
    error = _root_of_squares(rest)
    if len(conversations):
        places = np.unique(conversations, return_inverse=True)[1]
        error = max(error, _root_of_squares(np.bincount(places, rest).astype(np.float64)))
    return ratio, error / total


def _root_of_squares(rest: NDArray[np.float64]) -> float:
    """Return the standard error of the sum of what n units leave over, whose mean is 0."""
    n = len(rest)
    return math.sqrt(n / max(n - 1, 1) * float((rest**2).sum()))
