"""The estimate of a ratio over examples, such as NLL per token, with its standard error."""

import math

import numpy as np
from numpy.typing import NDArray


def ratio_estimate(sums: NDArray[np.float64], sizes: NDArray[np.int64]) -> tuple[float, float]:
    """Return sum(sums) / sum(sizes) and its standard error over the n examples.

    The ratio estimator of Cochran, Sampling Techniques (1977), eq. 6.13:
    sqrt(n / (n - 1) * sum((y - R x)^2)) / sum(x).
    """
    n, total = len(sums), int(sizes.sum())
    ratio = float(sums.sum()) / total
    spread = float(((sums - ratio * sizes) ** 2).sum())
    return ratio, math.sqrt(n / max(n - 1, 1) * spread) / total
