"""Estimates with 95% intervals over conversations: shares, means, ratios and differences.

Prompts of one conversation are alike, so conversations are drawn again, or counted as independent. Few of
them say little of their own spread, so no interval is narrower than with prompts in their place.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.behaviour_records import Estimate
from train_fn.ratio import ratio_estimate

Z_95 = 1.959964
"""Two-sided 95% point of the normal distribution."""
RESAMPLES = 2_000


@dataclass(frozen=True)
class Sample:
    """What was measured on each prompt."""

    above: Sequence[float]
    below: Sequence[float]
    """Weights, 0 or more."""
    conversations: Sequence[int]
    """A number for the conversation of each prompt."""


def share(flags: Sequence[bool], conversations: Sequence[int]) -> Estimate | None:
    """Return a share with the score interval of Wilson 1927 (J. Am. Stat. Assoc. 22, 209-212).

    With p the share of n: (p + z²/2n ± z sqrt(p (1 - p) / n + z²/4n²)) / (1 + z²/n). It stays within 0 and 1,
    and says something even when none or all of the prompts show it. Where prompts of a conversation are
    alike, n is as many independent ones as have the same standard error (Korn and Graubard 1998, Survey
    Methodology 24, 193-201). Of none or all that is not known, and prompts count.

    Args:
        flags: Whether each prompt shows it.
        conversations: A number for the conversation of each.

    Returns:
        None when there is nothing to judge.
    """
    if not flags:
        return None
    ones = [1] * len(flags)
    p, error = ratio_estimate(flags, ones, conversations)
    _, independent = ratio_estimate(flags, ones)
    n, z2 = len(flags) * (independent / error) ** 2 if error else len(flags), Z_95**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Estimate(p, max(0.0, min(p, middle - half)), min(1.0, max(p, middle + half)), len(flags))


def mean(values: Sequence[float], conversations: Sequence[int], seed: int) -> Estimate | None:
    """Return a mean with its bootstrap interval; None when there is nothing to judge."""
    return ratio(Sample(values, [1.0] * len(values), conversations), seed)


def ratio(sample: Sample, seed: int) -> Estimate | None:
    """Return sum(above) / sum(below) with the percentile bootstrap interval over conversations.

    The bootstrap is that of Efron 1979 (Annals of Statistics 7, 1-26): the ratio of the conversations drawn
    again with replacement, `RESAMPLES` times, and of prompts likewise.

    Args:
        sample: Of prompts.
        seed: Of the draws.

    Returns:
        None when there is nothing to judge.
    """
    if not sum(sample.below):
        return None
    drawn = [_drawn(sample, alone, np.random.default_rng(seed)) for alone in (False, True)]
    return _estimate(_value(sample), drawn, len(sample.above))


def difference(first: Sample, second: Sample, seed: int) -> Estimate | None:
    """Return the ratio of one sample less that of another, each drawn again by itself.

    Args:
        first: A sample of prompts.
        second: The one that is subtracted; the estimate counts its prompts.
        seed: Of the draws.

    Returns:
        None when there is nothing to judge.
    """
    if not sum(first.below) or not sum(second.below):
        return None
    drawn = []
    for alone in (False, True):
        dice = np.random.default_rng(seed)
        drawn.append(_drawn(first, alone, dice) - _drawn(second, alone, dice))
    return _estimate(_value(first) - _value(second), drawn, len(second.above))


def _value(sample: Sample) -> float:
    return sum(sample.above) / sum(sample.below)


def _drawn(sample: Sample, alone: bool, dice: np.random.Generator) -> NDArray[np.float64]:
    """Return the ratio of each resample that has one; [`RESAMPLES`], NaN where all weights drawn are 0.

    Args:
        sample: Of prompts.
        alone: Whether prompts are drawn, and not conversations.
        dice: Draws them.
    """
    units = range(len(sample.above)) if alone else sample.conversations
    places = np.unique(units, return_inverse=True)[1]
    above, below = (np.bincount(places, weights=values) for values in (sample.above, sample.below))
    n = len(above)
    times = dice.multinomial(n, np.full(n, 1 / n), RESAMPLES)
    with np.errstate(invalid="ignore"):
        return (times @ above) / (times @ below)  # type: ignore[no-any-return]


def _estimate(value: float, drawn: Sequence[NDArray[np.float64]], n: int) -> Estimate:
    """Return a value with the wider of the intervals."""
    low, high = np.nanpercentile(drawn, (2.5, 97.5), axis=1)
    return Estimate(float(value), float(low.min()), float(high.max()), n)
