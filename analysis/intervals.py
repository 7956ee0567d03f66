"""Estimates with 95% intervals over prompts: shares, means, ratios and differences."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.behaviour_records import Estimate

Z_95 = 1.959964
"""Two-sided 95% point of the normal distribution."""
RESAMPLES = 2_000


def share(flags: Sequence[bool]) -> Estimate | None:
    """Return a share with the score interval of Wilson 1927 (J. Am. Stat. Assoc. 22, 209-212).

    With p the share of n: (p + z²/2n ± z sqrt(p (1 - p) / n + z²/4n²)) / (1 + z²/n). It stays within 0 and 1,
    and says something even when none or all of the prompts show it.

    Returns:
        None when there is nothing to judge.
    """
    n = len(flags)
    if not n:
        return None
    p, z2 = sum(flags) / n, Z_95**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Estimate(p, max(0.0, min(p, middle - half)), min(1.0, max(p, middle + half)), n)


def mean(values: Sequence[float], seed: int) -> Estimate | None:
    """Return a mean with its bootstrap interval; None when there is nothing to judge."""
    return ratio(values, [1.0] * len(values), seed)


def ratio(above: Sequence[float], below: Sequence[float], seed: int) -> Estimate | None:
    """Return sum(above) / sum(below) with the percentile bootstrap interval over its pairs.

    The bootstrap is that of Efron 1979 (Annals of Statistics 7, 1-26): the ratio of the pairs drawn again
    with replacement, `RESAMPLES` times.

    Args:
        above: One number for each prompt.
        below: One weight for each prompt, 0 or more.
        seed: Of the draws.

    Returns:
        None when there is nothing to judge.
    """
    if not sum(below):
        return None
    drawn = _drawn(above, below, np.random.default_rng(seed))
    return _estimate(sum(above) / sum(below), drawn, len(above))


def difference(
    first: tuple[Sequence[float], Sequence[float]], second: tuple[Sequence[float], Sequence[float]], seed: int
) -> Estimate | None:
    """Return the ratio of one sample less that of another, each drawn again by itself.

    Args:
        first: `above` and `below` as `ratio` takes them.
        second: Those that are subtracted; the estimate counts these prompts.
        seed: Of the draws.

    Returns:
        None when there is nothing to judge.
    """
    if not sum(first[1]) or not sum(second[1]):
        return None
    dice = np.random.default_rng(seed)
    drawn = _drawn(*first, dice) - _drawn(*second, dice)
    value = sum(first[0]) / sum(first[1]) - sum(second[0]) / sum(second[1])
    return _estimate(value, drawn, len(second[0]))


def _drawn(above: Sequence[float], below: Sequence[float], dice: np.random.Generator) -> NDArray[np.float64]:
    """Return the ratio of each resample that has one; [`RESAMPLES`], NaN where all weights drawn are 0."""
    n = len(above)
    times = dice.multinomial(n, np.full(n, 1 / n), RESAMPLES)
    with np.errstate(invalid="ignore"):
        return (times @ np.asarray(above, float)) / (times @ np.asarray(below, float))  # type: ignore[no-any-return]


def _estimate(value: float, drawn: NDArray[np.float64], n: int) -> Estimate:
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return Estimate(float(value), float(low), float(high), n)
