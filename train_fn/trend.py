"""Which way a curve goes, and whether that is more than its noise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist, median

SIGNIFICANCE = 0.01
MIN_POINTS = 8
"""With fewer points even a curve that only falls is hardly beyond p = 0.01."""


@dataclass(frozen=True)
class Trend:
    """A slope and how sure it is."""

    slope: float
    """Theil-Sen estimate: the median slope over all pairs of points, in y per x."""
    p: float
    """Two-sided p-value of the Mann-Kendall test, corrected for autocorrelation; 1 with too few points."""

    def __str__(self) -> str:
        """Say it in a word: `falling, p < 0.01`, `flat` or `rising, p < 0.01`."""
        if self.p >= SIGNIFICANCE or self.slope == 0:
            return "flat"
        return f"{'falling' if self.slope < 0 else 'rising'}, p < {SIGNIFICANCE}"


NO_TREND = Trend(slope=0.0, p=1.0)


def trend(x: Sequence[float], y: Sequence[float]) -> Trend:
    """Estimate the trend of `y` over `x`; the cost is quadratic in their length.

    The slope is that of Sen (1968, J. Am. Stat. Assoc. 63:1379). Its significance is the Mann-Kendall test's
    (Mann 1945; Kendall 1975), whose variance is enlarged for the autocorrelation of what the slope leaves
    over (Yue and Wang 2004, Water Resources Management 18:201, for an AR(1) process). On curves without a
    trend it says otherwise in 0.5% of cases for independent noise, 2% and 9% for an autocorrelation of 0.3
    and 0.9.

    Args:
        x: Rising places.
        y: As many finite values.
    """
    assert len(x) == len(y)
    n = len(y)
    if n < MIN_POINTS:
        return NO_TREND
    slopes, score = [], 0
    for j in range(1, n):
        for i in range(j):
            rise = y[j] - y[i]
            score += (rise > 0) - (rise < 0)
            slopes.append(rise / (x[j] - x[i]))
    slope = median(slopes)
    left_over = [b - slope * a for a, b in zip(x, y, strict=True)]
    variance = n * (n - 1) * (2 * n + 5) / 18 * _inflation(left_over)
    z = max(0.0, abs(score) - 1) / math.sqrt(variance)
    return Trend(slope=slope, p=2 * (1 - NormalDist().cdf(z)))


def _inflation(values: Sequence[float]) -> float:
    """Return how many times the variance of independent values the Mann-Kendall score has; at least 1.

    The lag-1 autocorrelation of a short series is estimated too low, by about (1 + 3 rho) / n (Kendall 1954,
    Biometrika 41:403) plus as much again for the fitted line; both are undone.
    """
    n = len(values)
    mean = math.fsum(values) / n
    rest = [v - mean for v in values]
    power = math.fsum(r * r for r in rest)
    if power == 0:
        return 1.0
    rho = math.fsum(a * b for a, b in pairwise(rest)) / power
    rho = min(0.95, max(0.0, rho + (2 + 4 * max(0.0, rho)) / n))
    return 1 + 2 * math.fsum((1 - k / n) * rho**k for k in range(1, n))
