"""Points that fill a space evenly, for the trials that come before there is anything to learn from.

Eight random learning rates leave gaps of a decade; eight of a lattice do not.
"""

import random
from collections.abc import Mapping

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from spaces.experiment import ParamValue


def even_point(space: Mapping[str, BaseDistribution], seed: int, number: int) -> dict[str, ParamValue]:
    """Return the point with this number of a sequence any stretch of which fills the space evenly.

    It is the additive recurrence of Roberts (2018, "The unreasonable effectiveness of quasirandom
    sequences"): x_n = (shift + n / g^k) mod 1 in dimension k, where g > 1 and g^(d + 1) = g + 1. The shift is
    random (Cranley and Patterson 1976, SIAM J. Numer. Anal. 13:904).

    Args:
        space: What each value may be.
        seed: Decides the shift.
        number: From 0.
    """
    dice, root = random.Random(seed), _root(len(space))
    point: dict[str, ParamValue] = {}
    for k, name in enumerate(sorted(space), start=1):
        point[name] = _value(space[name], (dice.random() + number / root**k) % 1.0)
    return point


def _root(dimensions: int) -> float:
    root = 1.5
    for _ in range(64):  # a contraction: each round gains a digit
        root = (1 + root) ** (1 / (dimensions + 1))
    return root


def _value(distribution: BaseDistribution, share: float) -> ParamValue:
    """Return the value that lies at a share of a range, from 0 to below 1."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            value: ParamValue = choices[int(share * len(choices))]  # type: ignore[assignment]
            return value
        case IntDistribution(low=low, high=high, log=log, step=step):
            return low + step * _steps(low, high, step, share, log)
        case FloatDistribution(low=low, high=high, log=log, step=None):
            return _between(low, high, share, log)
        case FloatDistribution(low=low, high=high, log=log, step=float(step)):
            return min(high, low + step * _steps(low, high, step, share, log))  # 0.1 + 2 * 0.1 is above 0.3
    raise AssertionError(f"unknown distribution {distribution}")


def _steps(low: float, high: float, step: float, share: float, log: bool) -> int:
    """Return how many steps above `low` a value lies of which each has half a step on both sides."""
    inside = _between(low - step / 2, high + step / 2, share, log)
    return min(round((high - low) / step), max(0, round((inside - low) / step)))


def _between(low: float, high: float, share: float, log: bool) -> float:
    return low * (high / low) ** share if log else low + share * (high - low)
